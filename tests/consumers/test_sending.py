"""What a handler answered reaches the broker whole, in order, and where every other client would put it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from consumers.sending import BATCH_BYTES, Sender
from streams import bus
from streams.bus import Outgoing
from streams.settings import Settings

Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def send(config: Settings, *answers: Sequence[Outgoing]) -> None:
    async def sending() -> None:
        sender = Sender(config)
        await sender.start()
        try:
            for answer in answers:
                await sender.send(answer)
        finally:
            await sender.stop()

    asyncio.run(sending())


def stored(config: Settings, topic: str) -> dict[int, list[Content]]:
    found: dict[int, list[Content]] = defaultdict(list)
    for record in bus.read_all(config, topic):
        found[record.partition].append((record.key, record.value, tuple(record.headers)))
    return found


def test_records_of_any_size_are_there_in_their_order_and_in_their_keys_partition(config: Settings) -> None:
    sizes = [100 + 7 * number for number in range(400)] + [BATCH_BYTES + 5_000, 0, BATCH_BYTES - 100, 200]
    records = [
        Outgoing("scores", b"K%d" % (number % 5), b"%d:" % number + b"x" * size, [("n", b"%d" % number)])
        for number, size in enumerate(sizes)
    ]
    send(config, records[:300], [], records[300:])
    expected: dict[int, list[Content]] = defaultdict(list)
    for record in records:
        place = bus.partition_of(record, config.partitions)
        expected[place].append((record.key, record.value, tuple(record.headers)))
    assert len(expected) == config.partitions
    assert sum(map(len, (record.value for record in records))) > 3 * BATCH_BYTES
    assert stored(config, "scores") == expected


def test_a_record_may_name_its_partition_and_topics_may_have_one(config: Settings) -> None:
    states = [Outgoing("calibration", b"same", b"%d" % number, partition=number % 2) for number in range(6)]
    send(config, [*states, Outgoing("events", b"status", b"{}")])
    assert {place: [value for _, value, _ in some] for place, some in stored(config, "calibration").items()} == {
        0: [b"0", b"2", b"4"],
        1: [b"1", b"3", b"5"],
    }
    assert stored(config, "events") == {0: [(b"status", b"{}", ())]}


def test_what_the_broker_refuses_is_raised(config: Settings) -> None:
    with pytest.raises(MessageSizeTooLargeError):
        send(config, [Outgoing("scores", b"a", b"x" * 2_000_000)])
