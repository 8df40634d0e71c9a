"""How returns and sentiments become what a network likes, and its answer a return again: constants of the training part."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from models.outlook.months import Array

Way = Literal["standard", "min-max", "none"]
Pair = tuple[float, float]


class Scaler(NamedTuple):
    """(x - shift) / scale of return and sentiment, and of the return that is to come."""

    shift: Pair
    scale: Pair
    target_shift: float
    target_scale: float

    def inputs(self, matrices: Array) -> Array:
        """Return [n, months, 2] scaled."""
        scaled: Array = (matrices - np.array(self.shift)) / np.array(self.scale)
        return scaled

    def targets(self, changes: Array) -> Array:
        """Return the returns to come, [n], scaled."""
        scaled: Array = (changes - self.target_shift) / self.target_scale
        return scaled

    def changes(self, answers: Array) -> Array:
        """Return what the network answers, any shape, as returns."""
        found: Array = answers * self.target_scale + self.target_shift
        return found


def fitted(matrices: Array, changes: Array, way: Way = "standard") -> Scaler:
    """Return the scaler of the training part: `matrices` [n, months, 2] and the returns that came, [n].

    standard: mean 0, deviation 1; min-max: from 0 to 1; none: as they are.
    """
    columns = matrices.reshape(-1, 2)
    pairs = [_constants(column, way) for column in (*columns.T, changes)]
    (a, b), (c, d), (e, f) = pairs
    return Scaler((a, c), (b, d), e, f)


def _constants(values: Array, way: Way) -> Pair:
    if way == "none":
        return 0.0, 1.0
    low, width = (values.min(), np.ptp(values)) if way == "min-max" else (values.mean(), values.std())
    return float(low), float(width) or 1.0  # a column that never varies (no news at all) stays 0
