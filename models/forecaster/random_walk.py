"""The forecast to beat: the price stays, and its uncertainty grows with the root of time."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from models.forecaster.base import LEVELS, ROOT_HORIZON, Predictions
from models.forecaster.windows import Array, Windows

Z: Array = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


class RandomWalk:
    """Random walk with EWMA volatility: r(h) ~ N(0, h sigma^2), sigma of :func:`models.forecaster.windows.ewma_sigma`.

    A function of the window alone, so that a restart changes nothing, and usable from the first bar on.

    Examples
    --------
    >>> bar = (100.0, 100.0, 100.0, 100.0, 5.0, 100.0, 100.0, 0.0, 0.0, 0.0)
    >>> answer = RandomWalk().forecast(Windows.stack([[bar]]))
    >>> answer.mean.tolist(), answer.prob_up.tolist()
    ([[0.0, 0.0, 0.0]], [[0.5, 0.5, 0.5]])
    """

    model_id = "random-walk-ewma-1"
    minimum_bars = 1
    data_cutoff_ts_us = 0

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`."""
        sigma = windows.sigma[:, None] * ROOT_HORIZON
        return Predictions(np.zeros_like(sigma), sigma[:, :, None] * Z, np.full_like(sigma, 0.5))
