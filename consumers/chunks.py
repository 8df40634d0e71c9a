"""Has Faust hand on many records as one message: it takes a tenth of a millisecond for each, more than most handlers do.

For every message Faust makes two tasks of its event loop and a dozen calls. So a :class:`Chunk` is the run of records that a
poll brought from one partition, without a hole in it. Its offset is that of its last record, and acknowledging it acknowledges
all of them.

Faust drops records that it fetched, while it pauses partitions in a rebalance or is cancelled. So whether there is none between
two chunks is judged by what was fetched, not by what Faust read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from consumers.base import Handler

LARGEST = 200  # records: what a rebalance may have to wait for, if a handler takes more at once
BUFFERED = 64  # chunks that Faust may keep ready

Run = tuple[int, Sequence[Any]]
"""Where a chunk begins to count, and its records."""


class Chunk(ConsumerMessage):  # type: ignore[misc]
    """Faust's message of `records`, aiokafka's own, whose offsets follow each other.

    Parameters
    ----------
    first : int
        The chunk before ends there: between it and the first of `records` is no record.
    """

    __slots__ = ("first", "records")

    def __init__(self, place: TP, records: Sequence[Any], first: int, generation_id: int) -> None:
        last = records[-1]
        at = (last.topic, last.partition, last.offset, (last.timestamp or 0) / 1_000, last.timestamp_type)
        super().__init__(*at, (), b"", b"", None, 0, 0, place, generation_id=generation_id)
        self.first = first
        self.records = records


def runs(records: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield `records` of one partition in runs without a hole, each at most `size` long."""
    begin = 0
    for at in range(1, len(records) + 1):
        if at == len(records) or at - begin == size or records[at].offset != records[at - 1].offset + 1:
            yield records[begin:at]
            begin = at


class _Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, whose messages are chunks."""

    logger = driver.Consumer.logger
    handler: Handler

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fetched: tuple[int, dict[TP, int]] = 0, {}  # in which generation, and the offset behind it of each partition

    async def _getmany(self, active_partitions: Any, timeout: float) -> dict[TP, Iterator[Run]]:
        size = max(1, min(LARGEST, self.handler.max_batch))
        generation = self.app.consumer_generation_id
        before, ends = self._fetched
        self._fetched = generation, {}  # nothing is known after a fetch that is cancelled
        found = await super()._getmany(active_partitions, timeout)
        ends = dict(ends) if before == generation == self.app.consumer_generation_id else {}
        cut = {place: list(self._runs(place, records, size, ends)) for place, records in found.items()}
        self._fetched = generation, ends
        return {place: iter(some) for place, some in cut.items()}

    def _runs(self, place: TP, records: Sequence[Any], size: int, ends: dict[TP, int]) -> Iterator[Run]:
        for run in runs(records, size):
            yield min(ends.get(place, run[0].offset), run[0].offset), run
            ends[place] = run[-1].offset + 1

    def _to_message(self, place: TP, run: Run) -> Chunk:
        first, records = run
        return Chunk(place, records, first, self.app.consumer_generation_id)

    async def _add_gap(self, *_: Any) -> None:
        """Note no gap: Faust would commit beyond what is acknowledged in it."""

    def let_go(self, chunk: Chunk) -> None:
        """Wait no longer for `chunk`, which will not be acknowledged: a rebalance and a stop wait for all that a stream gave."""
        self._unacked_messages.discard(chunk)

    def _new_offset(self, place: TP) -> int | None:
        """Return what to commit: all before the last chunk that was acknowledged is done or is no record (`order.py`)."""
        acknowledged = self._acked[place]
        if not acknowledged:
            return None
        last: int = max(acknowledged)
        acknowledged.clear()
        self._acked_index[place].clear()
        return last + 1


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's way to Kafka, with chunks no longer than `handler` takes at once."""

    Consumer = _Consumer

    def __init__(self, app: Any, handler: Handler) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self._handler = handler

    def create_consumer(self, callback: Any, **arguments: Any) -> Any:
        """Return a new consumer."""
        consumer = super().create_consumer(callback, **arguments)
        consumer.handler = self._handler
        return consumer


def fitting(events: Sequence[Any], size: int) -> int:
    """Return how many of the first `events` have at most `size` records together, or 1."""
    ends = accumulate(len(event.message.records) for event in events)
    return max(1, sum(end <= size for end in ends))
