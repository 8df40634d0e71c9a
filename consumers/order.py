"""Sees to it that a partition's records are handled in their order, and none is left out.

Faust loses its place where one rebalance overtakes another: it skips records that it fetched, and commits over a hole of
one. So nothing is handled, and with that acknowledged and committed, but the very record that is next in its partition; and
a partition that stands still although the broker has more of it is read again from there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from consumers.base import Handler
from consumers.chunks import Chunk
from streams import bus
from streams.settings import Settings

PATIENCE_MS = 5_000  # for a broker that is asked how much it has

Offsets = Mapping[TopicPartition, int]
"""An offset of each partition."""


class Order:
    """Which record of each partition is next.

    Parameters
    ----------
    starts : mapping
        Offset of the first record of each assigned partition.
    """

    def __init__(self, starts: Offsets) -> None:
        self._next = dict(starts)
        self._behind: dict[TopicPartition, int] = {}

    @property
    def places(self) -> list[TopicPartition]:
        """The partitions."""
        return list(self._next)

    def take(self, chunks: Iterable[Chunk]) -> list[tuple[Chunk, Sequence[Any]]]:
        """Return those of `chunks` that have what is next in their partitions, with the records in them that are, now taken."""
        found = []
        for chunk in chunks:
            place = TopicPartition(chunk.topic, chunk.partition)
            at = self._next.get(place, -1)
            if chunk.first <= at <= chunk.offset:
                self._next[place] = chunk.offset + 1
                found.append((chunk, chunk.records[bisect_left(chunk.records, at, key=attrgetter("offset")) :]))
        return found

    def stuck(self, ends: Offsets) -> list[TopicPartition]:
        """Return the partitions that had more at the last call already, and of which nothing was taken since.

        `ends` has the offset behind the last record of each.
        """
        behind = {place: self._next[place] for place, end in ends.items() if self._next[place] < end}
        found = [place for place, offset in behind.items() if self._behind.get(place) == offset]
        self._behind = behind
        return found

    def next_of(self, place: TopicPartition) -> int:
        """Return the offset of the record that is next in `place`."""
        offset: int = self._next[place]
        return offset

    def pass_over(self, place: TopicPartition, first: int) -> None:
        """Go on with `first`: what was before it is no more."""
        self._next[place] = first


def starts_of(handler: Handler, settings: Settings, partitions: Iterable[int]) -> dict[TopicPartition, int]:
    """Return where the group of `handler` goes on in each of its inputs' partitions numbered `partitions`. Blocks."""
    client = bus.consumer(settings, group_id=settings.topic(handler.name))
    try:
        places = [TopicPartition(settings.topic(name), number) for name in handler.inputs for number in sorted(partitions)]
        bounds = client.beginning_offsets(places), client.end_offsets(places)
        return {place: _start(client.committed(place), *(bound[place] for bound in bounds)) for place in places}
    finally:
        client.close()


def first_left(client: KafkaConsumer, place: TopicPartition, at: int) -> int | None:
    """Return the offset of the first record of `place` that is left from `at` on, None if there is none. Blocks.

    It is not `at` where retention has deleted records, or where a producer's transaction ended.
    """
    client.assign([place])
    client.seek(place, at)
    for record in client.poll(timeout_ms=PATIENCE_MS, max_records=1).get(place, ()):
        return int(record.offset)
    return None


def _start(committed: int | None, first: int, end: int) -> int:
    return committed if committed is not None and first <= committed <= end else first
