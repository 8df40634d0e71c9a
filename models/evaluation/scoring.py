"""What one matured forecast is worth: errors, pinball loss, CRPS, coverage, and skill against a random walk.

Prices go in, log-return units come out: a forecast of the price r·exp(x) where r came is off by x. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

INTERVALS: Mapping[str, tuple[str, str]] = {"50": ("0.25", "0.75"), "80": ("0.1", "0.9"), "95": ("0.025", "0.975")}
"""Central interval, in per cent, to the probability levels of its two ends."""


def log_error(expected_price: float, realised_price: float) -> float:
    """Return ln(expected) - ln(realised): positive where the forecast was too high."""
    return math.log(expected_price) - math.log(realised_price)


def check_quantiles(quantiles: Mapping[str, float]) -> None:
    """Check that `quantiles` can be scored.

    Raises
    ------
    ValueError
        A level is not a number between 0 and 1, or an end of one of `INTERVALS` is missing.
    """
    impossible = [level for level in quantiles if not 0 < float(level) < 1]
    if impossible:
        raise ValueError(f"quantile levels {impossible} are not between 0 and 1")
    missing = {level for ends in INTERVALS.values() for level in ends} - quantiles.keys()
    if missing:
        raise ValueError(f"quantile levels {sorted(missing)} are missing")


def pinball(level: float, quantile: float, value: float) -> float:
    """Return the pinball loss of `quantile` at probability `level` where `value` came (Koenker and Bassett, 1978).

    >>> pinball(0.9, 1.0, 3.0)
    1.8
    """
    return max(level * (value - quantile), (level - 1) * (value - quantile))


def mean_pinball(quantiles: Mapping[str, float], realised_price: float) -> float:
    """Return the pinball loss in log-return units, averaged over `quantiles` (level to price)."""
    realised = math.log(realised_price)
    losses = [pinball(float(level), math.log(price), realised) for level, price in quantiles.items()]
    return math.fsum(losses) / len(losses)


def crps(mean_pinball_loss: float) -> float:
    """Return the quantile form of the continuous ranked probability score: twice the mean pinball loss."""
    return 2 * mean_pinball_loss


def covered(quantiles: Mapping[str, float], realised_price: float) -> dict[str, bool]:
    """Return for each of `INTERVALS` whether it held the realised price, ends included."""
    return {name: quantiles[low] <= realised_price <= quantiles[high] for name, (low, high) in INTERVALS.items()}


def skill(errors: Collection[float], naive_errors: Collection[float]) -> float | None:
    """Return 1 - MSE / MSE of the random walk, over pairs of errors; None where the random walk made none.

    1 is perfect, 0 is as good as "the price stays", below 0 is worse.
    """
    naive = math.fsum(error * error for error in naive_errors)
    return 1 - math.fsum(error * error for error in errors) / naive if naive > 0 else None
