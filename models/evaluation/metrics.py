"""How good forecasts were: errors, probabilistic losses, coverage, calibration.

Pure functions of arrays, which are [n] unless said otherwise.

`scoring.py` has the same losses for one live forecast, in prices; `significance.py` says whether a difference is chance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]


def mae(errors: ArrayLike) -> float:
    """Return the mean absolute error."""
    return float(np.abs(_array(errors)).mean())


def rmse(errors: ArrayLike) -> float:
    """Return the root of the mean squared error."""
    return math.sqrt(float((_array(errors) ** 2).mean()))


def r2(expected: ArrayLike, realised: ArrayLike) -> float:
    """Return the coefficient of determination, 1 - SSE / SST around the mean of `realised`; NaN where that does not vary."""
    came = _array(realised)
    total = float(((came - came.mean()) ** 2).sum())
    return 1.0 - float(((came - _array(expected)) ** 2).sum()) / total if total > 0 else math.nan


def correlation(expected: ArrayLike, realised: ArrayLike) -> float:
    """Return Pearson's R; NaN where one of the two does not vary."""
    x, y = _array(expected), _array(realised)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def mase(errors: ArrayLike, naive_training_errors: ArrayLike) -> float:
    """Return the mean absolute scaled error: MAE over that of the naive forecast in the training part (Hyndman, Koehler 2006)."""
    scale = mae(naive_training_errors)
    return mae(errors) / scale if scale > 0 else math.nan


def skill(losses: ArrayLike, naive_losses: ArrayLike) -> float:
    """Return 1 - mean loss / mean naive loss: 1 is perfect, 0 as good as naive, below 0 worse; NaN where naive lost nothing."""
    naive = float(_array(naive_losses).mean())
    return 1.0 - float(_array(losses).mean()) / naive if naive > 0 else math.nan


def pinball(levels: ArrayLike, quantiles: ArrayLike, realised: ArrayLike) -> Array:
    """Return the pinball losses, [n, Q], of `quantiles` [n, Q] at `levels` [Q] (Koenker and Bassett, 1978)."""
    miss = _array(realised)[:, None] - _array(quantiles)
    p = _array(levels)
    losses: Array = np.maximum(p * miss, (p - 1.0) * miss)
    return losses


def crps(levels: ArrayLike, quantiles: ArrayLike, realised: ArrayLike) -> Array:
    """Return the CRPS in its quantile form: twice the mean pinball loss over `levels` (Gneiting and Ranjan, 2011).

    It tends to the CRPS as equally spaced levels become dense; of our seven it is a comparable number, not the integral.
    """
    losses: Array = 2.0 * pinball(levels, quantiles, realised).mean(axis=1)
    return losses


def qlike(variances: ArrayLike, squared_returns: ArrayLike) -> Array:
    """Return the losses ln(h) + r^2 / h of variance forecasts h (Patton, 2011): least in expectation at the true variance.

    Of the losses of volatility it is the one that ranks forecasts rightly though r^2 is a noisy measurement, and is hardly
    moved by a jump.
    """
    h = _array(variances)
    losses: Array = np.log(h) + _array(squared_returns) / h
    return losses


class Coverage(NamedTuple):
    """The share of values inside an interval, and the shares that are usual for an interval that keeps its promise."""

    share: float
    low: float
    high: float

    @property
    def kept(self) -> bool:
        """Whether the share is within the band."""
        return self.low <= self.share <= self.high


def coverage(low: ArrayLike, high: ArrayLike, realised: ArrayLike, promised: float, overlap: int = 1) -> Coverage:
    """Return how often `realised` was within [low, high], ends included, with a 95 % binomial band around `promised`.

    Parameters
    ----------
    overlap : int
        How many forecasts share each minute of their targets: the band is that of n / `overlap` independent ones.
    """
    came = _array(realised)
    inside = (_array(low) <= came) & (came <= _array(high))
    independent = max(1, len(came) // overlap)
    ends = stats.binom.ppf([0.025, 0.975], independent, promised) / independent
    return Coverage(float(inside.mean()), float(ends[0]), float(ends[1]))


def pit(levels: ArrayLike, quantiles: ArrayLike, realised: ArrayLike) -> Array:
    """Return the probability integral transform of each value under its forecast; uniform where forecasts are calibrated.

    Between the quantiles [n, Q] the distribution function is linear; beyond the outer ones it has the tails of the Gaussian
    through the two quantiles of that side.
    """
    p, q, came = _array(levels), _array(quantiles), _array(realised)
    place = np.clip((q <= came[:, None]).sum(axis=1), 1, len(p) - 1)
    rows = np.arange(len(came))
    low, high = q[rows, place - 1], q[rows, place]
    share = (came - low) / np.maximum(high - low, 1e-300)
    z = special.ndtri(p)
    tail = special.ndtr(z[place - 1] + share * (z[place] - z[place - 1]))
    outside = (share < 0) | (share > 1)
    transformed: Array = np.where(outside, tail, p[place - 1] + share * (p[place] - p[place - 1]))
    return transformed


def histogram(transformed: ArrayLike, bins: int = 20) -> Array:
    """Return the share of a PIT's values in each of `bins` equal parts of [0, 1]."""
    counts, _ = np.histogram(_array(transformed), bins=bins, range=(0.0, 1.0))
    shares: Array = counts / max(1, counts.sum())
    return shares


class Reliability(NamedTuple):
    """Of one group of forecasts with like probabilities: their mean probability, how often it happened, how many there were."""

    said: float
    happened: float
    n: int


def reliability(probabilities: ArrayLike, happened: ArrayLike, groups: int = 10) -> list[Reliability]:
    """Return the reliability diagram of `probabilities`, in `groups` of equal size by probability (fewer where they tie)."""
    said, came = _array(probabilities), _array(happened)
    borders = np.unique(np.quantile(said, np.linspace(0, 1, groups + 1)[1:-1]))
    of = np.searchsorted(borders, said, side="left")
    return [
        Reliability(float(said[of == group].mean()), float(came[of == group].mean()), int((of == group).sum()))
        for group in np.unique(of)
    ]


def direction(expected: ArrayLike, realised: ArrayLike) -> float:
    """Return the share of rightly foreseen signs among the values and forecasts that have one; NaN where there is none."""
    x, y = np.sign(_array(expected)), np.sign(_array(realised))
    signed = (x != 0) & (y != 0)
    return float((x == y)[signed].mean()) if signed.any() else math.nan


def mean_by(keys: ArrayLike, values: ArrayLike) -> Array:
    """Return the mean of `values` for each different one of `keys`, [n] both, in the order of the keys.

    Symbols move together, so their losses are averaged over a day, say, before they are tested.
    """
    different, of = np.unique(np.asarray(keys), return_inverse=True)
    means: Array = np.bincount(of, _array(values), len(different)) / np.bincount(of, minlength=len(different))
    return means


def _array(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
