"""HAR-RV: volatility as a regression on the realised volatility of short, middle and long stretches (Corsi, 2009).

Minutes stand for the paper's days: 5, 15 and 30 of them for its day, week and month.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from models.forecaster.base import HORIZONS_MIN, ROOT_HORIZON, Effort
from models.forecaster.parametric import Parameters, VolatilityForecaster, symmetric_spread
from models.forecaster.windows import SIGMA_FLOOR, Array, Windows
from models.training.dataset import Dataset

STRETCHES = (5, 15, 30)  # minutes
FLOOR = 0.05  # of the long stretch's variance: a regression may say less than nothing
LARGEST = 20.0  # of a minute's variance over the long stretch's: a jump must not rule the regression


class HarParameters(Parameters, frozen=True, kw_only=True):
    """`coefficients` [H, 3]: variance of a minute up to the horizon, from those of the stretches."""

    coefficients: list[list[float]]


class HarRv(VolatilityForecaster[HarParameters]):
    """Var r(h) / h = b5 RV5 + b15 RV15 + b30 RV30, RV the mean squared return of a minute; no constant, so scale-free.

    Fitted within the windows themselves: stretches that end 15 minutes before a window's end, and what came then.
    """

    name = "har-rv"
    summary = "HAR-RV: realised volatility of 5, 15 and 30 minutes"
    kind: ClassVar[type[Parameters]] = HarParameters
    minimum_bars = 1 + max(STRETCHES)

    @classmethod
    def fit(cls, data: Dataset, seed: int, effort: Effort) -> HarRv:
        """Return the model fitted by least squares; nothing in it is random or iterates."""
        squares = data.train.windows.returns**2
        longest = max(HORIZONS_MIN)
        before = _realised(squares[:, :-longest])
        level = np.maximum(before[:, -1:], SIGMA_FLOOR**2)
        came = np.stack([squares[:, -longest:][:, :horizon].mean(axis=1) for horizon in HORIZONS_MIN], axis=1)
        coefficients = np.linalg.lstsq(before / level, np.minimum(came / level, LARGEST), rcond=None)[0].T
        own = {"data_cutoff_ts_us": data.data_cutoff_ts_us, "coefficients": coefficients.tolist()}
        unspread = cls(HarParameters(spread=[], **own))
        standardised = data.train.targets / unspread.volatility(data.train.windows)
        return cls(HarParameters(spread=symmetric_spread(standardised), **own))

    def volatility(self, windows: Windows) -> Array:
        """Return the volatility of the return at each horizon, [N, H]."""
        realised = _realised(windows.returns**2)
        expected = realised @ np.array(self.parameters.coefficients).T
        variance = np.maximum(expected, np.maximum(FLOOR * realised[:, -1:], SIGMA_FLOOR**2))
        volatility: Array = np.sqrt(variance) * ROOT_HORIZON
        return volatility


def _realised(squares: Array) -> Array:
    """Return the mean of the last 5, 15 and 30 of squared returns [N, n], as [N, 3]."""
    return np.stack([squares[:, -stretch:].mean(axis=1) for stretch in STRETCHES], axis=1)
