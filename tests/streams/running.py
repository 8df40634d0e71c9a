"""What goes to a running engine, and what has come out of it so far."""

from __future__ import annotations

import random

import msgspec
import polars as pl

from deploy.verify import truth
from streams import bus, codec
from streams.bus import Outgoing
from streams.messages import Features
from streams.settings import Settings
from tests.streams import batch, tapes
from tests.streams.strategies import T0
from tests.streams.tapes import MINUTE, Print, Tape

TICKS, MINUTES = 2_000, 25
SYMBOLS = ("AAPL", "AMZN", "MSFT", "IBM")


def tape(symbol: str, chance: random.Random) -> Tape:
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


def all_tapes() -> list[Tape]:
    """Return the tapes of all symbols."""
    chance = random.Random(11)  # noqa: S311 - a test, not a secret
    return [tape(symbol, chance) for symbol in SYMBOLS]


def records(every: list[Tape]) -> list[Outgoing]:
    """Return all ticks and all sentiment, in the order in which they would arrive."""
    ticks = [(tick.clock_ts_us, bus.outgoing("ticks", tick.symbol, tick)) for one in every for tick in one.ticks()]
    moods = [(mood.clock_ts_us, bus.outgoing("sentiment", mood.symbol, mood)) for one in every for mood in one.sentiment()]
    return [record for _, record in sorted([*ticks, *moods], key=lambda each: each[0])]


def send(config: Settings, outgoing: list[Outgoing]) -> None:
    """Send the records and wait until the broker has them."""
    with bus.producing(config) as client:
        bus.send_all(client, config, outgoing)


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


def final_minutes(config: Settings) -> dict[str, list[int]]:
    """Return each symbol's minutes in the order in which they became final."""
    found: dict[str, list[int]] = {}
    for record in bus.read_all(config, "features"):
        row = codec.decode(Features, record.value)
        known = found.setdefault(row.symbol, [])
        if row.final and row.minute_ts_us not in known:
            known.append(row.minute_ts_us)
    return found


def assert_final_in_order(config: Settings) -> None:
    """Demand that each symbol's minutes became final in their order."""
    orders = final_minutes(config)
    assert set(orders) == set(SYMBOLS)
    assert all(order == sorted(order) for order in orders.values())


def is_true(config: Settings, every: list[Tape]) -> bool:
    """Return whether the newest rows are the truth, and final exactly where all closings are in."""
    final = {minute for one in every for minute in one.final_minutes()}
    expected = truth.minutes(*tapes.facts(every))
    found = newest(config)
    if len(found) != expected.height or {key for key, row in found.items() if row.final} != final:
        return False
    return _holds(table(found), expected)


def table(found: dict[tuple[str, int], Features]) -> pl.DataFrame:
    """Return rows as a frame."""
    return pl.DataFrame([msgspec.structs.asdict(row) for row in found.values()], infer_schema_length=None)


def _holds(found: pl.DataFrame, expected: pl.DataFrame) -> bool:
    try:
        batch.assert_true(found, expected)
    except AssertionError:
        return False
    return True
