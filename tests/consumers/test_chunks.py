"""Which records Faust hands on together, and what it commits of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from faust.types import TP
from kafka import TopicPartition

from consumers import chunks, worker
from consumers.chunks import Chunk
from consumers.order import Order
from streams import settings
from streams.settings import Settings
from tests.consumers.echo_worker import Few

PLACE = TP("ticks", 0)


@pytest.mark.parametrize(
    ("offsets", "size", "found"),
    [
        ([], 3, []),
        ([4], 3, [[4]]),
        ([4, 5, 6, 7, 8], 3, [[4, 5, 6], [7, 8]]),
        ([4, 5, 7, 8, 9], 3, [[4, 5], [7, 8, 9]]),  # what ended a transaction is no record
    ],
)
def test_a_run_has_no_hole_and_is_no_longer_than_asked_for(offsets: list[int], size: int, found: list[list[int]]) -> None:
    records = [SimpleNamespace(offset=offset) for offset in offsets]
    assert [[one.offset for one in run] for run in chunks.runs(records, size)] == found


@pytest.mark.parametrize(("size", "count"), [(1, 1), (3, 1), (5, 2), (100, 3)])
def test_a_batch_is_at_most_what_the_handler_takes_but_one_chunk_at_least(size: int, count: int) -> None:
    events = [SimpleNamespace(message=SimpleNamespace(records=[0] * length)) for length in (3, 2, 4)]
    assert chunks.fitting(events, size) == count


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load(), broker="localhost:1", home=tmp_path, topic_prefix="")


def fetched(*offsets: int) -> list[Any]:
    return [SimpleNamespace(topic=PLACE.topic, partition=0, offset=n, timestamp=0, timestamp_type=0) for n in offsets]


class Fetches:
    """Faust's consumer of one partition, its aiokafka a list of what is fetched one after another."""

    def __init__(self, own: Settings, *fetches: Sequence[int]) -> None:
        self.app = worker._app(Few(), own)  # noqa: SLF001 -- Faust's side of the worker
        self.consumer = self.app.consumer
        self.consumer._thread.thread_loop.close()  # noqa: SLF001
        self.consumer._active_partitions = {PLACE}  # noqa: SLF001
        self.consumer._thread = SimpleNamespace(getmany=self._getmany, highwater=lambda _: 1_000)  # noqa: SLF001
        self.app.topics._acking_topics.add(PLACE.topic)  # noqa: SLF001
        self.fetches = list(fetches)
        self.came: list[Chunk] = []

    async def _getmany(self, *_: Any) -> dict[TP, list[Any]]:
        if not (offsets := self.fetches.pop(0)):
            raise asyncio.CancelledError
        return {PLACE: fetched(*offsets)}

    async def fetch(self, then: Callable[[], object] = lambda: None) -> None:
        """Read what a fetch brings as Faust does, and do `then` after each message."""
        async for place, message in self.consumer.getmany(1.0):
            self.came.append(message)
            self.consumer._read_offset[place] = message.offset  # noqa: SLF001
            then()

    def handled(self, start: int) -> list[int]:
        order = Order({TopicPartition(*PLACE): start})
        return [record.offset for _, records in order.take(self.came) for record in records]

    def acknowledge(self, *offsets: int) -> None:
        message = Chunk(PLACE, fetched(*offsets), offsets[0], 0)
        self.consumer.track_message(message)
        self.consumer.ack(message)

    def commit(self) -> int | None:
        offset: int | None = self.consumer._new_offset(PLACE)  # noqa: SLF001
        return offset


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_what_was_never_a_record_is_passed_over_within_a_fetch_and_between_two(own: Settings) -> None:
    async def main() -> None:
        source = Fetches(own, [4, 5, 7], [9, 10])
        await source.fetch()
        await source.fetch()
        assert source.handled(4) == [4, 5, 7, 9, 10]

    run(main)


def test_records_that_were_fetched_while_their_partition_was_paused_are_not_taken_for_none(own: Settings) -> None:
    async def main() -> None:
        source = Fetches(own, range(9), range(9, 12))
        await source.fetch(then=lambda: source.consumer.pause_partitions([PLACE]))
        source.consumer.resume_partitions([PLACE])
        await source.fetch()
        assert source.handled(0) == [0, 1, 2]

    run(main)


def test_a_message_that_got_lost_on_its_way_is_not_taken_for_none(own: Settings) -> None:
    async def main() -> None:
        source = Fetches(own, [5], [6, 7])
        source.consumer._read_offset[PLACE] = 5  # noqa: SLF001 -- it was sought
        async for _ in source.consumer.getmany(1.0):
            pass
        await source.fetch()
        assert source.handled(5) == []

    run(main)


@pytest.mark.parametrize("generation", [0, 1])
def test_nothing_is_known_after_a_fetch_that_was_cancelled_or_of_another_generation(own: Settings, generation: int) -> None:
    async def main() -> None:
        source = Fetches(own, [0, 1], *([[]] if generation == 0 else []), [5, 6])
        await source.fetch()
        if generation == 0:
            with pytest.raises(asyncio.CancelledError):
                await source.fetch()
        source.app.consumer_generation_id = generation
        await source.fetch()
        assert source.handled(0) == [0, 1]

    run(main)


def test_all_before_what_is_acknowledged_is_committed_whatever_is_no_more(own: Settings) -> None:
    async def main() -> None:
        source = Fetches(own)
        source.consumer._committed_offset[PLACE] = 10  # noqa: SLF001
        assert source.commit() is None
        source.acknowledge(13, 14)  # the worker saw that 10, 11 and 12 are no more
        source.acknowledge(15)
        assert source.commit() == 16
        assert source.commit() is None
        source.acknowledge(100_000_000, 100_000_001)  # retention deleted those between: none is counted
        assert source.commit() == 100_000_002

    run(main)
