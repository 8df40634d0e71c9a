"""From four months of a stock to what the next one may bring: the expected return, its interval, and a suggestion.

The interval is what walk-forward forecasts missed by, in volatilities, times the stock's own volatility. The spread of the
ensemble and of dropout is told beside it, but is no interval: it is what the networks do not know about themselves, and most of
what a month brings is nothing that any of them could know.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

from models.outlook import pretrained
from models.outlook.months import Array
from models.outlook.pretrained import About

Suggestion = Literal["buy", "hold", "sell"]

THRESHOLD = 0.02  # of a month's return: less is eaten by costs and is far inside what chance does
LEAST_RETURN = -0.99  # a price stays above 0
INTERVALS = {"50": ("0.25", "0.75"), "80": ("0.1", "0.9"), "95": ("0.025", "0.975")}
SEED = 7  # of dropout: the same months give the same answer


class Estimate(NamedTuple):
    """What a month may bring, as returns.

    `intervals`: per cent to its two ends. `ensemble_spread` and `dropout_spread` are standard deviations, over the networks and
    over dropout within them. From `buy_from` on and from `sell_from` down there is a suggestion: the mean of all months is
    nothing to buy for, because it is no knowledge of this one.
    """

    expected: float
    intervals: dict[str, tuple[float, float]]
    volatility: float
    ensemble_spread: float
    dropout_spread: float
    buy_from: float
    sell_from: float

    @property
    def suggestion(self) -> Suggestion:
        """What the expected return suggests."""
        return "buy" if self.expected >= self.buy_from else "sell" if self.expected <= self.sell_from else "hold"


class Estimator:
    """The ensemble of a model file; for one thread at a time.

    Parameters
    ----------
    path : Path
        The file; see :mod:`models.outlook.pretrained`, also for errors.
    """

    def __init__(self, path: Path = pretrained.FILE) -> None:
        self._held = pretrained.read(path)
        self.model_id = self._held.model_id

    @property
    def about(self) -> About:
        """What is known of the model."""
        return self._held.about

    def estimate(self, matrix: Array, volatility: float) -> Estimate:
        """Return what follows `matrix` [months, 2] of a stock; a `volatility` that is NaN is the usual one."""
        from models.outlook import network  # noqa: PLC0415 - torch takes seconds to import

        inputs = self.about.scaler.inputs(matrix[None])
        said = self.about.scaler.changes(network.answers(self._held.weights, inputs)[:, 0])
        dropped = [network.dropout_answers(one, inputs, SEED)[:, 0] for one in self._held.weights]
        own = self.about.usual_volatility if math.isnan(volatility) else volatility
        expected = float(said.mean())
        return Estimate(
            expected=expected,
            intervals={share: self._interval(expected, own, share) for share in INTERVALS},
            volatility=own,
            ensemble_spread=float(said.std()),
            dropout_spread=self.about.scaler.target_scale * float(sum(one.std() for one in dropped)) / len(dropped),
            buy_from=self.about.usual_return + THRESHOLD,
            sell_from=-THRESHOLD,
        )

    def _interval(self, expected: float, volatility: float, share: str) -> tuple[float, float]:
        low, high = (max(LEAST_RETURN, expected + volatility * self.about.residuals[level]) for level in INTERVALS[share])
        return low, high
