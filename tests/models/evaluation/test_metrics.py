"""Against scikit-learn, SciPy, statsmodels, closed forms, published examples and brute force; never against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint

from models.evaluation import metrics

CHANCE = np.random.default_rng(3)
REALISED = CHANCE.normal(0.2, 1.0, 400)
EXPECTED = 0.4 * REALISED + CHANCE.normal(0, 0.5, 400)
LEVELS = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])


def test_point_metrics_are_those_of_scikit_learn_and_scipy() -> None:
    errors = EXPECTED - REALISED
    assert metrics.mae(errors) == pytest.approx(sklearn_metrics.mean_absolute_error(REALISED, EXPECTED))
    assert metrics.rmse(errors) == pytest.approx(sklearn_metrics.root_mean_squared_error(REALISED, EXPECTED))
    assert metrics.r2(EXPECTED, REALISED) == pytest.approx(sklearn_metrics.r2_score(REALISED, EXPECTED))
    assert metrics.correlation(EXPECTED, REALISED) == pytest.approx(stats.pearsonr(EXPECTED, REALISED).statistic)
    around_mean = (REALISED - REALISED.mean()) ** 2
    assert metrics.skill(errors**2, around_mean) == pytest.approx(sklearn_metrics.r2_score(REALISED, EXPECTED))


def test_what_does_not_vary_has_no_correlation_and_no_r2() -> None:
    assert math.isnan(metrics.correlation(np.zeros(5), REALISED[:5]))
    assert math.isnan(metrics.r2(EXPECTED[:5], np.ones(5)))
    assert math.isnan(metrics.skill([1.0], [0.0]))
    assert math.isnan(metrics.mase([1.0], [0.0]))


def test_mase_is_the_mean_absolute_error_in_units_of_the_naive_one_in_sample() -> None:
    series = np.array([3.0, 5.0, 4.0, 8.0, 6.0])  # naive steps 2, 1, 4, 2: mean 2.25
    assert metrics.mase([1.0, -3.0], np.diff(series)) == pytest.approx(2.0 / 2.25)


@pytest.mark.parametrize("level", LEVELS)
def test_pinball_is_that_of_scikit_learn(level: float) -> None:
    ours = metrics.pinball([level], EXPECTED[:, None], REALISED).mean()
    assert ours == pytest.approx(sklearn_metrics.mean_pinball_loss(REALISED, EXPECTED, alpha=level))


@pytest.mark.parametrize("value", [-2.0, 0.0, 0.7, 3.0])
def test_the_quantile_form_of_the_crps_tends_to_the_gaussian_closed_form(value: float) -> None:
    dense = (np.arange(4_000) + 0.5) / 4_000
    found = metrics.crps(dense, stats.norm.ppf(dense)[None, :], [value])[0]
    closed = value * (2 * stats.norm.cdf(value) - 1) + 2 * stats.norm.pdf(value) - 1 / math.sqrt(math.pi)
    assert found == pytest.approx(closed, abs=2e-3)


def test_the_quantile_form_of_the_crps_tends_to_the_integral_of_its_definition() -> None:
    dense, law = (np.arange(4_000) + 0.5) / 4_000, stats.gamma(2.0)
    found = metrics.crps(dense, law.ppf(dense)[None, :], [1.3])[0]
    below, _ = integrate.quad(lambda x: law.cdf(x) ** 2, 0, 1.3)
    above, _ = integrate.quad(lambda x: law.sf(x) ** 2, 1.3, 60)
    assert found == pytest.approx(below + above, abs=2e-3)


def test_qlike_is_least_at_the_true_variance_though_measured_by_single_squares() -> None:
    squares = CHANCE.normal(0, 2.0, 200_000) ** 2
    tried = np.linspace(2, 6, 81)
    losses = [metrics.qlike(np.full_like(squares, variance), squares).mean() for variance in tried]
    assert tried[int(np.argmin(losses))] == pytest.approx(4.0, abs=0.1)
    gaussian = -2 * stats.norm.logpdf(1.5, scale=0.7) - math.log(2 * math.pi)  # QLIKE is the Gaussian likelihood
    assert metrics.qlike([0.49], [2.25])[0] == pytest.approx(gaussian)


def test_the_band_of_the_coverage_is_the_binomial_one() -> None:
    low, high = np.full(400, 0.2 - 1.2816), np.full(400, 0.2 + 1.2816)
    found = metrics.coverage(low, high, REALISED, 0.8)
    inside = int(((low <= REALISED) & (high >= REALISED)).sum())
    assert found.share == inside / 400
    assert stats.binom.cdf(400 * found.low - 1, 400, 0.8) < 0.025 <= stats.binom.cdf(400 * found.low, 400, 0.8)
    assert stats.binom.sf(400 * found.high, 400, 0.8) <= 0.025 < stats.binom.sf(400 * found.high - 1, 400, 0.8)
    low_end, high_end = proportion_confint(320, 400, method="beta")
    assert found.low == pytest.approx(low_end, abs=0.01)
    assert found.high == pytest.approx(high_end, abs=0.01)
    assert found.kept


def test_overlapping_forecasts_count_as_fewer_and_ends_count_as_inside() -> None:
    ends = metrics.coverage(np.zeros(300), np.ones(300), np.ones(300), 0.5, overlap=15)
    assert ends.share == 1.0
    assert (20 * ends.low, 20 * ends.high) == tuple(stats.binom.ppf([0.025, 0.975], 20, 0.5))
    assert not ends.kept


def test_the_pit_of_gaussian_forecasts_is_the_distribution_function() -> None:
    levels = np.linspace(0.01, 0.99, 99)
    quantiles = np.broadcast_to(0.2 + stats.norm.ppf(levels), (400, 99))
    found = metrics.pit(levels, quantiles, REALISED)
    np.testing.assert_allclose(found, stats.norm.cdf(REALISED - 0.2), atol=1e-3)  # linear between them
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert metrics.histogram(found, 10) == pytest.approx(np.full(10, 0.1), abs=0.06)


def test_the_pit_of_our_seven_quantiles_is_right_at_each_of_them_and_in_the_tails() -> None:
    quantiles = np.broadcast_to(stats.norm.ppf(LEVELS), (7, 7))
    np.testing.assert_allclose(metrics.pit(LEVELS, quantiles, stats.norm.ppf(LEVELS)), LEVELS, atol=1e-12)
    far = np.array([-4.0, -2.5, 2.5, 4.0])
    np.testing.assert_allclose(metrics.pit(LEVELS, quantiles[:4], far), stats.norm.cdf(far), atol=1e-9)


def test_too_narrow_forecasts_pile_up_at_the_ends_of_the_pit() -> None:
    narrow = np.broadcast_to(0.2 + 0.3 * stats.norm.ppf(LEVELS), (400, 7))
    shares = metrics.histogram(metrics.pit(LEVELS, narrow, REALISED), 10)
    assert shares[0] + shares[-1] > 0.5


def test_reliability_is_the_calibration_curve_of_scikit_learn() -> None:
    said = CHANCE.uniform(0, 1, 1_000)
    happened = CHANCE.uniform(0, 1, 1_000) < said**2
    groups = metrics.reliability(said, happened, 10)
    share, mean = calibration_curve(happened, said, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([group.said for group in groups], mean, atol=2e-3)
    np.testing.assert_allclose([group.happened for group in groups], share, atol=2e-2)
    assert sum(group.n for group in groups) == 1_000


def test_probabilities_that_are_all_one_half_are_one_group() -> None:
    (group,) = metrics.reliability(np.full(50, 0.5), np.arange(50) % 5 == 0)
    assert group == (0.5, 0.2, 50)


def test_direction_counts_only_what_has_one() -> None:
    assert metrics.direction([1, -1, 1, 0, 1], [2, -1, -1, 5, 0]) == pytest.approx(2 / 3)
    assert math.isnan(metrics.direction(np.zeros(3), [1.0, 2.0, 3.0]))
