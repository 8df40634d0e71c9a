"""The last errors of one series of forecasts, beside the random walk's, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.significance import LEAST, Verdict, diebold_mariano, pesaran_timmermann, verdict

LENGTH = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """How a series stands against the random walk over its last `n` scores; None where that says nothing yet."""

    n: int
    skill: float | None
    dm_p_value: float | None
    pt_p_value: float | None
    verdict: Verdict


class RollingErrors:
    """The last 500 pairs of errors, oldest first.

    An error is ln(expected) - ln(realised); the naive forecast expects the last price. So the expected direction is up where
    the error is above the naive one.
    """

    __slots__ = ("_end", "_pairs")

    def __init__(self) -> None:
        # twice the length, so that the last 500 lie side by side and old ones are moved away only every 500 scores
        self._pairs: NDArray[np.float64] = np.empty((2, 2 * LENGTH))
        self._end = 0

    def append(self, error: float, naive_error: float) -> None:
        """Add the newest pair."""
        if self._end == 2 * LENGTH:
            self._pairs[:, :LENGTH] = self._pairs[:, LENGTH:]
            self._end = LENGTH
        self._pairs[:, self._end] = error, naive_error
        self._end += 1

    def standing(self, horizon_min: int) -> Standing:
        """Return what the pairs amount to, as forecasts of `horizon_min` minutes made each minute."""
        errors, naive = self._pairs[:, max(0, self._end - LENGTH) : self._end]
        losses, naive_losses = errors * errors, naive * naive
        total = float(naive_losses.sum())
        skill = 1 - float(losses.sum()) / total if total > 0 else None
        if len(errors) < LEAST:
            return Standing(len(errors), skill, None, None, "no demonstrated edge")
        tested = diebold_mariano(losses, naive_losses, horizon_min)
        directions = pesaran_timmermann(errors > naive, naive < 0, horizon_min)
        return Standing(len(errors), skill, _rounded(tested.p_value), _rounded(directions.p_value), verdict(tested))


def _rounded(p_value: float) -> float:
    # Six digits are more than any p-value means, and hide the last bits, in which processors differ.
    return float(f"{p_value:.6g}")
