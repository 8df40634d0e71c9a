"""Irregular prints are marked, each with its reason; good ones, jumps and overnight gaps pass; nothing looks ahead."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from producers import prints, table
from producers.base import Event, Pulse, SessionEnd, Story, Trade
from producers.prints import EXCLUDING, MASK_WORDS, OFF_MARKET, Band, Regular
from producers.replay import SESSION_GAP_US
from producers.table import Wanted

T0 = 1_381_152_600_000_000  # 2013-10-07 13:30 UTC


@dataclass(frozen=True)
class Tape:
    """The given events."""

    listed: Sequence[Event]
    name: str = "tape"
    live: bool = False

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        return iter(self.listed)


def trades(prices: Sequence[float], symbol: str = "IBM") -> list[Event]:
    return [Trade(T0 + seq, symbol, price, 100.0, seq) for seq, price in enumerate(prices)]


def reasons(events: Sequence[Event]) -> list[str]:
    return [event.excluded for event in Regular(Tape(events)).events() if isinstance(event, Trade)]


def steady(n: int) -> list[float]:
    return [100 + 0.01 * (k % 3) for k in range(n)]


@pytest.mark.parametrize(
    ("mask", "words", "reason"),
    [
        (0x1, "regular", ""),
        (0x20000020, "intermarket_sweep trade_through_exempt", ""),
        (0x2000, "extended_hours", ""),
        (0x400, "form_t", ""),
        (0x80, "closing", ""),
        (0x800, "sold_last", ""),
        (0x20100200, "derivatively_priced average_price trade_through_exempt", "average_price"),
        (0x4800, "sold_last out_of_sequence", "out_of_sequence"),
        (0x20002004, "next_day extended_hours trade_through_exempt", "next_day"),
        (0x20040200, "derivatively_priced contingent trade_through_exempt", "derivatively_priced"),
        (0x2000000, "prior_reference_price", "prior_reference_price"),
        (0x1000000, "official_close", "official_close"),
        (0x80000001, "regular odd_lot", "odd_lot"),
        (0, "", ""),
    ],
)
def test_a_mask_of_conditions_and_what_bars_leave_out(mask: int, words: str, reason: str) -> None:
    assert prints.mask_words(mask) == words
    assert prints.reason_of(words) == reason


def test_every_bit_has_a_word_of_its_own_and_every_reason_fits_the_contract() -> None:
    assert len(set(MASK_WORDS)) == 32
    assert len(set(EXCLUDING)) == len(EXCLUDING)
    assert set(EXCLUDING) - {*MASK_WORDS} == {"qualified_contingent"}


def test_a_wrong_print_is_left_out_and_the_next_good_one_is_not() -> None:
    assert reasons(trades([*steady(60), 99.0, 100.02, 150.0, 1.0, 100.0])) == [
        *[""] * 60,
        OFF_MARKET,
        "",
        OFF_MARKET,
        OFF_MARKET,
        "",
    ]


def test_a_print_with_an_excluding_condition_does_not_move_the_band() -> None:
    odd = [Trade(T0 + 100 + k, "IBM", 110.0, 1.0, 100 + k, "average_price") for k in range(80)]
    found = reasons([*trades(steady(60)), *odd, Trade(T0 + 300, "IBM", 110.0, 1.0, 300), Trade(T0 + 301, "IBM", 100.0, 1.0, 301)])
    assert found[60:] == [*["average_price"] * 80, OFF_MARKET, ""]


def test_a_jump_passes_once_enough_prints_agree_on_it() -> None:
    band = Band()
    jumped = [*steady(60), *[103.0, 103.05, 103.1] * 5, 100.0, 103.0]
    assert reasons(trades(jumped)) == [*[""] * 60, *[OFF_MARKET] * (band.agreeing - 1), *[""] * 11, OFF_MARKET, ""]


def test_prints_that_disagree_or_are_interrupted_are_no_new_level() -> None:
    scattered = [95.0, 105.0, 96.0, 104.0, 97.0, 103.0]
    assert set(reasons(trades([*steady(60), *scattered]))[60:]) == {OFF_MARKET}
    interrupted = [103.0, 103.0, 103.0, 100.0] * 4
    assert reasons(trades([*steady(60), *interrupted]))[60:] == [*[OFF_MARKET] * 3, ""] * 4


def test_a_wild_market_widens_its_band() -> None:
    wild = [100 + 2 * math.sin(k) for k in range(60)]
    assert set(reasons(trades([*wild, 103.0]))) == {""}


def test_a_session_may_begin_elsewhere_but_not_at_ten_times_the_price() -> None:
    end = SessionEnd(T0 + 1_000)
    assert reasons([*trades(steady(60)), end, *trades([104.0, 104.01])])[60:] == ["", ""]
    assert reasons([*trades(steady(60)), end, *trades([1_000.0, 100.5])])[60:] == [OFF_MARKET, ""]


def test_symbols_are_judged_apart_and_other_events_pass() -> None:
    others: list[Event] = [Pulse(T0), Story(T0, "s", ("IBM",), "x"), SessionEnd(T0 + 9)]
    cheap = trades(steady(60), "AIG")
    events = [*trades([price / 4 for price in steady(60)]), *cheap, *others]
    assert list(Regular(Tape(events)).events()) == events


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf, 0.0, -5.0])
def test_a_price_that_the_engine_refuses_is_its_to_refuse(price: float) -> None:
    assert reasons([*trades(steady(60)), *trades([price]), *trades([100.0])])[60:] == ["", ""]


def test_a_marked_tape_has_a_name_of_its_own_and_a_live_source_keeps_its_name() -> None:
    assert Regular(Tape([])).name == "tape:regular"
    assert Regular(Tape([], live=True)).name == "tape"
    assert prints.of(Tape([]), "all").name == "tape"
    assert isinstance(prints.of(Tape([]), "regular"), Regular)


@hypothesis_settings(deadline=None)
@given(st.lists(st.integers(9_000, 11_000), min_size=1, max_size=200), st.integers(1, 199))
def test_no_verdict_depends_on_what_comes_later(cents: list[int], cut: int) -> None:
    events = trades([cent / 100 for cent in cents])
    assert reasons(events[:cut]) == reasons(events)[:cut]


@hypothesis_settings(deadline=None)
@given(st.lists(st.integers(9_970, 10_030), min_size=1, max_size=300))
def test_a_market_within_the_fraction_loses_nothing(cents: list[int]) -> None:
    assert set(reasons(trades([cent / 100 for cent in cents]))) == {""}


def real_trades(folder: Path) -> list[Event]:
    """Return the trades of the raw files and the ends of their sessions, in order."""
    loaded = [table.load(path, Wanted(timezone="America/New_York")) for path in sorted(folder.glob("*.csv.gz"))]
    rows = pl.concat(one.rows for one in loaded).sort("ts_us", maintain_order=True)
    events: list[Event] = []
    clock = 0
    columns = rows.select("ts_us", "symbol", "price", "size", "conditions")
    for seq, (ts_us, symbol, price, size, conditions) in enumerate(columns.iter_rows()):
        if clock and ts_us - clock > SESSION_GAP_US:
            events.append(SessionEnd(clock))
        clock = ts_us
        events.append(Trade(ts_us, symbol, price, size, seq, conditions))
    return events


def test_the_raw_files_lose_812_of_332732_prints_seven_of_them_to_the_band(shared_data: Path) -> None:
    found = Counter(reasons(real_trades(shared_data / "ticks-2013-10")))
    assert found == {
        "": 331_920,
        "average_price": 546,
        "seller": 79,
        "next_day": 65,
        "derivatively_priced": 55,
        "official_open": 17,
        "out_of_sequence": 13,
        "official_close": 13,
        "cash": 9,
        "prior_reference_price": 8,
        OFF_MARKET: 7,
    }


def test_every_print_planted_two_percent_off_is_found_and_no_other_suffers(shared_data: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret
    plain = [event for event in real_trades(shared_data / "ticks-2013-10") if isinstance(event, Trade)][:100_000]
    moved = {trade.seq for trade in plain if chance.random() < 1 / 500}
    planted = [_moved(trade, chance) if trade.seq in moved else trade for trade in plain]
    before, after = ({seq for seq, reason in enumerate(reasons(some)) if reason} for some in (plain, planted))
    assert len(moved) > 180
    assert after == before | moved


def _moved(trade: Trade, chance: random.Random) -> Trade:
    return replace(trade, price=trade.price * chance.choice([0.98, 1.02]))
