"""Forecasts of monthly returns measured into rows of tables, in percentage points of return.

Stocks move together, so one month is one observation: squared errors are averaged over the stocks of a month, and over seeds,
before they are tested.
"""

from __future__ import annotations

import math

import numpy as np

from models.evaluation import metrics
from models.evaluation.significance import Test, diebold_mariano, verdict
from models.outlook.months import Array
from models.studies.base import Column, Kind, Row
from models.studies.monthly_data import STOCKS, Samples

POINTS = 100.0  # of a return of 1
LEVELS = ("0.025", "0.1", "0.25", "0.75", "0.9", "0.975")
INTERVALS = {"80": ("0.1", "0.9", 1.2815515655446004), "95": ("0.025", "0.975", 1.959963984540054)}

MAE = Column("MAE", "mean absolute error, percentage points of monthly return", ".2f")
RMSE = Column("RMSE", "root mean squared error, percentage points", ".3f")
R = Column("R", "Pearson's correlation of expected and realised returns", ".3f")
UP = Column("direction", "share of rightly foreseen signs, per cent", ".1f")
DM = Column("DM p", "Diebold-Mariano, squared errors against no change, two-sided, a month one observation", ".2g")
DM_MEAN = Column("DM p, mean", "the same against the mean of all stocks", ".2g")
ERRORS = (MAE, RMSE, R, UP, DM, DM_MEAN)

PER_STOCK = (RMSE, UP, DM)

HELD_80 = Column("80 % held", "share of the returns inside the 80 % interval, per cent", ".1f")
HELD_95 = Column("95 % held", "share of the returns inside the 95 % interval, per cent", ".1f")
WIDTH = Column("width", "mean width of the 80 % interval, percentage points", ".1f")
TELLS = Column("tells", "correlation of the width with the absolute error", ".2f")
UNCERTAINTY = (HELD_80, HELD_95, WIDTH, TELLS)


def row(name: str, kind: Kind, expected: Array, samples: Samples, mean: Array, note: str = "") -> Row:  # noqa: PLR0913, PLR0917
    """Return the row of `expected` [seeds, n] returns, beside no change and `mean` [n]."""
    values = errors(expected, samples)
    if kind == "naive":
        return Row(name, kind, values, note=note)
    test, second = against(expected, np.zeros(len(samples)), samples), against(expected, mean, samples)
    return Row(name, kind, values | {DM.name: (test.p_value,), DM_MEAN.name: (second.p_value,)}, judged(test, second), note)


def judged(test: Test, second: Test) -> str:
    """Return the verdict of the tests against no change and against the mean: what rises on average is no skill."""
    return "no demonstrated edge" if test.better and not second.better else verdict(test)


def errors(expected: Array, samples: Samples) -> dict[str, tuple[float, ...]]:
    """Return the measures of each seed of `expected` [seeds, n]."""
    missed = POINTS * (expected - samples.changes)
    return {
        MAE.name: tuple(metrics.mae(one) for one in missed),
        RMSE.name: tuple(metrics.rmse(one) for one in missed),
        R.name: tuple(metrics.correlation(one, samples.changes) for one in expected),
        UP.name: tuple(100.0 * metrics.direction(one, samples.changes) for one in expected),
    }


def against(expected: Array, naively: Array, samples: Samples) -> Test:
    """Return the test of `expected` [seeds, n] against `naively` [n] or [seeds, n]."""
    losses, naive_losses = (((np.atleast_2d(one) - samples.changes) ** 2).mean(axis=0) for one in (expected, naively))
    return diebold_mariano(metrics.mean_by(samples.until, losses), metrics.mean_by(samples.until, naive_losses))


def per_stock(expected: Array, samples: Samples) -> tuple[Row, ...]:
    """Return two rows for each stock: ours, and no change."""
    return tuple(one for symbol in STOCKS if symbol in samples.symbols for one in _of_stock(symbol, expected, samples))


def gaussian(name: str, expected: Array, spread: Array, samples: Samples, note: str = "") -> Row:
    """Return how intervals held that take `spread` [n] for the standard deviation around `expected` [n]."""
    ends = {share: (expected - z * spread, expected + z * spread) for share, (_, _, z) in INTERVALS.items()}
    return _held(name, ends, spread, samples, "ours", note)


def residual_quantiles(expected: Array, samples: Samples, usual: float) -> dict[str, float]:
    """Return level to quantile of what `expected` [n] missed by, in volatilities."""
    missed = (samples.changes - expected) / volatility(samples, usual)
    return {level: float(np.quantile(missed, float(level))) for level in LEVELS}


def calibrated(name: str, kind: Kind, expected: Array, samples: Samples, note: str = "") -> Row:
    """Return how intervals held whose width comes from the misses of the years before, from the second year on."""
    years = samples.until.astype("datetime64[Y]")
    later = np.flatnonzero(years > years.min())
    ends = {share: np.zeros((2, len(later))) for share in INTERVALS}
    usual = usual_volatility(samples)
    for year in np.unique(years[later]):
        before, now = years < year, years[later] == year
        quantiles = residual_quantiles(expected[before], samples.where(before), usual)
        own = volatility(samples, usual)[later][now]
        for share, (low, high, _) in INTERVALS.items():
            ends[share][:, now] = [expected[later][now] + own * quantiles[level] for level in (low, high)]
    chosen = samples.where(years > years.min())
    return _held(name, {share: (low, high) for share, (low, high) in ends.items()}, volatility(chosen, usual), chosen, kind, note)


def usual_volatility(samples: Samples) -> float:
    """Return the median volatility."""
    return float(np.nanmedian(samples.volatility))


def volatility(samples: Samples, usual: float) -> Array:
    """Return the volatilities, the usual one where there is none."""
    return np.where(np.isnan(samples.volatility), usual, samples.volatility)


def _of_stock(symbol: str, expected: Array, samples: Samples) -> tuple[Row, Row]:
    own = samples.symbols == symbol
    chosen, zero = samples.where(own), np.zeros((1, int(own.sum())))
    ours, naive = (_chosen(errors(one, chosen), PER_STOCK) for one in (expected[:, own], zero))
    test = against(expected[:, own], zero, chosen)
    return (
        Row(f"{symbol}: LSTM", "ours", ours | {DM.name: (test.p_value,)}, verdict(test), f"{len(chosen)} months"),
        Row(f"{symbol}: no change", "naive", naive),
    )


def _chosen(values: dict[str, tuple[float, ...]], columns: tuple[Column, ...]) -> dict[str, tuple[float, ...]]:
    return {column.name: values[column.name] for column in columns if column.name in values}


def _held(  # noqa: PLR0913, PLR0917
    name: str, ends: dict[str, tuple[Array, Array]], widths: Array, samples: Samples, kind: Kind, note: str
) -> Row:
    held = {
        share: 100.0 * float(((low <= samples.changes) & (samples.changes <= high)).mean()) for share, (low, high) in ends.items()
    }
    low, high = ends["80"]
    tells = metrics.correlation(widths, np.abs(samples.changes - (low + high) / 2))
    values = {HELD_80.name: (held["80"],), HELD_95.name: (held["95"],), WIDTH.name: (POINTS * float((high - low).mean()),)}
    return Row(name, kind, values | ({} if math.isnan(tells) else {TELLS.name: (tells,)}), note=note)
