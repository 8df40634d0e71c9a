"""`tickcast bench sentiment`: the consumer through Kafka against the bare model, and what kills and rebalances lose.

Two runs on a broker and a cache of their own: one worker on distinct texts, for its speed; then a disturbed group on all
headlines (`bench_crashes.py`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy import bench_crashes
from deploy.bench_headlines import Text, feed
from deploy.group import Group, cpu_seconds
from deploy.local import broker
from models.sentiment.base import SentimentModel, load
from streams import bus
from streams.settings import Settings

GOAL = 0.85  # of the bare model's headlines a second
SAMPLE_S = 0.25


def run(settings: Settings, texts: Sequence[Text], speed_n: int, console: Console) -> dict[str, Any]:
    """Return the figures of both runs; `holds` is whether nothing was lost and the speed reached `GOAL`.

    The speed is judged by wall time, or by CPU time where other programs took the machine's time.
    """
    with _own_broker(settings) as own, Progress(console=console, transient=True) as progress:
        model = load(own)
        if model.model_id.startswith("minilm"):
            own = msgspec.structs.replace(own, sentiment="minilm")  # noqa: PLW2901 - or each worker asks the hub again
        distinct = list(dict.fromkeys(item.text for item in texts))[:speed_n]
        speed = _speed(_namespace(own, "speed", 2), model, distinct, progress)
        exact = bench_crashes.measure(_namespace(own, "exact", 4), texts, progress)
    whole = exact["missing"] == exact["unexpected"] == exact["dead"] == 0
    return {
        "model_id": model.model_id,
        "speed": speed,
        "exactness": exact,
        "exact": whole,
        "holds": whole and max(speed["ratio"], speed["cpu_ratio"]) >= GOAL,
    }


@contextmanager
def _own_broker(settings: Settings) -> Iterator[Settings]:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        running = stack.enter_context(broker.running(settings, scratch / "broker"))
        yield msgspec.structs.replace(settings, home=scratch / "home", cache=scratch / "cache", broker=running.address)


def _namespace(settings: Settings, name: str, partitions: int) -> Settings:
    own = msgspec.structs.replace(settings, topic_prefix=f"{name}.", partitions=partitions)
    bus.ensure_topics(own)
    return own


def _speed(settings: Settings, model: SentimentModel, texts: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Return headlines a second, by wall and by CPU time: the bare model before and after, the consumer in between."""
    before = _bare(model, texts)
    feed(settings, [Text(text, ("NEWS",)) for text in texts])
    task = progress.add_task("one worker, for its speed", total=len(texts))
    samples = []
    with Group(settings) as group:
        worker = group.start()
        for done in _counts(settings, "sentiment", len(texts)):
            progress.update(task, completed=done)
            if done:
                samples.append((done, time.perf_counter(), cpu_seconds(worker.pid)))
    after = _bare(model, texts)
    wall, cpu = (sum(rates) / 2 for rates in zip(before, after, strict=True))
    per_s, per_cpu_s = _rates(samples)
    return {
        "n": len(texts),
        "bare_per_s": wall,
        "consumer_per_s": per_s,
        "ratio": per_s / wall,
        "bare_per_cpu_s": cpu,
        "consumer_per_cpu_s": per_cpu_s,
        "cpu_ratio": per_cpu_s / cpu,
    }


def _bare(model: SentimentModel, texts: Sequence[str]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    model.score(texts)
    return len(texts) / (time.perf_counter() - wall), len(texts) / (time.process_time() - cpu)


def _rates(samples: Sequence[tuple[int, float, float]]) -> tuple[float, float]:
    """Return outputs per second of wall and of CPU time between the first sample (outputs, wall, CPU) and the last."""
    (first, began, cpu_began), (last, ended, cpu_ended) = samples[0], samples[-1]
    return (last - first) / (ended - began), (last - first) / (cpu_ended - cpu_began)


def _counts(settings: Settings, topic: str, until: int) -> Iterator[int]:
    """Yield how many records `topic` holds, a few times a second, until it holds `until` or nothing comes any more."""
    client = bus.consumer(settings)
    places = bus.partitions_of(client, settings, topic)
    done, changed = 0, time.monotonic()
    while done < until and time.monotonic() - changed < bench_crashes.SILENT_S:
        time.sleep(SAMPLE_S)
        count = sum(client.end_offsets(places).values())
        done, changed = count, time.monotonic() if count > done else changed
        yield done
    client.close()


def table(figures: dict[str, Any]) -> Table:
    """Return the figures of :func:`run` for people."""
    speed, exact = figures["speed"], figures["exactness"]
    rows = Table("what", figures["model_id"])
    for name in ("bare", "consumer"):
        rows.add_row(f"{name}: headlines/s (per CPU s)", f"{speed[f'{name}_per_s']:.0f} ({speed[f'{name}_per_cpu_s']:.0f})")
    rows.add_row("consumer / bare (by CPU time)", f"{speed['ratio']:.2f} ({speed['cpu_ratio']:.2f}), goal {GOAL}")
    for name, count in exact.items():
        rows.add_row(name.replace("_", " "), f"{count:,.0f}")
    return rows
