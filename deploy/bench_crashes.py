"""What kills and rebalances lose: a group of two sentiment workers, disturbed, and every (headline, symbol) looked for after."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from rich.progress import Progress

from deploy.bench_headlines import Pair, Text, feed
from deploy.group import Group
from streams import bus, codec
from streams.bus import Record
from streams.messages import Event, Sentiment
from streams.settings import Settings

PLAN = ("kill", "join", "kill", "leave", "kill")  # three kills; a rebalance by a third worker that comes, and by one that goes
BEGUN = 0.25  # share of a part that must be out before the group is disturbed
SILENT_S = 180.0  # without anything new: something hangs, and the figures say what is missing


class Watch:
    """What a group has put out so far, and which of its processes are ready."""

    def __init__(self, settings: Settings, progress: Callable[[int], None]) -> None:
        self.seen: set[Pair] = set()
        self.ready: set[int] = set()
        self._progress = progress
        self._changed = time.monotonic()
        self._over = False
        self._records = bus.follow(settings, "sentiment", "events", stop=self._is_over)

    def until(self, condition: Callable[[], bool]) -> None:
        """Read on until `condition` holds, or nothing new has come for `SILENT_S`."""
        while not condition() and not self._is_over():
            for record in next(self._records, []):
                self._take(record)
            self._progress(len(self.seen))

    def close(self) -> None:
        """Close the client: its thread would keep the process."""
        self._over = True
        for _ in self._records:
            pass

    def _is_over(self) -> bool:
        return self._over or time.monotonic() - self._changed > SILENT_S

    def _take(self, record: Record) -> None:
        before = len(self.seen) + len(self.ready)
        if record.topic == "sentiment":
            self.seen.add(pair_of(record))
        elif (event := codec.decode(Event, record.value)).state == "ready":
            self.ready.add(event.counts["pid"])
        if len(self.seen) + len(self.ready) > before:
            self._changed = time.monotonic()


def pair_of(record: Record) -> Pair:
    """Return the headline id and the symbol of a record on `sentiment`."""
    message = codec.decode(Sentiment, record.value)
    return message.headline_id, message.symbol


def measure(settings: Settings, texts: Sequence[Text], progress: Progress) -> dict[str, Any]:
    """Return what came out of a disturbed group, against what went in.

    The headlines are sent in parts; in the middle of each the group is disturbed once, as `PLAN` has it, and the next part
    is sent once all workers are ready again. So each disturbance meets a working group, however few headlines there are.
    """
    task = progress.add_task("a group of two, disturbed", total=sum(len(item.symbols) for item in texts))
    started, wanted = time.perf_counter(), set[Pair]()
    size = -(-len(texts) // len(PLAN))
    with closing(Watch(settings, lambda done: progress.update(task, completed=done))) as watch, Group(settings) as group:
        group.start()
        group.start()
        for number, disturb in enumerate(PLAN):
            watch.until(lambda: group.pids() <= watch.ready)
            part = feed(settings, texts[number * size : (number + 1) * size], number * size)
            wanted |= part
            begun = len(watch.seen) + round(BEGUN * len(part))
            watch.until(lambda: len(watch.seen) >= begun)  # noqa: B023 - read before the next round
            getattr(group, disturb)()
        watch.until(lambda: watch.seen >= wanted)
    figures = {"headlines": len(texts), "seconds": time.perf_counter() - started, "kills": group.kills}
    return figures | {"rebalances": group.rebalances} | audit(settings, wanted)


def audit(settings: Settings, wanted: set[Pair]) -> dict[str, int]:
    """Return how the records on `sentiment` compare with `wanted`: each pair should be there, and no other.

    A crash repeats records: `repeats` counts them, `repeats_that_differ` those of another value than the first.
    """
    values: dict[Pair, bytes | None] = {}
    counts: Counter[str] = Counter()
    for record in bus.read_all(settings, "sentiment"):
        pair = pair_of(record)
        counts["repeats"] += pair in values
        counts["repeats_that_differ"] += values.setdefault(pair, record.value) != record.value
    return {
        "pairs": len(wanted),
        "missing": len(wanted - values.keys()),
        "unexpected": len(values.keys() - wanted),
        "repeats": counts["repeats"],
        "repeats_that_differ": counts["repeats_that_differ"],
        "dead": sum(1 for _ in bus.read_all(settings, "dead_letters")),
    }
