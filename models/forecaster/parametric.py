"""What forecasters of a few numbers share: their parameters are one JSON file, checked when read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar

import msgspec
import numpy as np

from models.forecaster.base import HORIZONS_MIN, LEVELS, QUANTILES, Predictions
from models.forecaster.windows import FEATURE_VERSION, WINDOW, Array, Windows
from streams.errors import ModelError

FILE = "parameters.json"
SMALLEST = 1e-12  # quantiles stay apart, and a division by their distance stays possible


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What every such forecaster keeps; `spread` [H, Q] are the quantiles of its standardised errors."""

    data_cutoff_ts_us: int
    spread: list[list[float]]
    feature_version: int = FEATURE_VERSION
    horizons_min: tuple[int, ...] = HORIZONS_MIN
    levels: tuple[str, ...] = QUANTILES


P = TypeVar("P", bound=Parameters)


class Parametric(Generic[P]):
    """A forecaster that is a function of its parameters; its id is `name` and the start of their checksum.

    Raises
    ------
    ModelError
        A parameter is no number: there was nothing to learn from, or the fit failed.
    """

    name: ClassVar[str]
    kind: ClassVar[type[Parameters]]
    minimum_bars: int = WINDOW

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters
        self.spread: Array = np.array(parameters.spread)
        self._encoded = msgspec.json.encode(parameters)
        if b"null" in self._encoded:  # what NaN and infinity become in JSON
            raise ModelError(f"fitting {self.name} gave no numbers; look for damaged rows in the lake")
        self.model_id = f"{self.name}-{hashlib.sha256(self._encoded).hexdigest()[:8]}"
        self.data_cutoff_ts_us = parameters.data_cutoff_ts_us

    def save(self, folder: Path) -> None:
        """Write the parameters into `folder`."""
        (folder / FILE).write_bytes(self._encoded)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what :meth:`save` wrote.

        Raises
        ------
        ModelError
            Missing, damaged, or made for other features, horizons or quantiles.
        """
        try:
            parameters = msgspec.json.decode((folder / FILE).read_bytes(), type=cls.kind)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ModelError(f"{folder / FILE} cannot be read ({error}); fit {cls.name} again") from error
        made_for = (parameters.feature_version, parameters.horizons_min, parameters.levels)
        if made_for != (FEATURE_VERSION, HORIZONS_MIN, QUANTILES):
            raise ModelError(f"{folder / FILE} was made for other features, horizons or quantiles; fit {cls.name} again")
        return cls(parameters)  # type: ignore[arg-type]


class VolatilityForecaster(Parametric[P]):
    """A forecaster that says only how far the price may go: mean 0, quantiles that mirror each other."""

    def volatility(self, windows: Windows) -> Array:
        """Return the volatility of the return at each horizon, [N, H], log-return units, above 0."""
        raise NotImplementedError

    def forecast(self, windows: Windows) -> Predictions:
        """Return the forecasts of `windows`."""
        volatility = self.volatility(windows)
        return Predictions(np.zeros_like(volatility), volatility[:, :, None] * self.spread, np.full_like(volatility, 0.5))


def symmetric_spread(standardised: Array) -> list[list[float]]:
    """Return the quantiles, [H, Q], of errors [N, H] whose sign is taken to be a coin toss.

    The median is 0, and the quantile of level p above one half is that of the absolute errors at level 2 p - 1.
    """
    sizes = np.quantile(np.abs(standardised), np.abs(2 * LEVELS - 1), axis=0).T
    spread: list[list[float]] = (np.sign(LEVELS - 0.5) * np.maximum(sizes, SMALLEST * np.abs(2 * LEVELS - 1))).tolist()
    return spread
