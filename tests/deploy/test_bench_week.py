"""The bench of a trading week: what counts as growth, and which sessions it tells; `tests/streams/test_job.py` takes sizes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from deploy import bench_week
from deploy.bench_week import Sessions, Sizes
from producers.base import Trade
from producers.market import Market
from streams.clock import wall_ts_us

SIZES = Sizes(day=0, aggregation_rows=76, repeats_rows=900, state_mib=5.0, heap_mib=110.0, resident_mib=800.0, checkpoint_mib=3.0)


def days(*rows: int) -> list[Sizes]:
    """Return two checkpoints of each day, with so many remembered repeats at the second."""
    return [replace(SIZES, day=day, repeats_rows=count) for day, most in enumerate(rows) for count in (most // 2, most)]


def test_sizes_that_only_differ_a_little_from_day_to_day_hold() -> None:
    figures = bench_week.judged(days(500, 1_000, 1_200, 1_100))
    assert figures["holds"]
    assert figures["greatest"]["repeats_rows"] == [500, 1_000, 1_200, 1_100]
    assert figures["growth"]["repeats_rows"] == pytest.approx(1.1)
    assert figures["growth"]["heap_mib"] == 1


def test_one_size_that_grows_from_the_second_day_on_does_not_hold() -> None:
    assert not bench_week.judged(days(1_000, 1_000, 1_150, 1_300))["holds"]


def test_what_fills_up_on_the_first_day_is_no_growth() -> None:
    assert bench_week.judged(days(10, 1_000, 1_000))["holds"]


def test_two_days_show_nothing() -> None:
    assert not bench_week.judged(days(1_000, 1_000))["holds"]


def test_people_see_every_size_of_every_day() -> None:
    console = Console(record=True, width=120)
    console.print(bench_week.table({"days": 3} | bench_week.judged(days(500, 1_000, 1_200))))
    shown = console.export_text()
    assert "repeats rows" in shown
    assert "1,200" in shown
    assert "checkpoint MiB" in shown


def test_the_tape_tells_whole_sessions_and_says_which() -> None:
    tape = Sessions(Market(symbols=("AAPL",)), 3, wall_ts_us())
    trades: Counter[int] = Counter()
    dates = set()
    for event in tape.events():
        if isinstance(event, Trade):
            trades[tape.day] += 1
            dates.add((tape.day, datetime.fromtimestamp(event.event_ts_us / 1e6, UTC).date()))
    assert sorted(trades) == [0, 1, 2]
    assert len(dates) == 3
    expected = 390 * bench_week.TRADES_A_MINUTE
    assert all(abs(count - expected) < expected / 10 for count in trades.values())
