"""The coverage figure: what it counts, that it fails where intervals do not hold, and that it is walk-forward."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from deploy.verify import coverage
from deploy.verify.coverage import Tally
from streams.clock import MINUTE_US
from streams.messages import Features
from tests.models.calibration.test_adaptive import forecast


def tally(width: float, n: int = 20_000) -> Tally:
    """Return the count of Gaussian outcomes of intervals that are `width` times as wide as they should be."""
    found = Tally()
    made = [forecast(sigma=1e-3 * factor) for factor in (width, 1.0)]
    both = replace(made[0], raw_quantiles=made[1].quantiles)
    for move in np.random.default_rng(1).normal(0, 1e-3, n):
        found.add(both, 100 * math.exp(move))
    return found


@pytest.mark.parametrize(("width", "promised"), [(1.0, True), (1.1, False), (0.9, False)])
def test_intervals_too_wide_or_too_narrow_do_not_hold(width: float, promised: bool) -> None:
    figures = tally(width).figures()
    assert coverage.holds(figures) is promised
    overall = next(row for row in figures if row["horizon_min"] == "all")
    assert (overall["matured"], overall["raw_80"]) == (20_000, pytest.approx(0.8, abs=0.01))


def test_too_few_forecasts_hold_nothing() -> None:
    assert not coverage.holds(tally(1.0, 19_999).figures())
    assert not coverage.holds([])


@pytest.fixture(scope="module")
def market() -> tuple[list[Features], int]:
    return coverage.simulated(seed=1, n_minutes=400)


def test_the_simulated_volatility_triples_half_way(market: tuple[list[Features], int]) -> None:
    rows, turn_us = market
    before, after = (
        np.array([abs(row.ret) for row in rows if row.ret is not None and (row.minute_ts_us >= turn_us) is late])
        for late in (False, True)
    )
    assert turn_us == coverage.START_US + 200 * MINUTE_US
    assert 1.5 < np.median(after) / np.median(before) < 6


def test_no_forecast_changes_with_what_comes_after_it(market: tuple[list[Features], int]) -> None:
    rows, turn_us = market
    other = [row if row.minute_ts_us < turn_us else replace(row, close=row.close * 1.5, high=row.high * 1.5) for row in rows]
    walks = [
        [one for one, _ in coverage.walk(some, None) if one.as_of_ts_us <= turn_us and one.target_ts_us <= turn_us]
        for some in (rows, other)
    ]
    assert walks[0] == walks[1] != []


def test_every_horizon_matures_once_a_row_until_the_end(market: tuple[list[Features], int]) -> None:
    rows, _ = market
    walked = [one for one, _ in coverage.walk(rows, None)]
    assert len({one.forecast_id for one in walked}) == len(walked) == 3 * sum(400 - horizon for horizon in (1, 5, 15))


def test_the_bars_of_a_file_are_the_rows_bars(tmp_path: Path) -> None:
    lines = ["time,open,high,low,close,volume"]
    lines += [
        f"2025-03-03 {9 + (30 + n) // 60:02d}:{(30 + n) % 60:02d}:00,{10 + n},{11 + n},{9 + n},{10.5 + n},7" for n in range(90)
    ]
    (tmp_path / "ABC_1m.csv").write_text("\n".join(lines))
    rows = coverage.of_folder(tmp_path)
    assert [(row.symbol, row.open, row.high, row.low, row.close, row.volume) for row in rows] == [
        ("ABC", 10 + n, 11 + n, 9 + n, 10.5 + n, 7) for n in range(90)
    ]
    assert [row.bars21 for row in rows] == [min(21, n + 1) for n in range(90)]


def test_the_table_shows_every_market() -> None:
    figures = {"markets": {"m": tally(1.0, 10).figures()}, "after_the_turn": tally(1.0, 5).figures(), "holds": False}
    assert coverage.as_table(figures).row_count == 4
