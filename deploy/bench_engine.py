"""`tickcast bench throughput` and `bench latency --engine-only`: the feature engine by itself, fed by the simulated market.

Broker, producer, sentiment consumer and engine are real processes on this machine; under a heavy load a client in C takes the
producer's place (`bench_feed.py`). Latencies are differences of the broker's
own time stamps: when it had a feature row, less when it had the newest input behind that row. They are read from the topic
afterwards, so that measuring costs the run nothing.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from deploy.bench_feed import Bygone, Feeding, feeding
from deploy.local import supervisor
from deploy.local.processes import Process
from deploy.local.statuses import Statuses
from producers.market import Market
from streams import bus, checkpoint, job
from streams.clock import SECOND_US, wall_ts_us
from streams.settings import Engine, Settings
from streams.testing import eventually

READY_TIMEOUT_S = 180.0
CATCH_UP_TIMEOUT_S = 900.0
WARM_UP_S = 20.0  # Spark compiles its plan at the first rows
WARM_UP_LOADED_S = 90.0  # Java compiles what Spark has generated, for want of a free core in more than a minute
PAUSE_MS = 250.0  # a silence of this length is a pause: at a checkpoint, most of all
MOST_RECORDS = 400_000  # of `features` that are looked at; of more, whole partitions are left out
LEVELS = (50, 90, 99)


@dataclass(frozen=True)
class Load:
    """What the engine gets: `rate` ticks a second over `symbols` symbols, for `seconds` behind `warm_up_s` that do not count."""

    rate: float
    symbols: int
    seconds: float
    warm_up_s: float = WARM_UP_S

    @property
    def names(self) -> str:
        """The symbols, as a setting."""
        return ",".join(f"S{number:04d}" for number in range(self.symbols))


def latency(settings: Settings, load: Load, console: Console) -> dict[str, Any]:
    """Return the figures of real time and of micro-batches under the same load, one after the other, and their ratio.

    Micro-batches need no long look: they get a fifth of the time.
    """
    short = replace(load, seconds=max(30.0, load.seconds / 5))
    with own_broker(settings) as own:
        runs = {
            "realtime": _live(own, "realtime", load, _produced, console),
            "microbatch": _live(own, "microbatch", short, _produced, console),
        }
    ratio = runs["microbatch"]["latency_ms"]["p50"] / runs["realtime"]["latency_ms"]["p50"]
    return {"load": msgspec.to_builtins(load), "engines": runs, "p50_ratio": ratio}


def throughput(settings: Settings, load: Load, backlog: int, console: Console) -> dict[str, Any]:
    """Return the figures of real time under `load`, and how fast micro-batches work off a backlog of ticks."""
    load = replace(load, warm_up_s=WARM_UP_LOADED_S)
    with own_broker(settings) as own:
        runs = {"realtime": _live(own, "realtime", load, _fed, console)} if load.seconds else {}
        caught_up = _catch_up(own, load, backlog, console) if backlog else {}
    return {"load": msgspec.to_builtins(load), "engines": runs, "catch_up": caught_up}


@contextmanager
def own_broker(settings: Settings) -> Iterator[Settings]:
    """Run a broker of its own in a folder that goes with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        own = msgspec.structs.replace(settings.unconnected(), home=Path(scratch))
        with supervisor.with_broker(own) as named:
            yield named


def _namespace(settings: Settings, name: Engine, load: Load, prefix: str) -> Settings:
    own = msgspec.structs.replace(settings, topic_prefix=f"{prefix}-{name}.", engine=name, symbols=load.names)
    bus.ensure_topics(own)
    return own


@contextmanager
def running_roles(own: Settings, *names: str) -> Iterator[list[Process]]:
    """Run roles for the length of a `with` block, which begins when all are ready."""
    with ExitStack() as stack:
        statuses = Statuses(own)
        stack.callback(statuses.stop)
        roles = [Process(name, own) for name in names]
        for role in roles:
            stack.callback(role.stop)
            role.start()
        eventually(lambda: all(_said(statuses, role) == "ready" for role in roles), READY_TIMEOUT_S)
        yield roles


def _said(statuses: Statuses, role: Process) -> str:
    event = statuses.of(role.role, role.pid)
    return event.state if event is not None else ""


@contextmanager
def _produced(own: Settings, load: Load) -> Iterator[None]:
    """Let the product's producer tell the market for the length of a `with` block."""
    producer = Process("produce", own, ("--source", "simulated", "--rate", str(load.rate)))
    producer.start()
    try:
        yield
    finally:
        producer.stop()


def _fed(own: Settings, load: Load) -> AbstractContextManager[None]:
    return feeding(own, Market(symbols=own.symbol_list, rate=load.rate))


def _live(
    settings: Settings,
    engine: Engine,
    load: Load,
    tell: Callable[[Settings, Load], AbstractContextManager[None]],
    console: Console,
) -> dict[str, Any]:
    """Return what one engine made of a load that came as it happened."""
    own = _namespace(settings, engine, load, "live")
    with running_roles(own, "sentiment", "stream") as (_, stream), tell(own, load):
        _wait(load.warm_up_s, f"{engine}: warming up", console)
        begin_us, used, busy = wall_ts_us(), cpu_s(stream.pid), _machine_cpu_s()
        sizes = _wait(load.seconds, f"{engine}: {load.rate:,.0f} ticks/s", console, lambda: memory_mib(stream.pid))
        end_us, used, busy = wall_ts_us(), cpu_s(stream.pid) - used, _machine_cpu_s() - busy
    seen = Seen.of(own, begin_us, end_us)
    return seen.figures() | {
        "ticks_per_s": _sent(own, begin_us, end_us) / (end_us - begin_us) * SECOND_US,
        "engine_cpu_share": used / (end_us - begin_us) * SECOND_US,
        "machine_cpu_share": busy / (end_us - begin_us) * SECOND_US,
        "engine_memory_mib": [sizes[0], sizes[len(sizes) // 2], sizes[-1]],
        "checkpoints": _checkpoints(own) if engine == "realtime" else 0,
    }


def _checkpoints(own: Settings) -> int:
    """Return how many checkpoints there have been; they are numbered from 0."""
    last = checkpoint.last_commit(job.folder(own))
    return 0 if last is None else last + 1


def _machine_cpu_s() -> float:
    """Return the CPU time that all processes of this machine have used."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _wait(seconds: float, what: str, console: Console, sample: Callable[[], float] = lambda: 0.0) -> list[float]:
    """Wait, with a progress bar; return `sample()` of each second."""
    samples = []
    for _ in track(range(max(1, round(seconds))), what, console=console, transient=True):
        samples.append(sample())
        time.sleep(1)
    return samples


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process and its children have used."""
    return sum(sum(process.cpu_times()[:2]) for process in _tree(pid))


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    return round(sum(process.memory_info().rss for process in _tree(pid)) / 2**20, 1)


def _sent(settings: Settings, begin_us: int, end_us: int) -> int:
    """Return how many records came to `ticks` in a span of the broker's time."""
    client = bus.consumer(settings)
    places = bus.partitions_of(client, settings, "ticks")
    ends = client.end_offsets(places)
    found = [client.offsets_for_times(dict.fromkeys(places, at_us // 1_000)) for at_us in (begin_us, end_us)]
    client.close()
    first, last = ({place: at[place].offset if at.get(place) else ends[place] for place in places} for at in found)
    return sum(last[place] - first[place] for place in places)


@dataclass(frozen=True)
class Seen:
    """When rows reached `features`, and how long after their newest input: microseconds of the broker's time, milliseconds."""

    at_ms: np.ndarray[Any, np.dtype[np.float64]]
    latency_ms: np.ndarray[Any, np.dtype[np.float64]]

    @classmethod
    def of(cls, settings: Settings, begin_us: int, end_us: int) -> Seen:
        """Return the rows that came in a span of the broker's time, of whole partitions where they are too many."""
        client = bus.consumer(settings)
        places = bus.partitions_of(client, settings, "features")
        oldest, ends = client.beginning_offsets(places), client.end_offsets(places)
        share = MOST_RECORDS / max(1, sum(ends.values()))
        chosen = places[: max(1, round(share * len(places)))]
        records = bus.read_between(
            client, settings, {place: oldest[place] for place in chosen}, {place: ends[place] for place in chosen}
        )
        rows = [(one.timestamp_ms, one.timestamp_ms - int(one.header(bus.INGEST_HEADER) or 0) / 1_000) for one in records]
        client.close()
        table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 2)
        table = table[(table[:, 0] >= begin_us / 1_000) & (table[:, 0] <= end_us / 1_000)]
        return cls(table[:, 0], table[:, 1])

    def figures(self) -> dict[str, Any]:
        """Return percentiles with and without the rows that waited for a pause to end, and the pauses."""
        silences = np.diff(self.at_ms)
        ends = [(self.at_ms[place + 1], silences[place]) for place in np.flatnonzero(silences > PAUSE_MS)]
        waited = np.zeros(self.at_ms.shape, dtype=bool)
        for end_ms, silence_ms in ends:
            # who came into the silence shows in the rows behind it
            waited |= (self.at_ms >= end_ms) & (self.at_ms - self.latency_ms < end_ms) & (self.at_ms < end_ms + silence_ms)
        return {
            "rows": len(self.at_ms),
            "latency_ms": _percentiles(self.latency_ms),
            "latency_without_pauses_ms": _percentiles(self.latency_ms[~waited]),
            "pauses_ms": [round(float(silence_ms)) for _, silence_ms in ends],
            "last_fifth_p50_ms": float(np.median(self.latency_ms[-max(1, len(self.latency_ms) // 5) :])),
        }


def _percentiles(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    return {f"p{level}": float(np.percentile(values, level)) if len(values) else float("nan") for level in LEVELS}


def _catch_up(settings: Settings, load: Load, backlog: int, console: Console) -> dict[str, Any]:
    """Return how fast micro-batches work off `backlog` ticks that are there when the engine starts."""
    own = _namespace(settings, "microbatch", load, "catch-up")
    market = Market(symbols=own.symbol_list, rate=load.rate)
    with console.status(f"preparing {backlog:,} ticks"):
        Feeding(own, Bygone(market, backlog), threading.Event()).run()
    engine = Process("stream", own)
    statuses = Statuses(own)
    engine.start()
    try:
        with console.status("micro-batches: catching up"):
            eventually(lambda: _said(statuses, engine) == "ready", READY_TIMEOUT_S, interval_s=0.1)
            began_s, used = time.monotonic(), cpu_s(engine.pid)
            eventually(lambda: checkpoint.last_commit(job.folder(own)) is not None, CATCH_UP_TIMEOUT_S, interval_s=0.2)
            seconds, used = time.monotonic() - began_s, cpu_s(engine.pid) - used
            done = sum(sum(ends.values()) for ends in checkpoint.finished_offsets(job.folder(own)).values())
    finally:
        engine.stop()
        statuses.stop()
    return {"records": done, "seconds": seconds, "records_per_s": done / seconds, "records_per_cpu_s": done / used}


def table(figures: dict[str, Any]) -> Table:
    """Return the figures of :func:`latency` or :func:`throughput` for people."""
    rows = Table("tick to feature row", *figures["engines"])
    levels = [(kind, f"p{level}") for kind in ("latency_ms", "latency_without_pauses_ms") for level in LEVELS]
    for kind, level in levels:
        values = [f"{run[kind][level]:.1f}" for run in figures["engines"].values()]
        rows.add_row(f"{level} ms{', pauses left out' if 'without' in kind else ''}", *values)
    for name in ("ticks_per_s", "engine_cpu_share", "machine_cpu_share", "last_fifth_p50_ms", "checkpoints"):
        rows.add_row(name.replace("_", " "), *[f"{run[name]:,.1f}" for run in figures["engines"].values()])
    rows.add_row("pauses ms", *[" ".join(map(str, run["pauses_ms"][:12])) for run in figures["engines"].values()])
    rows.add_row("engine MiB: begin, middle, end", *[str(run["engine_memory_mib"]) for run in figures["engines"].values()])
    if caught_up := figures.get("catch_up"):
        rows.add_row(
            "catch-up, records/s (per CPU s)", f"{caught_up['records_per_s']:,.0f} ({caught_up['records_per_cpu_s']:,.0f})"
        )
    return rows
