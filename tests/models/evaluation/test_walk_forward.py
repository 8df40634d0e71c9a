"""Walk-forward on small markets: nothing of the future reaches a forecast, and the table says what a hand would."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from models.evaluation import plots, report, summary, walk_forward
from models.evaluation.significance import diebold_mariano
from models.evaluation.walk_forward import Trial, folds
from models.forecaster.base import Effort, Predictions
from models.forecaster.catalog import CATALOG, NAIVE, chosen
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Windows
from models.training import dataset
from models.training.dataset import Dataset
from streams import settings
from streams.clock import MINUTE_US
from streams.errors import ModelError, UserError
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import fill

MODELS = ["har-rv", "linear"]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"))
    fill(own, rows(900), rows(900, "MSFT", seed=2))
    return dataset.final_rows(own)


def run(market: pl.DataFrame, names: list[str], count: int = 2) -> Trial:
    return walk_forward.run(market, chosen(names), seed=1, effort=Effort(epochs=1), count=count)


@pytest.fixture(scope="module")
def trial(market: pl.DataFrame) -> Trial:
    return run(market, MODELS)


def test_every_fit_knows_only_what_was_before_its_border(market: pl.DataFrame) -> None:
    seen: list[int] = []
    for fold in folds(market, 3):
        data = dataset.make(fold.known, seed=1)
        ended = market["minute_ts_us"].to_numpy()[fold.ends]
        assert data.data_cutoff_ts_us <= fold.border_ts_us <= ended.min()
        seen += fold.ends.tolist()
    assert len(seen) == len(set(seen)) == pytest.approx(len(dataset.window_ends(market)) / 2, rel=0.02)


def test_what_comes_later_changes_no_forecast(market: pl.DataFrame, trial: Trial) -> None:
    at_us = int(np.quantile(trial.minutes, 0.7))
    later = pl.col("minute_ts_us") > at_us
    prices = [pl.when(later).then(pl.col(name) * 3).otherwise(pl.col(name)) for name in ("open", "high", "low", "close", "ma7")]
    disturbed = run(market.with_columns(prices, volume=pl.when(later).then(7.0).otherwise("volume")), MODELS)
    assert np.array_equal(disturbed.minutes, trial.minutes)
    known = trial.minutes <= at_us
    last_border = trial.minutes < trial.borders[-1] - MINUTE_US
    for name in trial.answers:
        of_first, again = trial.answers[name].quantiles, disturbed.answers[name].quantiles
        assert np.array_equal(of_first[known & last_border], again[known & last_border])
        assert not np.array_equal(of_first[~known], again[~known])


def test_the_table_is_what_a_hand_computes(trial: Trial) -> None:
    found = summary.summary(trial, NAIVE)["models"]["linear"]["5"]
    error = trial.answers["linear"].mean[:, 1] - trial.targets[:, 1]
    assert found["mae"] == pytest.approx(np.abs(error).mean())
    assert found["skill"] == pytest.approx(1 - (error**2).mean() / (trial.targets[:, 1] ** 2).mean())
    pair = error.reshape(-1), trial.targets[:, 1]
    gained = pl.DataFrame({"minute": trial.minutes, "ours": pair[0] ** 2, "naive": pair[1] ** 2}).group_by("minute").mean()
    ordered = gained.sort("minute")
    expected = diebold_mariano(ordered["ours"].to_numpy(), ordered["naive"].to_numpy(), 5)
    assert found["dm"]["p_value"] == pytest.approx(expected.p_value)
    inside = (trial.answers["linear"].quantiles[:, 1, 1] <= trial.targets[:, 1]) & (
        trial.targets[:, 1] <= trial.answers["linear"].quantiles[:, 1, 5]
    )
    assert found["coverage"]["80"]["share"] == inside.mean()


def test_the_random_walk_is_the_baseline_without_skill(trial: Trial) -> None:
    for row in summary.summary(trial, NAIVE)["models"][NAIVE].values():
        assert (row["skill"], row["skill_pinball"], row["verdict"], row["direction"]) == (0.0, 0.0, "baseline", None)
        assert row["dm"]["p_value"] == row["pt"]["p_value"] == 1.0


class Seer(RandomWalk):
    """Knows the sign of what comes: the last column of the windows' rows says it (the test writes it there)."""

    name = "seer"

    @classmethod
    def fit(cls, data: Dataset, seed: int, effort: Effort) -> Seer:
        return cls()

    def forecast(self, windows: Windows) -> Predictions:
        naive = super().forecast(windows)
        hint = self.sign * windows.raw("sent_mean")[:, -1:] * 0.3 * windows.sigma[:, None]
        return Predictions(naive.mean + hint, naive.quantiles + hint[:, :, None], naive.prob_up)

    sign = 1.0


class Fool(Seer):
    name = "fool"
    sign = -3.0


def test_one_who_knows_has_an_edge_and_one_who_knows_it_the_wrong_way_is_worse(market: pl.DataFrame) -> None:
    close = pl.col("close").log()
    coming = (close.shift(-1) - close).over("symbol").sign().fill_null(0.0)
    trial = walk_forward.run(market.with_columns(sent_mean=coming), [RandomWalk, Seer, Fool], seed=1, effort=Effort(), count=2)
    figures = summary.summary(trial, NAIVE)
    assert figures["models"]["seer"]["1"]["verdict"] == "edge"
    assert figures["models"]["seer"]["1"]["direction"] == 1.0
    assert figures["models"]["seer"]["1"]["pt"]["p_value"] < 1e-6
    assert figures["models"]["fool"]["1"]["verdict"] == figures["models"]["fool"]["1"]["interval_verdict"] == "worse than naive"
    assert "seer: expected price: edge at 1" in "\n".join(report.verdicts(figures))


class Failing(RandomWalk):
    name = "failing"

    @classmethod
    def fit(cls, data: Dataset, seed: int, effort: Effort) -> RandomWalk:
        raise ModelError("nothing could be learnt")


def test_a_model_that_cannot_be_fitted_is_named_and_the_others_go_on(market: pl.DataFrame) -> None:
    trial = walk_forward.run(market, [RandomWalk, Failing], seed=1, effort=Effort(), count=2)
    figures = summary.summary(trial, NAIVE)
    assert list(figures["models"]) == [NAIVE]
    assert list(report.verdicts(figures)) == ["failing: no forecasts (nothing could be learnt)"]


def test_too_little_data_is_one_sentence(market: pl.DataFrame) -> None:
    with pytest.raises(UserError, match="too few for 2 folds"):
        run(market.head(70), [])


def test_the_page_needs_nothing_else_and_the_figures_are_json(trial: Trial, tmp_path: Path) -> None:
    figures = summary.summary(trial, NAIVE)
    assert json.loads(json.dumps(figures, allow_nan=False))["windows"] == len(trial.minutes)
    text = report.page(figures, plots.pictures(trial, figures), "a <title>")
    assert "a &lt;title&gt;" in text
    assert text.count("src='data:image/png;base64,") == 6
    assert "http" not in text
    assert all(name in text for name in CATALOG if name in figures["models"])
    assert text.count("<tr>") == 1 + 3 * len(figures["models"])
