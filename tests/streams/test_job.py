"""The running engine, in both of its modes, on a real broker against the truth."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import msgspec
import polars as pl
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from deploy.verify import truth
from streams import bus, codec, job
from streams.messages import Features
from streams.settings import Settings
from streams.testing import eventually
from tests.streams import batch, tapes
from tests.streams.strategies import T0
from tests.streams.tapes import MINUTE, Print, Tape

pytestmark = pytest.mark.slow

TICKS, MINUTES = 2_000, 25
SYMBOLS = ("AAPL", "AMZN", "MSFT", "IBM")


def _tape(symbol: str, chance: random.Random) -> Tape:
    """Return 25 minutes of trades, one in twenty of them late, with a pause of five minutes and a missing headline closing."""
    open_us = T0 + chance.randrange(MINUTE)
    span_us = (MINUTES - 1) * MINUTE
    moments = sorted(open_us + chance.randrange(span_us) for _ in range(TICKS // len(SYMBOLS) - 1))
    busy = [at_us for at_us in moments if not T0 + 8 * MINUTE <= at_us < T0 + 13 * MINUTE]
    prints = [
        Print(at_us, chance.randrange(1_000, 2_000) / 100, float(chance.randrange(500)), 1 + number, _delay(chance))
        for number, at_us in enumerate(busy)
    ]
    end_us = max(one.arrival_us for one in prints)
    scores = [(T0 + chance.randrange(MINUTES * MINUTE), chance.randrange(-100, 101) / 100) for _ in range(10)]
    return Tape(symbol, [([Print(open_us, 15.0, 1.0, 0), *prints], end_us)], scores, frozenset({7}))


def _delay(chance: random.Random) -> int:
    return chance.randrange(5 * MINUTE) if chance.random() < 0.05 else 0


@pytest.fixture
def every() -> list[Tape]:
    chance = random.Random(11)  # noqa: S311 - a test, not a secret
    return [_tape(symbol, chance) for symbol in SYMBOLS]


@pytest.fixture(params=["realtime", "microbatch"])
def engine(request: pytest.FixtureRequest, config: Settings) -> Settings:
    choice: Literal["realtime", "microbatch"] = request.param
    return msgspec.structs.replace(config, engine=choice)


@pytest.fixture
def query(spark: SparkSession, engine: Settings) -> Iterator[StreamingQuery]:
    running = job.start(spark, engine)
    yield running
    running.stop()


def send(config: Settings, every: list[Tape]) -> None:
    """Send all, in the order in which it would arrive."""
    ticks = sorted((tick for tape in every for tick in tape.ticks()), key=lambda tick: tick.clock_ts_us)
    sentiment = sorted((score for tape in every for score in tape.sentiment()), key=lambda score: score.clock_ts_us)
    client = bus.producer(config)
    bus.send_all(client, config, (bus.outgoing("ticks", tick.symbol, tick) for tick in ticks))
    bus.send_all(client, config, (bus.outgoing("sentiment", score.symbol, score) for score in sentiment))
    client.close()


def newest(config: Settings) -> dict[tuple[str, int], Features]:
    """Return the row with the highest revision of each symbol and minute."""
    found: dict[tuple[str, int], Features] = {}
    for record in bus.read_all(config, "features"):
        row = codec.decode(Features, record.value)
        known = found.get((row.symbol, row.minute_ts_us))
        if known is None or row.revision >= known.revision:
            found[row.symbol, row.minute_ts_us] = row
        assert record.header(bus.INGEST_HEADER)
        assert record.key == row.symbol.encode()
    return found


def test_the_newest_row_of_each_minute_is_the_truth_and_final_where_all_closings_are_in(
    engine: Settings, query: StreamingQuery, every: list[Tape]
) -> None:
    send(engine, every)
    final = {minute for tape in every for minute in tape.final_minutes()}
    expected = truth.minutes(*tapes.facts(every))
    assert expected.height - len(final) == len(SYMBOLS)

    def is_true() -> bool:
        assert query.exception() is None
        found = newest(engine)
        if len(found) == expected.height and {key for key, row in found.items() if row.final} == final:
            table = pl.DataFrame([msgspec.structs.asdict(row) for row in found.values()], infer_schema_length=None)
            return _holds(table, expected)
        return False

    eventually(is_true, timeout_s=120, interval_s=1)


def _holds(found: pl.DataFrame, expected: pl.DataFrame) -> bool:
    try:
        batch.assert_true(found, expected)
    except AssertionError:
        return False
    return True
