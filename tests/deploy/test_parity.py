"""`tickcast verify parity`: it holds on a disturbed tape with a kill -9 on the way, and notices a planted fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from deploy.local.processes import Process
from deploy.verify import archived, parity, truth
from deploy.verify.disturbed import Disturbance, Disturbed
from producers.base import Event, SessionEnd, Source, Trade
from producers.market import Market
from producers.simulated import Simulated
from streams import bus, lake
from streams.clock import MINUTE_US
from streams.messages import Features, Tick
from streams.settings import Settings, load

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
MINUTES = 45


@dataclass(frozen=True)
class Tape:
    """Three quarters of an hour of two simulated symbols; the first time it is read, trade number `without` is missing."""

    name: str = "small"
    live: bool = False
    without: int = -1

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        market = Simulated(Market(symbols=("AAPL", "AMZN")))
        for event in market.history(1, T0 + 10**11, ticks_per_minute=6):
            if event.event_ts_us >= self._start_us + MINUTES * MINUTE_US:
                break
            if not (isinstance(event, Trade) and event.seq == self.without):
                yield event
        yield SessionEnd(self._start_us + MINUTES * MINUTE_US - 1)

    @property
    def _start_us(self) -> int:
        first = next(iter(Simulated(Market(symbols=("AAPL", "AMZN"))).history(1, T0 + 10**11, ticks_per_minute=6)))
        return first.event_ts_us // MINUTE_US * MINUTE_US


class Faulty:
    """A tape of which one trade never reaches the engine, though it belongs to the truth."""

    live = False

    def __init__(self, whole: Source, missing: Source) -> None:
        self.name = whole.name
        self._readings = iter([missing, missing])  # once to plan the trial, once to send
        self._whole = whole

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        return next(self._readings, self._whole).events(resume_after)


@pytest.fixture
def own(broker: str, tmp_path: Path) -> Settings:
    config = load({}, home=tmp_path / "home", broker=broker, sentiment="minilm")
    return msgspec.structs.replace(config, offline=True)


@pytest.mark.slow
def test_a_disturbed_tape_and_kills_of_engine_and_archive_change_nothing(own: Settings) -> None:
    """Four kills of each on a tape this short: some come while Spark starts, before there is anything to go on from."""
    trial = parity.Trial(Disturbance(shuffle_s=30, late=0.05, duplicates=0.05), kills=4, lake=True)
    figures = parity.run(own, Tape(), trial)
    assert figures["rows"] == figures["lake_features"] == 2 * MINUTES
    assert figures["lake_ticks"] > 2 * MINUTES * 6
    assert {name: figures[name] for name in parity.FAULTS + parity.LAKE_FAULTS} == dict.fromkeys(
        parity.FAULTS + parity.LAKE_FAULTS, 0
    )
    assert figures["holds"]


@pytest.mark.slow
def test_no_final_row_changes_where_trades_come_in_order_though_twice(own: Settings) -> None:
    figures = parity.run(own, Tape(), parity.Trial(Disturbance(duplicates=0.05)))
    assert (figures["rows"], figures["finals_changed"], figures["holds"]) == (2 * MINUTES, 0, True)


@pytest.mark.slow
def test_a_trade_that_is_lost_on_the_way_is_noticed(own: Settings) -> None:
    figures = parity.run(own, Faulty(Tape(), Tape(without=100)), parity.Trial(Disturbance()))
    assert figures["mismatches_against_truth"] > 0
    assert not figures["holds"]


def rows() -> pl.DataFrame:
    trades, moods, sessions = parity.facts(Tape(), [])
    return truth.minutes(trades, moods, sessions)


def test_equal_rows_have_no_mismatch_and_a_shifted_bar_has() -> None:
    wanted = rows()
    assert parity.mismatches(wanted, wanted) == 0
    shifted = wanted.with_columns(pl.col("minute_ts_us") + MINUTE_US)
    assert parity.mismatches(shifted, wanted) > 0
    assert parity.mismatches(wanted.head(-1), wanted) == 1
    assert parity.mismatches(wanted.with_columns(pl.col("volume") + 1), wanted) == wanted.height


@dataclass(frozen=True)
class Marked:
    """The small tape, one trade of which is excluded."""

    seq: int
    name: str = "marked"
    live: bool = False

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        for event in Tape().events():
            hit = isinstance(event, Trade) and event.seq == self.seq
            yield replace(event, excluded="off_market") if hit and isinstance(event, Trade) else event


def test_an_excluded_trade_is_no_part_of_the_truth() -> None:
    trades, _, sessions = parity.facts(Marked(100), [])
    whole, _, whole_sessions = parity.facts(Tape(), [])
    assert trades.equals(whole.filter(pl.col("seq") != 100))
    assert trades.height == whole.height - 1
    assert sessions.equals(whole_sessions)


def test_a_disturbance_repeats_and_delays_but_loses_nothing() -> None:
    plain = [event for event in Tape().events() if isinstance(event, Trade)]
    disturbed = Disturbed(Tape(), Disturbance(shuffle_s=30, duplicates=0.2, late=0.1))
    events = [event for event in disturbed.events() if isinstance(event, Trade)]
    assert set(events) == set(plain)
    assert len(plain) < len(events) < 1.4 * len(plain)
    assert events != sorted(events, key=lambda trade: trade.event_ts_us)
    assert events == [event for event in disturbed.events() if isinstance(event, Trade)]


def minute(number: int, close: float, revision: int, *, final: bool = True) -> Features:
    return Features(
        minute_ts_us=T0 + number * MINUTE_US,
        symbol="AAPL",
        open=close,
        high=close,
        low=close,
        close=close,
        volume=1.0,
        n_ticks=1,
        ma7=close,
        ma21=close,
        bars7=1,
        bars21=1,
        last_event_ts_us=T0,
        revision=revision,
        final=final,
        flat=False,
    )


def test_a_final_row_that_came_again_with_other_values_has_changed_and_one_with_another_revision_has_not() -> None:
    assert archived.finals_changed([minute(0, 5.0, 3), minute(0, 5.0, 4), minute(1, 6.0, 1)]) == 0
    assert archived.finals_changed([minute(0, 4.0, 2, final=False), minute(0, 5.0, 3)]) == 0
    assert archived.finals_changed([minute(0, 5.0, 3), minute(1, 6.0, 1), minute(0, 5.5, 4), minute(0, 5.5, 5)]) == 1


def test_a_changed_final_row_is_a_fault_only_where_trades_came_in_order_and_the_lake_only_where_it_was_asked_for() -> None:
    good = dict.fromkeys((*parity.FAULTS, *parity.LAKE_FAULTS, "finals_changed"), 0)
    plain, shuffled = parity.Trial(Disturbance(duplicates=0.05), lake=True), parity.Trial(Disturbance(shuffle_s=1))
    assert plain.holds(good)
    assert not any(plain.holds(good | {name: 1}) for name in good)
    assert shuffled.holds(good | {"finals_changed": 1, "lake_ticks_missing": 1})
    assert not any(shuffled.holds(good | {name: 1}) for name in parity.FAULTS)


def test_as_many_kills_as_are_asked_for_happen_to_each() -> None:
    processes = [Process(role, load({})) for role in ("stream", "archive")]
    planned = parity.Trial(Disturbance(), kills=20).actions(400, processes)
    assert [sum(action == process.kill for action in planned.values()) for process in processes] == [20, 20]


@pytest.fixture
def lake_of_two(own: Settings) -> Settings:
    """Return settings whose topics hold two ticks and two revisions of a row, and whose lake holds the same."""
    config = msgspec.structs.replace(own, topic_prefix="lake-of-two.")
    bus.ensure_topics(config)
    tick = Tick(event_ts_us=T0, clock_ts_us=T0, symbol="AAPL", price=5.0, size=1.0, source="test", seq=1)
    with bus.producing(config) as client:
        ticks = [tick, msgspec.structs.replace(tick, closes=True, size=0.0)]
        bus.send_all(client, config, [bus.outgoing("ticks", "AAPL", one) for one in ticks])
        bus.send_all(client, config, [bus.outgoing("features", "AAPL", minute(0, 5.0, one)) for one in (2, 1)])
    for topic, rows in (("ticks", ticks), ("features", [minute(0, 5.0, 2)])):
        lake.write(config, topic, pl.DataFrame([msgspec.structs.asdict(row) for row in rows]), "part", lake.archive_root(config))
    return config


def test_a_tick_that_the_lake_lacks_or_holds_twice_and_an_older_row_are_noticed(lake_of_two: Settings) -> None:
    faultless = {
        "lake_ticks": 2,
        "lake_ticks_missing": 0,
        "lake_ticks_doubled": 0,
        "lake_features": 1,
        "lake_features_mismatches": 0,
    }
    assert archived.figures(lake_of_two) == faultless
    [ticks] = (lake.archive_root(lake_of_two) / "ticks").rglob("*.parquet")
    [rows] = (lake.archive_root(lake_of_two) / "features").rglob("*.parquet")
    table = pl.read_parquet(ticks, hive_partitioning=False)
    table.head(1).write_parquet(ticks.with_name("again.parquet"))
    assert archived.figures(lake_of_two) == faultless | {"lake_ticks": 3, "lake_ticks_doubled": 1}
    table.tail(1).write_parquet(ticks)
    assert archived.figures(lake_of_two) == faultless
    ticks.unlink()
    assert archived.figures(lake_of_two) == faultless | {"lake_ticks": 1, "lake_ticks_missing": 1}
    older = pl.DataFrame([msgspec.structs.asdict(minute(0, 5.0, 1))], schema=lake.schema("features"))
    older.write_parquet(rows)
    assert archived.figures(lake_of_two)["lake_features_mismatches"] == 1
