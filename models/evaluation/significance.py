"""Whether a forecast beats the naive one, or only seems to: Diebold-Mariano and Pesaran-Timmermann tests, and the verdict.

Forecasts made each minute for some minutes ahead overlap, so their losses are correlated over `horizon` - 1 minutes: both tests
take the variance of the mean from the autocovariances up to there. Weights are rectangular: measured here, Bartlett's reject a
true null hypothesis at 5 % in 9 to 10 % of the cases at horizons of 5 and 15. Where the rectangular sum is not positive,
Bartlett's are taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtr

Verdict = Literal["edge", "no demonstrated edge", "worse than naive"]

LEVEL = 0.05
LEAST = 20  # pairs, and two per minute of the horizon: below that the tests say nothing


@dataclass(frozen=True, slots=True)
class Test:
    """A test's outcome. Without enough data, or without any variation in them, the statistic is 0 and the p-value 1."""

    __test__: ClassVar[bool] = False  # pytest: not a class of tests

    statistic: float
    p_value: float
    n: int

    @property
    def better(self) -> bool:
        """Whether the first losses are significantly less than the others."""
        return self.statistic < 0 and self.p_value < LEVEL

    @property
    def worse(self) -> bool:
        """Whether the first losses are significantly more than the others."""
        return self.statistic > 0 and self.p_value < LEVEL

    def compared(self, whom: str) -> str:
        """Return in words how a model with the first losses compares with `whom`, who has the others."""
        how = "better than" if self.better else "worse than" if self.worse else "not demonstrably different from"
        return f"{how} {whom}"


def diebold_mariano(losses: ArrayLike, naive_losses: ArrayLike, horizon: int = 1) -> Test:
    """Test that a forecast's expected loss equals the naive one's (Diebold and Mariano, 1995), two-sided.

    With the small-sample correction of Harvey, Leybourne and Newbold (1997) and Student's t with n - 1 degrees of freedom.

    Parameters
    ----------
    losses, naive_losses : ArrayLike
        [n], of the same forecasts in the order of time, any loss (squared errors, pinball).
    horizon : int
        Steps from a forecast to its target, where one is made at each step.

    Returns
    -------
    Test
        The statistic is negative where the forecast is better.

    Raises
    ------
    ValueError
        Lengths differ, or a loss is not finite.
    """
    gained = _finite(losses) - _finite(naive_losses)
    n = len(gained)
    error = _standard_error(gained, horizon)
    if error == 0:
        return Test(0.0, 1.0, n)
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = correction * float(gained.sum()) / n / error
    return Test(statistic, 2 * float(stdtr(n - 1, -abs(statistic))), n)


def pesaran_timmermann(predicted_up: ArrayLike, realised_up: ArrayLike, horizon: int = 1) -> Test:
    """Test that predicted and realised directions are independent, against that they agree (one-sided).

    At horizon 1 it is the test of Pesaran and Timmermann (1992). Above it the directions are correlated in time, for which that
    one makes no allowance: there it is the slope of the regression of realised on predicted directions (their paper of 2009)
    with the standard error of this module's docstring.

    Parameters
    ----------
    predicted_up, realised_up : ArrayLike
        [n] of truth values, in the order of time.

    Returns
    -------
    Test
        The statistic is positive where directions agree more often than chance has it.

    Raises
    ------
    ValueError
        Lengths differ.
    """
    predicted, realised = _finite(predicted_up), _finite(realised_up)
    n = len(predicted)
    if n != len(realised):
        raise ValueError(f"{n} predicted directions and {len(realised)} realised ones")
    if n < _least(horizon) or not (0 < predicted.sum() < n and 0 < realised.sum() < n):
        return Test(0.0, 1.0, n)
    statistic = _hit_statistic(predicted, realised) if horizon == 1 else _slope_statistic(predicted, realised, horizon)
    return Test(statistic, float(ndtr(-statistic)), n)


def verdict(test: Test, level: float = LEVEL) -> Verdict:
    """Return in words what a Diebold-Mariano test against the naive forecast says.

    >>> verdict(Test(-2.4, 0.017, 500)), verdict(Test(-1.0, 0.32, 500)), verdict(Test(3.1, 0.002, 500))
    ('edge', 'no demonstrated edge', 'worse than naive')
    """
    if test.p_value >= level:
        return "no demonstrated edge"
    return "edge" if test.statistic < 0 else "worse than naive"


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not math.isfinite(array.sum()):
        raise ValueError("a value is not finite")
    return array


def _least(horizon: int) -> int:
    return max(LEAST, 2 * horizon)


def _standard_error(values: NDArray[np.float64], horizon: int) -> float:
    """Return that of the mean of `values`; 0 where there are too few or they do not vary beyond rounding."""
    n = len(values)
    if n < _least(horizon):
        return 0.0
    centred = np.zeros(n + horizon - 1)
    centred[:n] = values - values.sum() / n
    # row k of the view is `centred` moved by k: all autocovariances are one product, which is called for each score
    lagged = np.ndarray((horizon, n), np.float64, centred, 0, (8, 8))
    covariances = lagged @ centred[:n] / n
    if covariances[0] <= 1e-24 * (values @ values / n):
        return 0.0
    weights = np.full(horizon, 2.0)
    weights[0] = 1.0
    variance = float(weights @ covariances)
    if variance <= 0:
        variance = float(weights * (1 - np.arange(horizon) / horizon) @ covariances)
    return math.sqrt(variance / n)


def _hit_statistic(predicted: NDArray[np.float64], realised: NDArray[np.float64]) -> float:
    n = len(predicted)
    x, y, both = float(predicted.sum()) / n, float(realised.sum()) / n, float(predicted @ realised) / n
    hits, expected = 1 - x - y + 2 * both, y * x + (1 - y) * (1 - x)
    of_hits = expected * (1 - expected) / n
    of_expected = ((2 * y - 1) ** 2 * x * (1 - x) + (2 * x - 1) ** 2 * y * (1 - y) + 4 * y * x * (1 - y) * (1 - x) / n) / n
    variance = of_hits - of_expected
    return (hits - expected) / math.sqrt(variance) if variance > 0 else 0.0


def _slope_statistic(predicted: NDArray[np.float64], realised: NDArray[np.float64], horizon: int) -> float:
    n = len(predicted)
    x, y = predicted - predicted.sum() / n, realised - realised.sum() / n
    squares = float(x @ x)
    slope = float(x @ y) / squares
    error = _standard_error(x * (y - slope * x), horizon)
    return slope * squares / (n * error) if error > 0 else 0.0
