"""How a series of daily closes becomes windows for a network: the protocol as it is written, and departures from it.

Everything that a paper may do without saying so is a field of :class:`Protocol`, so that the audit runs the same code with
one of them changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.evaluation.metrics import Array
from models.studies.daily_files import PRICES
from streams.errors import SourceError

WINDOW = 7
SHUFFLE_SEED = 2025
SAME_DAY = ("open", "high", "low")  # of the very day whose close is asked for
PARTS = ("train", "validation", "test")
Part = Literal["train", "validation", "test"]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Protocol:
    """One way to make windows.

    Parameters
    ----------
    fill : Literal
        Which days get the last close before them where there is none: none, `weekdays` (holidays), `calendar` (weekends too).
    scaled_on : Literal
        What minimum and maximum are taken of: the training part, or the whole series, the test part included.
    shuffled : bool
        Whether windows are shuffled before they are split, so that a test day lies among training days.
    same_day : bool
        Whether the window is of open, high and low and ends with the day whose close is asked for.
    train, validation : float
        Shares of the days; the test part is the rest.
    """

    name: str
    fill: Literal["none", "weekdays", "calendar"] = "none"
    scaled_on: Literal["train", "whole"] = "train"
    shuffled: bool = False
    same_day: bool = False
    train: float = 0.70
    validation: float = 0.15


@dataclass(frozen=True)
class Sample:
    """Windows with what followed, N in all.

    Parameters
    ----------
    features : NDArray[np.float32]
        [N, 7, F], scaled.
    targets : NDArray[np.float32]
        [N], closes, scaled.
    closes, naive : Array
        [N], the close that is asked for, and the one before it: what persistence says.
    parts : dict[Part, Indices]
        Which windows are in which part, in the order of time.
    low, high : float
        The closes that scale to 0 and to 1.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    closes: Array
    naive: Array
    parts: dict[Part, Indices]
    low: float
    high: float

    def prices(self, scaled: NDArray[Any]) -> Array:
        """Return scaled forecasts as prices."""
        back: Array = scaled.astype(np.float64) * (self.high - self.low) + self.low
        return back


def sample(rows: pl.DataFrame, protocol: Protocol) -> Sample:
    """Return the windows that `protocol` makes of daily rows, which `daily_files.py` reads.

    Raises
    ------
    SourceError
        There are too few rows for a window in each part.
    """
    days = filled(rows, protocol.fill)
    count = len(days) - WINDOW
    sizes = [int(len(days) * protocol.train) - WINDOW, int(len(days) * protocol.validation)]  # the first days have no window
    if min(*sizes, count - sum(sizes)) < 1:
        raise SourceError(f"{len(days)} days are too few for windows of {WINDOW} in three parts; add data")
    closes = days["close"].to_numpy()
    columns = days.select(SAME_DAY if protocol.same_day else ("close",)).to_numpy()
    parts = _parts(count, sizes, protocol.shuffled)
    known = _known(len(days), parts["train"], protocol)
    low, high = (end(closes[known]) for end in (np.min, np.max))
    scaled = (columns - columns[known].min(axis=0)) / np.ptp(columns[known], axis=0)
    first = np.arange(count)[:, None] + np.arange(WINDOW) + (1 if protocol.same_day else 0)
    return Sample(
        features=scaled[first].astype(np.float32),
        targets=((closes[WINDOW:] - low) / (high - low)).astype(np.float32),
        closes=closes[WINDOW:],
        naive=closes[WINDOW - 1 : -1],
        parts=parts,
        low=float(low),
        high=float(high),
    )


def filled(rows: pl.DataFrame, fill: str) -> pl.DataFrame:
    """Return `rows` with missing values, and the missing days that `fill` names, filled forward from the day before."""
    days = rows.select("date", *PRICES)
    if fill != "none":
        days = days.upsample("date", every="1d")
    if fill == "weekdays":
        days = days.filter(pl.col("date").dt.weekday() <= 5)
    return days.with_columns(pl.col(*PRICES).forward_fill()).drop_nulls()


def _parts(count: int, sizes: list[int], shuffled: bool) -> dict[Part, Indices]:
    order = np.random.default_rng(SHUFFLE_SEED).permutation(count) if shuffled else np.arange(count)
    train, validation, test = np.split(order.astype(np.int64), np.cumsum(sizes))
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def _known(days: int, train: Indices, protocol: Protocol) -> Indices:
    """Return the days that scaling may know: all, or those of the training part's windows and targets."""
    if protocol.scaled_on == "whole":
        return np.arange(days)
    return np.unique(train[:, None] + np.arange(WINDOW + 1))
