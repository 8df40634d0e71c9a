"""Walk-forward of the monthly study: for each year networks are fitted on all months before it, and forecast its months.

Of what is known at a border the last year decides when a training stops, so no network sees the loss of what it forecasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.outlook import scaling
from models.outlook.months import Array
from models.outlook.scaling import Scaler, Way
from models.studies.monthly_data import Samples
from models.studies.resume import Parts

CHECKED_MONTHS = 12  # before a border: they decide when to stop
FINAL = "final"
WEIGHT = "weight."  # before the name of a weight, in a part

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Variant:
    """One way to make the inputs: its name in tables, its samples, how they are scaled."""

    name: str
    samples: Samples
    way: Way = "standard"


@dataclass(frozen=True)
class Plan:
    """How much is done: the years that are forecast, the seeds, and how many epochs a training has at most."""

    years: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int


@dataclass(frozen=True)
class Forecasts:
    """Of one variant over all years: what was forecast, by seed, and what dropout said of it.

    Parameters
    ----------
    expected, dropout : Array
        [seeds, n], expected returns, and their standard deviation over passes with dropout.
    epochs : list[int]
        Of each training, those that were kept.
    losses : Array
        [epochs, 2], training and validation, of the last year's first seed.
    """

    expected: Array
    dropout: Array
    epochs: list[int]
    losses: Array


def is_forecast(samples: Samples, years: Sequence[int]) -> NDArray[np.bool_]:
    """Return which of `samples` are forecast: those whose month ends in one of `years`."""
    return np.isin(_years(samples), years)


@dataclass(frozen=True)
class Trainings:
    """Fits networks as planned, each once: what is in `parts` is not fitted again. `tell` is called after each."""

    plan: Plan
    parts: Parts
    tell: Callable[[], None]

    def walk(self, variant: Variant) -> Forecasts:
        """Return the forecasts of `variant`, in the order of its samples."""
        found = [
            [self._one(variant, str(year), _at(variant.samples, year), seed) for seed in self.plan.seeds]
            for year in self.plan.years
        ]
        return Forecasts(
            np.concatenate([[one["expected"] for one in year] for year in found], axis=1),
            np.concatenate([[one["dropout"] for one in year] for year in found], axis=1),
            [int(one["epochs"]) for year in found for one in year],
            found[-1][0]["losses"],
        )

    def final(self, variant: Variant, later: Samples) -> list[Arrays]:
        """Return for each seed what all samples of `variant` left, and its forecasts of `later`; see :func:`weights_of`."""
        return [self._one(variant, FINAL, (variant.samples, later), seed) for seed in self.plan.seeds]

    def _one(self, variant: Variant, border: str, data: tuple[Samples, Samples], seed: int) -> Arrays:
        name = f"{variant.name.replace(' ', '-')}-{border}-{seed}"
        found = self.parts.finished(name, lambda: _trained(variant.way, data, seed, self.plan.epochs))
        self.tell()
        return found


def weights_of(part: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the weights in a part of :meth:`Trainings.final`."""
    return {name.removeprefix(WEIGHT): values for name, values in part.items() if name.startswith(WEIGHT)}


def scaler_of(known: Samples, way: Way = "standard") -> Scaler:
    """Return the scaler of what the training on `known` fits on."""
    fitted, _ = _split(known)
    return scaling.fitted(fitted.matrices, fitted.changes, way)


def _at(samples: Samples, year: int) -> tuple[Samples, Samples]:
    years = _years(samples)
    return samples.where(years < year), samples.where(years == year)


def _trained(way: Way, data: tuple[Samples, Samples], seed: int, epochs: int) -> Arrays:
    from models.outlook import network  # noqa: PLC0415 - torch takes seconds to import

    known, ahead = data
    scaler = scaler_of(known, way)
    fitted, checked = (network.Part(scaler.inputs(one.matrices), scaler.targets(one.changes)) for one in _split(known))
    fit = network.train(fitted, checked, seed, epochs)
    inputs = scaler.inputs(ahead.matrices)
    spread = network.dropout_answers(fit.weights, inputs, seed).std(axis=0) * scaler.target_scale
    weights = {WEIGHT + name: values for name, values in fit.weights.items()}
    return {
        "expected": scaler.changes(network.answers([fit.weights], inputs)[0]),
        "dropout": spread,
        "epochs": np.array(fit.epochs),
        "losses": np.array(fit.losses),
        **weights,
    }


def _split(known: Samples) -> tuple[Samples, Samples]:
    """Return what is fitted on, and the last year, which decides when to stop."""
    border = np.unique(known.until)[-CHECKED_MONTHS]
    return known.where(known.until < border), known.where(known.until >= border)


def _years(samples: Samples) -> NDArray[np.int64]:
    years: NDArray[np.int64] = samples.until.astype("datetime64[Y]").astype(np.int64) + 1970
    return years
