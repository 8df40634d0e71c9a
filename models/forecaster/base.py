"""What a forecaster is, what it answers, and how the answer becomes messages. To add one: one file beside this.

Forecasters speak in log returns from the window's last close; prices appear only in :func:`to_messages`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from models.forecaster.windows import Array, Windows
from streams.clock import MINUTE_US
from streams.messages import Features, Forecast, Role

if TYPE_CHECKING:
    from models.training.dataset import Dataset  # which itself stands on this module

HORIZONS_MIN = (1, 5, 15)
QUANTILES = ("0.025", "0.1", "0.25", "0.5", "0.75", "0.9", "0.975")
LEVELS: Array = np.array([float(level) for level in QUANTILES])
ROOT_HORIZON: Array = np.sqrt(np.array(HORIZONS_MIN, dtype=np.float64))  # how a random walk's volatility grows
LARGEST_LOG_RETURN = 50.0  # exp stays finite, whatever a model says
LARGEST_PRICE = 999_999_999_900.0  # below the contract's bound, and still so when rounded


@dataclass(frozen=True)
class Predictions:
    """Forecasts of N windows at H horizons, in log returns from each window's last close.

    Parameters
    ----------
    mean : Array
        [N, H].
    quantiles : Array
        [N, H, Q], at :data:`LEVELS`, not decreasing along Q.
    prob_up : Array
        [N, H], the probability that the return is above zero.
    """

    mean: Array
    quantiles: Array
    prob_up: Array


class Forecaster(Protocol):
    """A model that answers windows of at least `minimum_bars` minutes.

    `forecast` is called from one thread at a time, may take milliseconds, and never blocks on anything else. It is a
    pure function of the windows: equal windows give equal bits in batches of equal size; batches of another size may
    differ in the last bits, so whoever needs equal bytes asks for one window at a time.
    """

    model_id: str
    minimum_bars: int
    data_cutoff_ts_us: int
    """Nothing later than this was used to make the model; 0 where it was not trained."""

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`; at least `minimum_bars` minutes each."""


class Fitted(Forecaster, Protocol):
    """A forecaster that can be kept."""

    def save(self, folder: Path) -> None:
        """Write all that its recipe's `load` needs into `folder`, which exists and is empty. Never a pickle."""


@dataclass(frozen=True)
class Effort:
    """How long a fit may try, and whom it tells: `tell` is called with how many epochs are done."""

    epochs: int = 12
    tell: Callable[[int], None] = lambda _done: None


class Recipe(Protocol):
    """How one kind of forecaster is made; `catalog.py` lists them, `docs/add-a-model.md` shows how to add one."""

    @property
    def name(self) -> str:
        """A short name, for commands and reports."""

    @property
    def summary(self) -> str:
        """What it is, in a few words."""

    def fit(self, data: Dataset, seed: int, effort: Effort) -> Fitted:
        """Return a forecaster made from `data` alone; equal arguments give equal forecasts on one machine.

        The training part teaches, the validation part may choose between variants and stop a training early. May take
        minutes. Raises `ModelError` where the data cannot be learnt from.
        """

    def load(self, folder: Path) -> Fitted:
        """Return what `save` wrote; raises `ModelError` where it is missing, damaged or of other features."""


@dataclass(frozen=True)
class Maker:
    """Who made a forecast, in which role: the part of a message that is the same for all windows of one model."""

    forecaster: Forecaster
    role: Role
    provisional: bool


def prob_up(quantiles: Array) -> Array:
    """Return the probability of a positive return, [N, H], from quantiles [N, H, Q].

    The distribution function is taken as linear between the quantiles and flat outside, so the answer stays within
    [0.025, 0.975]: the quantiles say nothing of the tails beyond them.
    """
    low, high = quantiles[..., :-1], quantiles[..., 1:]
    passed = np.clip(-low / np.maximum(high - low, 1e-12), 0.0, 1.0)
    below = LEVELS[0] + (passed * np.diff(LEVELS)).sum(axis=-1)
    up: Array = 1.0 - below
    return up


def to_messages(row: Features, predictions: Predictions, place: int, maker: Maker, features_hash: str) -> list[Forecast]:
    """Return one message per horizon for window number `place` of `predictions`, whose last minute is `row`."""
    mean = _prices(row.close, predictions.mean[place]).tolist()
    quantiles = _prices(row.close, predictions.quantiles[place]).tolist()
    up = predictions.prob_up[place].tolist()
    as_of_ts_us = row.minute_ts_us + MINUTE_US
    return [
        Forecast(
            forecast_id=forecast_id(row, horizon_min, maker),
            symbol=row.symbol,
            as_of_ts_us=as_of_ts_us,
            horizon_min=horizon_min,
            target_ts_us=as_of_ts_us + horizon_min * MINUTE_US,
            last_price=row.close,
            mean=_rounded(mean[at]),
            quantiles=dict(zip(QUANTILES, map(_rounded, quantiles[at]), strict=True)),
            prob_up=_rounded(up[at]),
            model_id=maker.forecaster.model_id,
            role=maker.role,
            provisional=maker.provisional,
            features_hash=features_hash,
            data_cutoff_ts_us=maker.forecaster.data_cutoff_ts_us,
        )
        for at, horizon_min in enumerate(HORIZONS_MIN)
    ]


def forecast_id(row: Features, horizon_min: int, maker: Maker) -> str:
    """Return the id of a forecast made at `row`: the same whenever it is made again."""
    revision = f":p{row.revision}" if maker.provisional else ""
    return f"{row.symbol}:{row.minute_ts_us}:{horizon_min}:{maker.forecaster.model_id}{revision}"


def _prices(last: float, log_returns: Array) -> Array:
    growth = np.exp(np.clip(log_returns, -LARGEST_LOG_RETURN, LARGEST_LOG_RETURN))
    prices: Array = np.minimum(last * growth, LARGEST_PRICE)
    return prices


def _rounded(value: float) -> float:
    # Ten digits are more than any price has, and hide the last bits, in which processors differ.
    return float(f"{value:.10g}")
