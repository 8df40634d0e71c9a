"""A linear model of the same features as the networks see: ridge regression, its errors' quantiles for the intervals."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from models.forecaster.base import ROOT_HORIZON, Effort, Predictions, prob_up
from models.forecaster.parametric import Parameters, Parametric, symmetric_spread
from models.forecaster.windows import FEATURES, WINDOW, Array, Windows
from models.training.dataset import Dataset, Part

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1e9)  # on standardised features; the last one is "no slope at all"


class LinearParameters(Parameters, frozen=True, kw_only=True):
    """`coefficients` [50 F, H] of features minus `centre` [F]: expected returns, in units of scale sqrt(h)."""

    coefficients: list[list[float]]
    centre: list[float]
    penalty: float


class Linear(Parametric[LinearParameters]):
    """E r(h) = scale sqrt(h) x b(h), x the 50 minutes of features; quantiles those of the validation part's errors around it.

    The penalty is the one with the least squared error on the validation part, and may leave no slope.
    """

    name = "linear"
    summary = "ridge regression on the same features"
    kind: ClassVar[type[Parameters]] = LinearParameters

    @classmethod
    def fit(cls, data: Dataset, seed: int, effort: Effort) -> Linear:
        """Return the best of the penalised fits; nothing in it is random."""
        scaler = data.train.examples.scaler()
        centre = np.array([scaler[name][0] for name in FEATURES])
        deviation = np.array([scaler[name][1] for name in FEATURES])
        muted = np.tile(np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 0.0), WINDOW)
        fits = {penalty: _ridge(data.train, centre, muted, penalty) for penalty in PENALTIES}
        errors = {penalty: _errors(data.validation, centre, fitted) for penalty, fitted in fits.items()}
        best = min(PENALTIES, key=lambda penalty: float((errors[penalty] ** 2).mean()))
        return cls(
            LinearParameters(
                data_cutoff_ts_us=data.data_cutoff_ts_us,
                spread=symmetric_spread(errors[best]),
                coefficients=fits[best].tolist(),
                centre=centre.tolist(),
                penalty=best,
            )
        )

    def __init__(self, parameters: LinearParameters) -> None:
        super().__init__(parameters)
        self._centre, self._coefficients = np.array(parameters.centre), np.array(parameters.coefficients)

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`."""
        unit = windows.scale[:, None] * ROOT_HORIZON
        expected = _flat(windows, self._centre) @ self._coefficients
        quantiles = (expected[:, :, None] + self.spread) * unit[:, :, None]
        return Predictions(expected * unit, quantiles, prob_up(quantiles))


def _flat(windows: Windows, centre: Array) -> Array:
    centred: Array = windows.features.astype(np.float64) - centre
    return centred.reshape(len(windows), -1)


def _ridge(part: Part, centre: Array, muted: Array, penalty: float) -> Array:
    """Return coefficients of plain features, [50 F, H]; `muted` [50 F] standardises, and is 0 for what never varied."""
    features, weights = _flat(part.windows, centre) * muted, part.examples.weights()[:, None]
    targets = part.examples.scaled[:, :, 0].astype(np.float64)
    products = features.T @ (weights * features) / len(features)
    coefficients = np.linalg.solve(products + penalty * np.eye(len(muted)), features.T @ (weights * targets) / len(features))
    plain: Array = coefficients * muted[:, None]
    return plain


def _errors(part: Part, centre: Array, coefficients: Array) -> Array:
    errors: Array = part.examples.scaled[:, :, 0] - _flat(part.windows, centre) @ coefficients
    return errors
