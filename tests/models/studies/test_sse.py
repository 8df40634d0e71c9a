"""The SSE study: how windows are made, each departure of the audit, and networks that are those of Keras."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.studies import daily_files, rows
from models.studies.protocol import WINDOW, Protocol, filled, sample
from models.studies.sse import FROM, TO
from streams.errors import SourceError

N = 300


def days(count: int = N) -> pl.DataFrame:

    dates = pl.date_range(date(2020, 1, 1), date(2023, 1, 1), eager=True).to_frame("date")
    dates = dates.filter(pl.col("date").dt.weekday() <= 5).head(count)
    close = 1000.0 + np.arange(count)
    return dates.with_columns(
        open=close - 0.25, high=pl.lit(close) + 0.5, low=pl.lit(close) - 0.5, close=close, symbol=pl.lit("SSE"), volume=1.0
    )


def test_a_window_is_the_seven_closes_before_the_day_that_is_asked_for() -> None:
    made = sample(days(), Protocol("written"))
    assert made.closes[0] == 1000.0 + WINDOW
    assert made.prices(made.features[0, :, 0]).tolist() == pytest.approx(range(1000, 1007), abs=1e-3)
    assert made.naive.tolist() == (made.closes - 1).tolist()
    assert made.prices(made.targets).tolist() == pytest.approx(made.closes.tolist(), abs=1e-3)


def test_parts_are_in_the_order_of_time_and_hold_every_window_once() -> None:
    made = sample(days(), Protocol("written"))
    sizes = [len(made.parts[name]) for name in ("train", "validation", "test")]
    assert sizes == [210 - WINDOW, 45, 45]
    assert np.concatenate(list(made.parts.values())).tolist() == list(range(N - WINDOW))


def test_scaling_as_written_knows_the_training_part_alone() -> None:
    border = 210
    changed = days().with_columns(close=pl.when(pl.int_range(N) >= border).then(9e9).otherwise("close"))
    before, after = (sample(one, Protocol("written")) for one in (days(), changed))
    known = before.parts["train"]
    assert (before.low, before.high) == (after.low, after.high) == (1000.0, 1209.0)
    assert (before.features[known] == after.features[known]).all()


def test_each_departure_departs_in_what_it_says() -> None:
    whole = sample(days(), Protocol("whole", scaled_on="whole"))
    assert (whole.low, whole.high) == (1000.0, 1299.0)
    shuffled = sample(days(), Protocol("shuffled", shuffled=True))
    assert shuffled.parts["test"].min() < shuffled.parts["train"].max()
    assert sorted(np.concatenate(list(shuffled.parts.values())).tolist()) == list(range(N - WINDOW))
    same = sample(days(), Protocol("same", same_day=True))
    assert same.features.shape == (N - WINDOW, WINDOW, 3)
    low, span = 999.75, 209.0  # opens of the training part
    assert same.features[0, -1, 0] * span + low == pytest.approx(same.closes[0] - 0.25, abs=1e-3)


def test_filling_forward_repeats_the_last_close_on_the_days_that_it_names() -> None:
    friday, monday = date(2020, 1, 3), date(2020, 1, 6)
    gap = days().filter(pl.col("date") != date(2020, 1, 7))
    calendar = filled(gap, "calendar")
    closes = dict(calendar.select("date", "close").rows())
    assert closes[date(2020, 1, 5)] == closes[friday] != closes[monday]
    assert closes[date(2020, 1, 7)] == closes[monday]
    weekdays = filled(gap, "weekdays")
    assert (len(gap), len(weekdays)) == (N - 1, N)
    assert len(calendar) == (days()["date"][-1] - days()["date"][0]).days + 1


def test_a_missing_close_is_filled_forward_not_dropped() -> None:
    holed = days().with_columns(close=pl.when(pl.int_range(N) == 50).then(None).otherwise("close"))
    made = sample(holed, Protocol("written"))
    assert made.closes[50 - WINDOW] == 1049.0
    assert len(made.closes) == N - WINDOW


def test_too_few_days_are_refused() -> None:
    with pytest.raises(SourceError, match="too few"):
        sample(days(10), Protocol("written"))


def test_persistence_on_the_real_index_is_what_it_was_measured_to_be(shared_data: Path) -> None:
    index = daily_files.sse(shared_data).filter(pl.col("date").is_between(FROM, TO))
    made = sample(index, Protocol("written"))
    at = made.parts["test"]
    row = rows.naive("persistence", made.naive[at], made.closes[at])
    assert [round(row.values[name][0], 2) for name in ("MAE", "RMSE")] == [21.67, 32.08]


KERAS = """
import numpy as np
from models.studies import pool, stacked
pool.one_thread()
from models.forecaster.recurrent import keras, tf
for cell, layer in (("LSTM", keras.layers.LSTM), ("RNN", keras.layers.SimpleRNN)):
    plan = stacked.Plan(cell, (3, 4), 1, units=5)
    stack = stacked.Stack(plan, 2)
    x = np.random.default_rng(1).normal(size=(2, 6, 7, 2)).astype("float32")
    ours = stack(tf.constant(x)).numpy()
    for seed in range(2):
        model = keras.Sequential([keras.Input((7, 2)), layer(5, return_sequences=True), layer(5), keras.layers.Dense(1)])
        model.set_weights([value.numpy()[seed] for value in stack.variables])
        assert np.abs(model(x[seed]).numpy()[:, 0] - ours[seed]).max() < 1e-6
    assert np.abs(ours[0] - ours[1]).max() > 1e-3
    rng = np.random.default_rng(2)
    data = rng.random((70, 7, 1)).astype("float32"), rng.random(70).astype("float32")
    both = stacked.train(stacked.Plan(cell, (3, 4), 3, units=5), data, {"test": data}, lambda _: None)
    alone = stacked.train(stacked.Plan(cell, (4,), 3, units=5), data, {"test": data}, lambda _: None)
    assert np.abs(both.last[1] - alone.last[0]).max() < 1e-6, "a seed sees another"
    assert (both.losses["test"][:, -1] < both.losses["test"][:, 0]).all()
    least = both.losses["test"].min(axis=1)
    assert np.allclose(((both.best["test"] - data[1]) ** 2).mean(axis=1), least, atol=1e-6)
"""


@pytest.mark.slow
def test_stacked_networks_are_those_of_keras_and_no_seed_sees_another() -> None:
    done = subprocess.run([sys.executable, "-c", KERAS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
