"""`tickcast verify parity`: it holds on a disturbed tape with a kill -9 on the way, and notices a planted fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from deploy.verify import parity, truth
from deploy.verify.disturbed import Disturbance, Disturbed
from producers.base import Event, SessionEnd, Source, Trade
from producers.market import Market
from producers.simulated import Simulated
from streams.clock import MINUTE_US
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
def test_a_disturbed_tape_and_a_killed_engine_change_nothing(own: Settings) -> None:
    figures = parity.run(own, Tape(), parity.Trial(Disturbance(shuffle_s=30, late=0.05), kills=1))
    assert figures["rows"] == 2 * MINUTES
    assert (figures["mismatches_against_truth"], figures["mismatches_against_batch"], figures["not_final"]) == (0, 0, 0)


@pytest.mark.slow
def test_a_trade_that_is_lost_on_the_way_is_noticed(own: Settings) -> None:
    figures = parity.run(own, Faulty(Tape(), Tape(without=100)), parity.Trial(Disturbance()))
    assert figures["mismatches_against_truth"] > 0


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
