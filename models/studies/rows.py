"""Forecasts of prices measured into rows of a table: errors of each seed, and one test against the naive row.

Seeds are not independent forecasts, so they are not tested one by one: the loss of a day is the mean over the seeds, and
these losses are held against the naive ones by one Diebold-Mariano test.
"""

from __future__ import annotations

import numpy as np

from models.evaluation import metrics
from models.evaluation.metrics import Array
from models.evaluation.significance import Test, diebold_mariano, verdict
from models.studies.base import Column, Row

MAE = Column("MAE", "mean absolute error")
RMSE = Column("RMSE", "root mean squared error")
R2 = Column("R²", "coefficient of determination", ".4f")
R = Column("R", "Pearson's correlation", ".4f")
DM = Column("DM p", "Diebold-Mariano test of squared errors against the naive row, two-sided, losses averaged over seeds", ".2g")
OF_PRICES = (MAE, RMSE, R2, R, DM)


def published(name: str, mae: float, rmse: float, r2: float, r: float) -> Row:
    """Return the row that a paper printed."""
    return Row(name, "published", {MAE.name: (mae,), RMSE.name: (rmse,), R2.name: (r2,), R.name: (r,)})


def naive(name: str, expected: Array, came: Array) -> Row:
    """Return the row of the naive forecast `expected`, [n], of what came, [n]."""
    return Row(name, "naive", errors(expected[None], came))


def measured(name: str, expected: Array, came: Array, naively: Array, horizon: int = 1) -> Row:
    """Return the row of the forecasts `expected` of the seeds, [S, n], of what came, [n], beside the naive forecast [n].

    Parameters
    ----------
    horizon : int
        Steps from a forecast to its target, where one is made at each step.
    """
    test = against(expected, came, naively, horizon)
    return Row(name, "ours", {**errors(expected, came), DM.name: (test.p_value,)}, verdict(test))


def against(expected: Array, came: Array, naively: Array, horizon: int = 1) -> Test:
    """Return the test of squared errors, averaged over the seeds of `expected` [S, n], against those of `naively` [n]."""
    return diebold_mariano(((expected - came) ** 2).mean(axis=0), (naively - came) ** 2, horizon)


def errors(expected: Array, came: Array) -> dict[str, tuple[float, ...]]:
    """Return the four measures of each seed of `expected`, [S, n], by the names of their columns."""
    return {
        MAE.name: tuple(metrics.mae(one - came) for one in expected),
        RMSE.name: tuple(metrics.rmse(one - came) for one in expected),
        R2.name: tuple(metrics.r2(one, came) for one in expected),
        R.name: tuple(metrics.correlation(one, came) for one in expected),
    }


def spread(values: tuple[float, ...]) -> tuple[float, float | None]:
    """Return the mean of `values` and their standard deviation (n - 1), which one value has not."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
