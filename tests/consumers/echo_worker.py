"""A worker for tests: `python -m tests.consumers.echo_worker MODE LABEL`, settings from the environment.

It answers each record of `ticks` on `scores`. Mode `echo` copies the bytes, and so does `leaky`, to which Faust gives some
records only when they are read again; `count` says how many inputs and outputs of its partition it remembers; `pair` reads
`features` too and says LABEL; `large` writes dead letters of the size that the record asks for; `bomb` raises on the value
`bomb` as long as the file `armed` is in its home; `later` answers only when it is called again without records.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from consumers import worker
from consumers.base import LARGEST_BATCH, WHOLE, Handler
from streams import settings
from streams.bus import Outgoing, Record


class Echo:
    """Copies records."""

    name = "echo"
    inputs: tuple[str, ...] = ("ticks",)
    memory: tuple[str, ...] = ()
    lookback_min: Mapping[str, int] = WHOLE
    max_batch = LARGEST_BATCH
    company_s = 0.0
    due_s = None

    def restore(self, record: Record) -> None:
        raise AssertionError(record)

    def describe(self) -> str:
        return "echo"

    def forget(self) -> None:
        return

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        return [Outgoing("scores", record.key or b"", record.value or b"", record.headers) for record in records]


class Count(Echo):
    """Answers each record with how many records of its partition were read and written before it."""

    memory: tuple[str, ...] = ("ticks", "scores")

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()

    def restore(self, record: Record) -> None:
        self.seen[record.topic, record.partition] += 1

    def forget(self) -> None:
        self.seen.clear()

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        return [self.answer(record) for record in records]

    def answer(self, record: Record) -> Outgoing:
        places = (("ticks", record.partition), ("scores", record.partition))
        value = "/".join(str(self.seen[place]) for place in places)
        self.seen.update(places)
        return Outgoing("scores", record.key or b"", value.encode(), partition=record.partition)


class Pair(Echo):
    """Reads two co-partitioned topics and names the process that answers."""

    inputs: tuple[str, ...] = ("ticks", "features")

    def __init__(self, label: str) -> None:
        self.label = label

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        return [
            Outgoing("scores", record.key or b"", f"{record.topic}:{record.partition}:{self.label}".encode())
            for record in records
        ]


class Large(Echo):
    """Writes dead letters of the size that each record asks for."""

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        return [Outgoing("dead_letters", b"large", b"x" * int(record.value or b"")) for record in records]


class Bomb(Echo):
    """Raises on one value while it is armed."""

    def __init__(self, armed: Path) -> None:
        self.armed = armed

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        if self.armed.exists() and any(record.value == b"bomb" for record in records):
            raise RuntimeError("the bomb went off")
        return super().handle(records)


class Later(Echo):
    """Copies records when it is called without any, which it asks for."""

    def __init__(self) -> None:
        self.waiting: list[Record] = []

    @property
    def due_s(self) -> float | None:  # type: ignore[override]
        return 0.01 if self.waiting else None

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        if not records:
            records, self.waiting = self.waiting, []
            return super().handle(records)
        self.waiting += records
        return []


class Few(Echo):
    """Takes few records at once, so that they come in many chunks."""

    max_batch = 3


class LeakyStream:
    """Faust's stream, without chunks that end with every tenth record of a partition, the first time that they come."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.lost: set[tuple[int, int]] = set()

    def noack(self) -> LeakyStream:
        return self

    async def events(self) -> AsyncIterator[Any]:
        async for event in self.stream.noack().events():
            place = event.message.partition, event.message.offset
            if event.message.offset % 10 == 9 and place not in self.lost:
                self.lost.add(place)
            else:
                yield event


class LeakyWorker(worker._Worker):  # noqa: SLF001 -- what Faust gives is not to be had from outside
    async def _collect(self, stream: Any) -> None:
        await super()._collect(LeakyStream(stream))


def handler(mode: str, label: str, home: Path) -> Handler:
    modes: dict[str, Callable[[], Handler]] = {
        "echo": Echo,
        "leaky": Few,
        "count": Count,
        "large": Large,
        "pair": lambda: Pair(label),
        "later": Later,
        "bomb": lambda: Bomb(home / "armed"),
    }
    return modes[mode]()


if __name__ == "__main__":
    own = settings.load()
    if sys.argv[1] == "leaky":
        worker._Worker = LeakyWorker  # type: ignore[misc]  # noqa: SLF001
    worker.run(handler(sys.argv[1], sys.argv[2], own.home), own)
