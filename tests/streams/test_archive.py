"""The archive on a real broker: every bad message once in `dead_letters`, whole, and no good one."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from streams import archive, bus, codec
from streams.bus import Outgoing, Record
from streams.errors import BadMessage
from streams.messages import DeadLetter, Tick
from streams.settings import Settings
from streams.testing import eventually
from tests.streams import bad_values
from tests.streams.strategies import T0

pytestmark = pytest.mark.slow

EACH = 1_000


def good(number: int) -> bytes:
    tick = Tick(event_ts_us=T0 + number, clock_ts_us=T0 + number, symbol="AAPL", price=585.0, size=1.0, source="test", seq=number)
    return codec.encode(tick)


def is_bad(value: bytes | None) -> bool:
    try:
        codec.decode(Tick, value)
    except BadMessage:
        return True
    return False


def malformed(count: int) -> list[bytes]:
    """Return `count` bad values, all different: the shared kinds in turn, told apart by the spaces before them."""
    kinds = [value for value in dict.fromkeys(bad_values.ticks().values()) if value and value.strip() and is_bad(value)]
    return [b" " * (number // len(kinds)) + kinds[number % len(kinds)] for number in range(count)]


@pytest.fixture
def query(spark: SparkSession, config: Settings) -> Iterator[StreamingQuery]:
    running = archive.start(spark, config)
    yield running
    running.stop()


def letters(config: Settings) -> list[Record]:
    return list(bus.read_all(config, "dead_letters"))


def send(config: Settings, values: list[bytes | None]) -> None:
    client = bus.producer(config)
    bus.send_all(client, config, (Outgoing("ticks", b"key-%d" % (n % 9), value) for n, value in enumerate(values)))  # type: ignore[arg-type]
    client.close()


def test_each_of_a_thousand_bad_ticks_becomes_one_dead_letter_and_no_good_one(config: Settings, query: StreamingQuery) -> None:
    bad = malformed(EACH)
    assert len(set(bad)) == EACH
    send(config, [value for number, value in enumerate(bad) for value in (value, good(number))])
    eventually(lambda: len(letters(config)) >= EACH or query.exception(), timeout_s=120, interval_s=1)
    query.processAllAvailable()
    found = letters(config)
    origin = {(record.partition, record.offset): record for record in bus.read_all(config, "ticks")}
    decoded = [codec.decode(DeadLetter, record.value) for record in found]
    assert sorted(base64.b64decode(letter.value_base64) for letter in decoded) == sorted(bad)
    for letter in decoded:
        record = origin[letter.partition, letter.offset]
        assert base64.b64decode(letter.value_base64) == record.value
        assert base64.b64decode(letter.key_base64 or "") == record.key
        assert (letter.topic, letter.stage, letter.timestamp_us) == ("ticks", archive.STAGE, record.timestamp_ms * 1_000)
        assert letter.error_class in {"not_json", "contract"}
        assert letter.message
    assert {record.key for record in found} == {b"ticks"}


def test_tombstones_late_ticks_and_ticks_from_the_future_are_told_apart(config: Settings, query: StreamingQuery) -> None:
    hour = 3_600_000_000
    tick = Tick(event_ts_us=T0, clock_ts_us=T0 + hour, symbol="AAPL", price=585.0, size=1.0, source="test", seq=1)
    late, ahead = (codec.encode(tick), codec.encode(tick).replace(b"%d" % (T0 + hour), b"%d" % (T0 - hour)))
    send(config, [None, late, good(1), ahead, b""])
    eventually(lambda: len(letters(config)) >= 4 or query.exception(), timeout_s=120, interval_s=1)
    query.processAllAvailable()
    decoded = [codec.decode(DeadLetter, record.value) for record in letters(config)]
    assert {letter.error_class: base64.b64decode(letter.value_base64) for letter in decoded} == {
        "no_value": b"",
        "too_late": late,
        "from_the_future": ahead,
        "not_json": b"",
    }
    assert len(decoded) == 4
