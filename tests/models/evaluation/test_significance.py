"""The tests of significance against statsmodels' regressions, arithmetic done by hand, and their own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.significance import Test, diebold_mariano, pesaran_timmermann, verdict

HORIZONS = [1, 5, 15]


def overlapping(seed: int, horizon: int, n: int = 400) -> NDArray[np.float64]:
    shocks = np.random.default_rng(seed).normal(size=n + horizon - 1)
    return np.convolve(shocks, np.ones(horizon), "valid")


@pytest.mark.parametrize("horizon", HORIZONS)
def test_diebold_mariano_is_the_corrected_t_of_a_regression_on_a_constant(horizon: int) -> None:
    losses, naive = overlapping(1, horizon) ** 2 * 0.9, overlapping(2, horizon) ** 2
    n = len(losses)
    fitted = sm.OLS(losses - naive, np.ones(n)).fit(
        cov_type="HAC", cov_kwds={"maxlags": horizon - 1, "kernel": "uniform", "use_correction": False}
    )
    expected = fitted.tvalues[0] * math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    found = diebold_mariano(losses, naive, horizon)
    assert found.statistic == pytest.approx(expected, rel=1e-9)
    assert found.p_value == pytest.approx(2 * stats.t(n - 1).sf(abs(expected)), rel=1e-9)
    assert found.n == n


def test_at_horizon_one_diebold_mariano_is_the_paired_t_test() -> None:
    losses, naive = np.random.default_rng(3).exponential(size=(2, 100))
    expected = stats.ttest_rel(losses, naive)
    found = diebold_mariano(losses, naive)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_where_the_autocovariances_sum_to_less_than_nothing_bartletts_weights_are_taken() -> None:
    gained = np.resize([1.0, -1.0], 60) + np.random.default_rng(4).normal(0.2, 0.1, 60)
    fitted = sm.OLS(gained, np.ones(60)).fit(cov_type="HAC", cov_kwds={"maxlags": 1, "use_correction": False})
    expected = fitted.tvalues[0] * math.sqrt((60 + 1 - 4 + 2 / 60) / 60)
    assert diebold_mariano(gained, np.zeros(60), 2).statistic == pytest.approx(expected, rel=1e-9)


def test_pesaran_timmermann_worked_by_hand() -> None:
    # 100 forecasts: 50 say up, 50 came up, 60 were right. P* = 1/2, V(P) = 1/400, V(P*) = 4 / 16 / 100**2 = 1/40000.
    predicted = np.repeat([True, False], 50)
    realised = np.concatenate([np.repeat([True, False], [30, 20]), np.repeat([True, False], [20, 30])])
    expected = 0.1 / math.sqrt(1 / 400 - 1 / 40_000)
    found = pesaran_timmermann(predicted, realised)
    assert (found.statistic, found.p_value, found.n) == pytest.approx((expected, stats.norm.sf(expected), 100))


def test_the_square_of_pesaran_timmermann_is_nearly_pearsons_chi_square() -> None:
    chance = np.random.default_rng(5)
    predicted = chance.random(4_000) < 0.6
    realised = np.where(chance.random(4_000) < 0.1, predicted, chance.random(4_000) < 0.45)
    table = np.histogram2d(predicted, realised, bins=2)[0]
    assert pesaran_timmermann(predicted, realised).statistic ** 2 == pytest.approx(
        stats.chi2_contingency(table, correction=False).statistic, rel=2e-3
    )


@pytest.mark.parametrize("horizon", HORIZONS[1:])
def test_with_overlap_pesaran_timmermann_is_the_t_of_a_regression(horizon: int) -> None:
    predicted, realised = overlapping(6, 30) > 0, overlapping(7, horizon) > 0
    fitted = sm.OLS(realised * 1.0, sm.add_constant(predicted * 1.0)).fit(
        cov_type="HAC", cov_kwds={"maxlags": horizon - 1, "kernel": "uniform", "use_correction": False}
    )
    found = pesaran_timmermann(predicted, realised, horizon)
    assert found.statistic == pytest.approx(fitted.tvalues[1], rel=1e-9)
    assert found.p_value == pytest.approx(stats.norm.sf(fitted.tvalues[1]), rel=1e-9)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_without_an_edge_one_in_twenty_is_called_significant(horizon: int) -> None:
    trials = 400
    naive = [overlapping(seed, horizon, 500) for seed in range(trials)]
    persistent = [overlapping(seed + trials, 20, 500) for seed in range(trials)]
    rejected = sum(
        diebold_mariano(2 * error * nudge, 0 * error, horizon).p_value < 0.05
        for error, nudge in zip(naive, persistent, strict=True)
    )
    called = sum(
        pesaran_timmermann(nudge > 0, error > 0, horizon).p_value < 0.05 for error, nudge in zip(naive, persistent, strict=True)
    )
    assert 8 <= rejected <= 38  # 20 are expected; four standard errors and the tests' known small-sample excess
    assert 8 <= called <= 38


@pytest.mark.parametrize("n", [0, 1, 19, 29])
def test_too_few_say_nothing(n: int) -> None:
    losses = np.arange(n) * 1.0
    assert diebold_mariano(losses, losses**2, 15) == Test(0.0, 1.0, n)
    assert pesaran_timmermann(losses % 2, losses % 2, 15) == Test(0.0, 1.0, n)


def test_what_does_not_vary_says_nothing() -> None:
    same = np.full(100, 0.1)
    assert diebold_mariano(same, same) == Test(0.0, 1.0, 100)
    assert diebold_mariano(same, same + 0.2).p_value == 1.0
    assert pesaran_timmermann(np.ones(100), np.arange(100) % 2) == Test(0.0, 1.0, 100)


def test_what_cannot_be_tested_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        diebold_mariano([math.nan] * 50, [1.0] * 50)
    with pytest.raises(ValueError, match="could not be broadcast"):
        diebold_mariano([1.0] * 50, [1.0] * 51)
    with pytest.raises(ValueError, match="realised"):
        pesaran_timmermann([True] * 50, [True] * 51)


def test_the_verdict_names_who_is_better_only_where_it_is_shown() -> None:
    chance = np.random.default_rng(8)
    naive = chance.exponential(size=500)
    words = [verdict(diebold_mariano(naive * factor, naive)) for factor in (0.9, 1.0, 1.1)]
    assert words == ["edge", "no demonstrated edge", "worse than naive"]
