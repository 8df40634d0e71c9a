from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from models.forecaster.base import HORIZONS_MIN
from models.forecaster.windows import RAW, WINDOW, Windows, raw_row
from models.training import dataset
from streams import settings
from streams.clock import MINUTE_US
from streams.errors import UserError
from streams.messages import Features
from streams.settings import Settings
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import fill


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path)


def test_an_empty_lake_is_one_sentence(own: Settings) -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        dataset.load(own, seed=1)


@pytest.mark.parametrize("count", [10, 64, 150])
def test_a_lake_too_short_for_both_parts_is_one_sentence(own: Settings, count: int) -> None:
    fill(own, rows(count))
    with pytest.raises(UserError, match="too few to train on"):
        dataset.load(own, seed=1)


def test_windows_and_targets_are_those_of_the_serving_side(own: Settings) -> None:
    market = rows(400)
    fill(own, market)
    data = dataset.load(own, seed=1)
    first = data.train
    assert np.array_equal(first.windows.rows[0], np.array([raw_row(row) for row in market[:WINDOW]]))
    served = Windows.stack([[raw_row(row) for row in market[5 : 5 + WINDOW]]])
    assert first.windows.take([5]).hashes() == served.hashes()
    for at, horizon_min in enumerate(HORIZONS_MIN):
        expected = np.log(market[49 + horizon_min].close / market[49].close)
        assert first.targets[0, at] == pytest.approx(expected, rel=1e-12)
    assert data.data_cutoff_ts_us == market[-1].minute_ts_us + MINUTE_US


def test_no_minute_is_in_both_parts(own: Settings) -> None:
    market = rows(1_000)
    by_close = {row.close: at for at, row in enumerate(market)}
    fill(own, market)
    data = dataset.load(own, seed=1)
    newest_trained = max(by_close[close] for close in data.train.windows.raw("close")[:, -1]) + max(HORIZONS_MIN)
    oldest_validated = min(by_close[close] for close in data.validation.windows.raw("close")[:, 0])
    assert newest_trained < oldest_validated
    assert len(data.validation.windows) > 0.05 * len(data.train.windows)


def test_windows_span_neither_gaps_nor_symbols(own: Settings) -> None:
    day = 24 * 60 * MINUTE_US
    later = [msgspec.structs.replace(row, minute_ts_us=row.minute_ts_us + day) for row in rows(300, seed=5)]
    holed = [row for at, row in enumerate(rows(300, "MSFT", seed=6)) if at != 150]
    fill(own, rows(300), later, holed)
    frame = dataset.final_rows(own)
    ends = dataset.window_ends(frame)
    times = frame["minute_ts_us"].to_numpy()
    symbols = frame["symbol"].to_numpy()
    assert len(ends) == 2 * (300 - 64) + (150 - 64) + (149 - 64)
    for end in ends:
        assert times[end + 15] - times[end - 49] == 64 * MINUTE_US
        assert symbols[end + 15] == symbols[end - 49]


def test_of_a_minute_the_highest_revision_that_is_final_counts(own: Settings) -> None:
    market = rows(200)
    revised = msgspec.structs.replace(market[100], revision=11, close=55.0)
    draft = msgspec.structs.replace(market[100], revision=12, close=77.0, final=False)
    fill(own, market)
    fill(own, [revised, draft], name="late")
    frame = dataset.final_rows(own)
    assert len(frame) == 200
    assert frame.filter(pl.col("minute_ts_us") == market[100].minute_ts_us)["close"].to_list() == [55.0]


def test_more_windows_than_fit_are_thinned_the_same_way_each_time(own: Settings) -> None:
    fill(own, rows(600))
    first, second = dataset.load(own, seed=1, limit=100), dataset.load(own, seed=1, limit=100)
    assert len(first.train.windows) == 100
    assert np.array_equal(first.train.windows.rows, second.train.windows.rows)


def test_the_future_changes_no_window(own: Settings, tmp_path: Path) -> None:
    def last(row: Features) -> Features:
        return msgspec.structs.replace(row, close=row.close * 2, high=row.high * 2, volume=9e8, sent_mean=1.0, sent_n=50)

    other = msgspec.structs.replace(own, home=tmp_path / "other")
    market = rows(400)
    fill(own, market)
    fill(other, market[:200] + [last(row) for row in market[200:]])
    expected, found = dataset.load(own, seed=1).train, dataset.load(other, seed=1).train
    before = 200 - WINDOW + 1
    assert expected.windows.take(slice(before)).hashes() == found.windows.take(slice(before)).hashes()
    assert np.array_equal(expected.targets[: before - 15], found.targets[: before - 15])


def test_scaled_targets_are_bounded_although_a_halt_has_next_to_no_volatility(own: Settings) -> None:
    halted = rows(600, scale=0.0)
    jumped = [msgspec.structs.replace(row, close=500.0, high=500.0) for row in halted[120:]]
    fill(own, halted[:120] + jumped)
    assert np.abs(dataset.load(own, seed=1).train.examples.scaled[:, :, 0]).max() == dataset.LARGEST_TARGET


def test_the_raw_matrix_has_the_columns_of_raw_in_order(own: Settings) -> None:
    market = rows(80)
    fill(own, market)
    matrix = dataset.raw_matrix(dataset.final_rows(own))
    assert matrix.shape == (80, len(RAW))
    assert matrix[7].tolist() == list(raw_row(market[7]))


def test_a_turbulent_window_weighs_more_than_a_calm_one_of_its_symbol_whatever_the_others_do(own: Settings) -> None:
    calm, wild = rows(600), rows(600, "MSFT", seed=2, scale=5e-3)
    turbulent = [msgspec.structs.replace(row, minute_ts_us=row.minute_ts_us - 200 * MINUTE_US) for row in rows(200, scale=2e-3)]
    fill(own, turbulent + calm, wild)
    part = dataset.load(own, seed=1).train
    weights = part.examples.weights()
    assert np.median(weights[part.symbols == "MSFT"]) == pytest.approx(1.0)
    assert weights[part.symbols == "AAPL"].max() > 2.5
