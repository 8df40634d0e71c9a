"""The forecast to beat: the price stays, and its uncertainty grows with the root of time."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from models.forecaster.base import LEVELS, ROOT_HORIZON, Effort, Predictions
from models.forecaster.windows import Array, Windows

if TYPE_CHECKING:
    from models.training.dataset import Dataset  # with polars, which whoever only serves can do without

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

    name = "random-walk"
    summary = "the price stays; EWMA volatility"
    model_id = "random-walk-ewma-1"
    minimum_bars = 1
    data_cutoff_ts_us = 0

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`."""
        sigma = windows.sigma[:, None] * ROOT_HORIZON
        return Predictions(np.zeros_like(sigma), sigma[:, :, None] * Z, np.full_like(sigma, 0.5))

    @classmethod
    def fit(cls, data: Dataset, seed: int, effort: Effort) -> RandomWalk:
        """Return the random walk; there is nothing to fit."""
        return cls()

    @classmethod
    def load(cls, folder: Path) -> RandomWalk:
        """Return the random walk; there is nothing to load."""
        return cls()

    def save(self, folder: Path) -> None:
        """Write nothing: it is a function of the window alone."""
