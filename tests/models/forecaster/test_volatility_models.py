"""GARCH, HAR-RV and the linear model against `arch`, statsmodels and scikit-learn; and the documented example, run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from arch import arch_model
from arch.univariate import GARCH, Normal, ZeroMean
from pytest_examples import CodeExample, EvalExample, find_examples
from sklearn.linear_model import Ridge
from statsmodels.api import OLS

from models.forecaster.base import HORIZONS_MIN, LEVELS, Effort
from models.forecaster.garch import Garch, GarchParameters
from models.forecaster.har_rv import HarRv
from models.forecaster.linear import Linear
from models.forecaster.parametric import symmetric_spread
from models.forecaster.windows import FEATURES, RAW, Array, Windows
from models.training import dataset
from models.training.dataset import Dataset, Part
from streams import settings
from tests.models.forecaster.samples import rows, windows
from tests.models.training.lakes import fill


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"))
    fill(own, rows(900), rows(900, "MSFT", seed=2))
    return dataset.load(own, seed=1)


def market(returns: Array) -> Part:
    """Return windows of 50 minutes and their targets, of log returns [N, 64]."""
    close = 100 * np.exp(np.pad(np.cumsum(returns, axis=1), ((0, 0), (1, 0))))
    columns = {name: close[:, :50] for name in ("open", "high", "low", "close", "ma7", "ma21")}
    fields = [columns.get(name, np.zeros((len(close), 50))) for name in RAW]
    targets = np.log(close[:, [49 + horizon for horizon in HORIZONS_MIN]] / close[:, 49:50])
    return Part(Windows(np.stack(fields, axis=2)), targets, np.array(["A"] * len(close), dtype=object))


def clustered(alpha: float, beta: float, count: int, seed: int = 4) -> Part:
    process = ZeroMean(volatility=GARCH(1, 0, 1), distribution=Normal(seed=np.random.default_rng(seed)))
    made = process.simulate([1 - alpha - beta, alpha, beta], 64 * count)["data"].to_numpy() * 5e-4
    return market(made.reshape(count, 64))


def test_garch_forecasts_as_arch_does() -> None:
    model = Garch(GarchParameters(data_cutoff_ts_us=0, spread=[[0.0] * 7] * 3, omega=0.1, alpha=0.15, beta=0.7))
    part = clustered(0.15, 0.7, 3)
    returns = part.windows.returns[1]
    unit = np.sqrt((returns**2).mean())
    theirs = arch_model(returns / unit, mean="Zero", rescale=False)
    fixed = theirs.fix([0.1, 0.15, 0.7])
    recursion = np.asarray(fixed.conditional_volatility) ** 2
    first = 0.1 + 0.15 * (returns[-1] / unit) ** 2 + 0.7 * recursion[-1]
    forecast = fixed.forecast(horizon=15, reindex=False).variance.to_numpy()[0]
    assert forecast[0] == pytest.approx(first)
    totals = [np.sqrt(forecast[:horizon].sum()) * unit for horizon in HORIZONS_MIN]
    np.testing.assert_allclose(model.volatility(part.windows)[1], totals, rtol=0.02)  # another start, forgotten by now


def test_garch_finds_whether_volatility_clusters() -> None:
    strong, none = (
        Garch.fit(Dataset(part, part, 9), 1, Effort()).parameters for part in (clustered(0.3, 0.5, 400), clustered(0.0, 0.0, 400))
    )
    assert strong.alpha == pytest.approx(0.3, abs=0.06)
    assert strong.alpha + strong.beta == pytest.approx(0.8, abs=0.12)
    assert none.alpha < 0.03


def test_har_is_the_regression_of_statsmodels(data: Dataset) -> None:
    squares = data.train.windows.returns**2
    regressors = np.stack([squares[:, 34 - k : 34].mean(axis=1) for k in (5, 15, 30)], axis=1)
    came = np.minimum(squares[:, 34:39].mean(axis=1) / regressors[:, 2], 20.0)
    expected = OLS(came, regressors / regressors[:, 2:]).fit().params
    model = HarRv.fit(data, 1, Effort())
    np.testing.assert_allclose(model.parameters.coefficients[1], expected, rtol=1e-6)


def test_har_believes_a_calm_that_has_just_begun_more_than_the_storm_before_it() -> None:
    part = clustered(0.3, 0.65, 2_000)
    model = HarRv.fit(Dataset(part, part, 9), 1, Effort())
    storm = np.random.default_rng(1).normal(0, 1e-3, (1, 64))
    calmed = storm.copy()
    calmed[:, 44:49] /= 5
    before, after = (model.volatility(market(returns).windows)[0] for returns in (storm, calmed))
    assert (after < before).all()
    assert after[0] / before[0] < after[2] / before[2]


def test_the_linear_model_is_scikit_learns_ridge(data: Dataset) -> None:
    model = Linear.fit(data, 1, Effort())
    scaler = data.train.examples.scaler()
    features = data.train.windows.features.astype(np.float64)
    for at, name in enumerate(FEATURES):
        mean, deviation = scaler[name]
        features[:, :, at] = (features[:, :, at] - mean) / deviation if deviation > 1e-6 else 0.0
    flat, weights = features.reshape(len(features), -1), data.train.examples.weights()
    ridge = Ridge(alpha=model.parameters.penalty * len(flat), fit_intercept=False, solver="cholesky")
    ridge.fit(flat, data.train.examples.scaled[:, :, 0], sample_weight=weights)
    said = model.forecast(data.train.windows).mean / (data.train.windows.scale[:, None] * np.sqrt(HORIZONS_MIN))
    np.testing.assert_allclose(said, ridge.predict(flat), atol=1e-6)


def test_the_linear_model_finds_what_is_linear() -> None:
    chance = np.random.default_rng(8)
    returns = chance.normal(0, 5e-4, (2_000, 64))
    for minute in range(1, 64):
        returns[:, minute] += 0.4 * returns[:, minute - 1]
    train, test = market(returns[:1_000]), market(returns[1_000:])
    model = Linear.fit(Dataset(train, train, 9), 1, Effort())
    said = model.forecast(test.windows).mean[:, 0]
    assert np.corrcoef(said, test.targets[:, 0])[0, 1] == pytest.approx(0.37, abs=0.08)  # 0.4 is the most there is


@pytest.mark.parametrize("kind", [Garch, HarRv])
def test_intervals_hold_what_they_promise_on_new_minutes(kind: Any) -> None:
    train, test = clustered(0.2, 0.7, 3_000), clustered(0.2, 0.7, 3_000, seed=5)
    quantiles = kind.fit(Dataset(train, train, 9), 1, Effort()).forecast(test.windows).quantiles
    inside = (quantiles[:, :, 1] <= test.targets) & (test.targets <= quantiles[:, :, 5])
    np.testing.assert_allclose(inside.mean(axis=0), 0.8, atol=0.025)


def test_the_symmetric_spread_is_that_of_the_sample_and_its_mirror_image() -> None:
    errors = np.random.default_rng(2).gamma(2.0, size=(5_000, 3)) - 1.5
    expected = np.quantile(np.concatenate([errors, -errors]), LEVELS, axis=0).T
    np.testing.assert_allclose(symmetric_spread(errors), expected, atol=5e-3)


@pytest.mark.parametrize("example", list(find_examples("docs/add-a-model.md")), ids=str)
def test_the_documented_example_is_a_forecaster(
    example: CodeExample, eval_example: EvalExample, data: Dataset, tmp_path: Path
) -> None:
    still = eval_example.run(example)["Still"]
    model = still.fit(data, 1, Effort())
    model.save(tmp_path)
    assert still.load(tmp_path).model_id == model.model_id
    assert (np.diff(model.forecast(windows(3)).quantiles, axis=2) > 0).all()
