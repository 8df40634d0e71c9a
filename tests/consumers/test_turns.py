"""What a worker does with records that are not in their turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from faust.types import TP
from kafka import TopicPartition

from consumers import worker
from consumers.chunks import Chunk
from consumers.order import Order
from streams import settings
from tests.consumers.echo_worker import Few

PLACE = TopicPartition("ticks", 0)


def chunk(*offsets: int) -> Chunk:
    records = [SimpleNamespace(topic=PLACE.topic, partition=0, offset=n, timestamp=0, timestamp_type=0) for n in offsets]
    return Chunk(TP(*PLACE), records, offsets[0], 0)


class Worker(worker._Worker):  # noqa: SLF001 -- without a broker
    """A worker whose group goes on at offset 3."""

    def __init__(self, home: Path) -> None:
        own = msgspec.structs.replace(settings.load(), broker="localhost:1", home=home, topic_prefix="")
        super().__init__(Few(), own, None)  # type: ignore[arg-type]
        self._app = self._build()
        self._app.topics._acking_topics.add(PLACE.topic)  # noqa: SLF001
        self._app.consumer._thread.thread_loop.close()  # noqa: SLF001
        self._order = Order({PLACE: 3})
        self._restored = True
        self.sought: list[int] = []
        self._app.consumer.seek = self._seek

    async def _seek(self, _place: TP, offset: int) -> None:
        self.sought.append(offset)

    async def leave(self, one: Chunk) -> None:
        """Have the stream give `one`, and work it off."""
        self._app.flow_control.resume()
        stream = self._app.stream(self._app.topic(PLACE.topic, key_type=bytes, value_type=bytes, value_serializer="raw"))
        self.collecting = asyncio.create_task(self._collect(stream))
        await asyncio.sleep(0.05)
        await stream.channel.queue.put(await stream.channel.decode(one))
        await asyncio.wait_for(self._wake.wait(), 5)
        assert self.waits_for() == 1
        await self._work_off()

    def waits_for(self) -> int:
        return len(self._app.consumer.unacked)

    async def look_twice(self, order: Order) -> None:
        client: Any = SimpleNamespace(end_offsets=lambda *_, **__: {PLACE: 8})
        self._order = order
        await self._read_again(client, order)
        await self._read_again(client, order)

    def rebalance(self) -> None:
        self._order = Order({PLACE: 3})


def test_nothing_waits_for_a_chunk_out_of_its_turn_although_the_stream_keeps_its_last(tmp_path: Path) -> None:
    async def main() -> None:
        one = Worker(tmp_path)
        await one.leave(chunk(4, 5))
        assert one.waits_for() == 0
        one.collecting.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(("meanwhile", "sought"), [("nothing", [5]), ("it came", []), ("a rebalance", [])])
def test_a_partition_is_read_again_unless_it_went_on_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str, sought: list[int]
) -> None:
    async def main() -> None:
        one, order = Worker(tmp_path), Order({PLACE: 3})

        def first_left(*_: Any) -> int:
            if meanwhile == "it came":
                order.take([chunk(3, 4)])
            if meanwhile == "a rebalance":
                one.rebalance()
            return 5

        monkeypatch.setattr(worker, "first_left", first_left)
        await one.look_twice(order)
        assert one.sought == sought
        assert order.next_of(PLACE) == (3 if meanwhile == "a rebalance" else 5)

    asyncio.run(main())
