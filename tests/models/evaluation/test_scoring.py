"""The scoring kernels against numbers worked by hand, other formulae, and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from models.evaluation import scoring

LEVELS = ("0.025", "0.1", "0.25", "0.5", "0.75", "0.9", "0.975")
logs = st.floats(-0.5, 0.5)


def prices(*log_prices: float) -> dict[str, float]:
    return {level: math.exp(value) for level, value in zip(LEVELS, log_prices, strict=True)}


def test_an_error_is_positive_where_the_forecast_was_too_high() -> None:
    assert scoring.log_error(110, 100) == pytest.approx(math.log(1.1))
    assert scoring.log_error(100, 110) == pytest.approx(-math.log(1.1))
    assert scoring.log_error(100, 100) == 0


@pytest.mark.parametrize(
    ("level", "quantile", "value", "loss"),
    [(0.9, 1.0, 3.0, 1.8), (0.9, 3.0, 1.0, 0.2), (0.5, 0.0, -4.0, 2.0), (0.025, 2.0, 2.0, 0.0)],
)
def test_pinball_loss_worked_by_hand(level: float, quantile: float, value: float, loss: float) -> None:
    assert scoring.pinball(level, quantile, value) == pytest.approx(loss)


@given(level=st.floats(0.01, 0.99), quantile=logs, value=logs)
def test_pinball_loss_is_the_tilted_absolute_error(level: float, quantile: float, value: float) -> None:
    indicator = 1.0 if value < quantile else 0.0
    assert scoring.pinball(level, quantile, value) == pytest.approx((level - indicator) * (value - quantile), abs=1e-15)


@given(value=st.floats(-3, 3))
def test_many_quantiles_of_a_normal_give_its_closed_form_crps(value: float) -> None:
    count = 2_000
    levels = (np.arange(count) + 0.5) / count
    quantiles = {repr(float(p)): math.exp(q) for p, q in zip(levels, stats.norm.ppf(levels), strict=True)}
    closed = value * (2 * stats.norm.cdf(value) - 1) + 2 * stats.norm.pdf(value) - 1 / math.sqrt(math.pi)
    assert scoring.crps(scoring.mean_pinball(quantiles, math.exp(value))) == pytest.approx(closed, abs=2e-3)


def test_crps_of_a_normal_agrees_with_its_defining_integral() -> None:
    levels = (np.arange(4_000) + 0.5) / 4_000
    quantiles = {repr(float(p)): math.exp(q) for p, q in zip(levels, stats.norm.ppf(levels, scale=0.01), strict=True)}
    came = 0.004
    below, _ = integrate.quad(lambda x: stats.norm.cdf(x, scale=0.01) ** 2, -0.1, came)
    above, _ = integrate.quad(lambda x: stats.norm.sf(x, scale=0.01) ** 2, came, 0.1)
    assert scoring.crps(scoring.mean_pinball(quantiles, math.exp(came))) == pytest.approx(below + above, rel=2e-3)


def test_mean_pinball_worked_by_hand() -> None:
    quantiles = prices(-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
    # ln(realised) = 0.15: five quantiles below it, two above
    expected = (0.025 * 0.45 + 0.1 * 0.35 + 0.25 * 0.25 + 0.5 * 0.15 + 0.75 * 0.05 + 0.1 * 0.05 + 0.025 * 0.15) / 7
    assert scoring.mean_pinball(quantiles, math.exp(0.15)) == pytest.approx(expected)
    assert scoring.crps(expected) == 2 * expected


@pytest.mark.parametrize(
    ("came", "held"),
    [
        (0.0, {"50": True, "80": True, "95": True}),
        (0.15, {"50": False, "80": True, "95": True}),
        (-0.25, {"50": False, "80": False, "95": True}),
        (0.31, {"50": False, "80": False, "95": False}),
    ],
)
def test_coverage_of_the_three_intervals(came: float, held: dict[str, bool]) -> None:
    assert scoring.covered(prices(-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3), math.exp(came)) == held


def test_an_interval_holds_its_ends() -> None:
    quantiles = prices(-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
    assert scoring.covered(quantiles, quantiles["0.975"]) == {"50": False, "80": False, "95": True}
    assert scoring.covered(quantiles, quantiles["0.25"])["50"]


@given(st.lists(st.tuples(logs, st.floats(0.001, 0.5)), min_size=1, max_size=50))
def test_skill_is_one_minus_the_ratio_of_mean_squares(pairs: list[tuple[float, float]]) -> None:
    errors, naive_errors = np.array(pairs).T
    expected = 1 - np.mean(errors**2) / np.mean(naive_errors**2)
    assert scoring.skill(errors.tolist(), naive_errors.tolist()) == pytest.approx(expected)
    assert scoring.skill(naive_errors.tolist(), naive_errors.tolist()) == 0


def test_there_is_no_skill_where_the_random_walk_never_erred() -> None:
    assert scoring.skill([0.1, 0.2], [0.0, 0.0]) is None
    assert scoring.skill([], []) is None


@pytest.mark.parametrize("quantiles", [{}, {"0.5": 1.0}, prices(*[0.0] * 7) | {"1": 1.0}, prices(*[0.0] * 7) | {"nan": 1.0}])
def test_quantiles_that_cannot_be_scored_are_refused(quantiles: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="levels"):
        scoring.check_quantiles(quantiles)


def test_a_level_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="half"):
        scoring.check_quantiles(prices(*[0.0] * 7) | {"half": 1.0})
    scoring.check_quantiles(prices(*[0.0] * 7))
