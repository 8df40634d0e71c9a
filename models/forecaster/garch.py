"""GARCH(1,1): volatility that clusters and returns to its level (Bollerslev, 1986), fitted by the library `arch`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from models.forecaster.base import HORIZONS_MIN, Effort
from models.forecaster.parametric import Parameters, VolatilityForecaster, symmetric_spread
from models.forecaster.windows import SIGMA_FLOOR, Array, Windows
from models.training.dataset import Dataset
from streams.errors import ModelError

FITTED_WINDOWS = 400  # three parameters are known from 20,000 minutes, and the fit takes a second
MOST_PERSISTENT = 0.999  # of alpha + beta, so that there is a level to return to


class GarchParameters(Parameters, frozen=True, kw_only=True):
    """s(t+1)^2 = omega + alpha r(t)^2 + beta s(t)^2, of returns whose mean square in the window is 1."""

    omega: float
    alpha: float
    beta: float


class Garch(VolatilityForecaster[GarchParameters]):
    """The recursion over a window's own returns, in units of their root mean square, and its forecast of the sum.

    It starts at 1, that unit, and E s(t+k)^2 = L + (alpha + beta)^(k-1) (s(t+1)^2 - L) with L = omega / (1 - alpha - beta).
    """

    name = "garch"
    summary = "GARCH(1,1), by arch"
    kind: ClassVar[type[Parameters]] = GarchParameters

    @classmethod
    def fit(cls, data: Dataset, seed: int, effort: Effort) -> Garch:
        """Return the maximum likelihood fit to evenly chosen training windows, one after another."""
        windows = data.train.windows
        chosen = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), FITTED_WINDOWS)).astype(int))
        omega, alpha, beta = _estimated(_standardised(windows.take(chosen)).ravel())
        own = {"data_cutoff_ts_us": data.data_cutoff_ts_us, "omega": omega, "alpha": alpha, "beta": beta}
        unspread = cls(GarchParameters(spread=[], **own))  # type: ignore[arg-type]
        standardised = data.train.targets / unspread.volatility(windows)
        return cls(GarchParameters(spread=symmetric_spread(standardised), **own))  # type: ignore[arg-type]

    def volatility(self, windows: Windows) -> Array:
        """Return the volatility of the return at each horizon, [N, H]."""
        own = self.parameters
        variance = np.ones(len(windows))
        for squares in (_standardised(windows) ** 2).T:
            variance = own.omega + own.alpha * squares + own.beta * variance
        persistence = own.alpha + own.beta
        level = own.omega / (1.0 - persistence)
        minutes = [(1.0 - persistence**horizon) / (1.0 - persistence) for horizon in HORIZONS_MIN]  # a geometric sum
        total = level * np.array(HORIZONS_MIN) + (variance - level)[:, None] * np.array(minutes)
        volatility: Array = _unit(windows)[:, None] * np.sqrt(total)
        return volatility


def _unit(windows: Windows) -> Array:
    unit: Array = np.maximum(np.sqrt((windows.returns**2).mean(axis=1)), SIGMA_FLOOR)
    return unit


def _standardised(windows: Windows) -> Array:
    standardised: Array = windows.returns / _unit(windows)[:, None]
    return standardised


def _estimated(returns: Array) -> tuple[float, float, float]:
    from arch import arch_model  # noqa: PLC0415 - seconds of pandas and statsmodels, for fitting only

    result = arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off", show_warning=False)
    omega, alpha, beta = (float(result.params[name]) for name in ("omega", "alpha[1]", "beta[1]"))
    if not np.isfinite([omega, alpha, beta]).all():
        raise ModelError("fitting garch gave no numbers; look for damaged rows in the lake")
    excess = max(1.0, (alpha + beta) / MOST_PERSISTENT)
    return max(omega, 1e-6), alpha / excess, beta / excess
