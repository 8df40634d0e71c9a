"""From the lake to windows with targets, split by time. Nothing of the validation part reaches the training part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.forecaster.base import HORIZONS_MIN, ROOT_HORIZON
from models.forecaster.windows import FEATURES, RAW, WINDOW, Array, Windows
from streams import lake
from streams.clock import MINUTE_US
from streams.errors import UserError
from streams.settings import Settings

LONGEST = max(HORIZONS_MIN)
VALIDATION_SHARE = 0.15
TRAINING_WINDOWS = 20_000  # what two cores learn from in a minute or so; more are thinned out evenly at random
VALIDATION_WINDOWS = 4_000
WEIGHTS = (0.2, 4.0)  # the least and the most that a window may count; 1 is usual
LARGEST_TARGET = 20.0  # in volatilities; a halt's floored scale makes any move look enormous


@dataclass(frozen=True)
class Examples:
    """What a network learns from, of N windows.

    Parameters
    ----------
    features : NDArray[np.float32]
        [N, 50, F].
    scale : Array
        [N], see :attr:`models.forecaster.windows.Windows.scale`.
    targets : Array
        [N, H], log returns from each window's last close.
    symbols : NDArray[np.object_]
        [N].
    """

    features: NDArray[np.float32]
    scale: Array
    targets: Array
    symbols: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def scaled(self) -> NDArray[np.float32]:
        """The targets in units of scale sqrt(h), and the window's weight, [N, H, 2]."""
        scaled = self.targets / (self.scale[:, None] * ROOT_HORIZON)
        scaled = np.clip(scaled, -LARGEST_TARGET, LARGEST_TARGET)
        return np.stack([scaled, np.broadcast_to(self.weights()[:, None], scaled.shape)], axis=2).astype(np.float32)

    def weights(self) -> Array:
        """Return each window's volatility over the median of its symbol's, [N].

        Forecasts are judged by their errors in returns, in which turbulent minutes count for more than calm ones.
        """
        frame = pl.DataFrame({"symbol": self.symbols.astype(str), "scale": self.scale})
        relative = frame.select(pl.col("scale") / pl.col("scale").median().over("symbol")).to_series().to_numpy()
        weights: Array = np.clip(relative, *WEIGHTS)
        return weights

    def scaler(self) -> dict[str, tuple[float, float]]:
        """Return the mean and the standard deviation of each feature."""
        values = self.features.reshape(-1, len(FEATURES)).astype(np.float64)
        return {
            name: (float(mean), float(deviation))
            for name, mean, deviation in zip(FEATURES, values.mean(axis=0), values.std(axis=0), strict=True)
        }


@dataclass(frozen=True)
class Part:
    """Windows with what followed: `targets` [N, H] are log returns from each window's last close; `symbols` [N]."""

    windows: Windows
    targets: Array
    symbols: NDArray[np.object_]

    @cached_property
    def examples(self) -> Examples:
        """What a network learns from them."""
        return Examples(self.windows.features, self.windows.scale, self.targets, self.symbols)


@dataclass(frozen=True)
class Dataset:
    """The two parts, and the end of the newest minute that either has seen."""

    train: Part
    validation: Part
    data_cutoff_ts_us: int


def load(settings: Settings, seed: int, limit: int = TRAINING_WINDOWS) -> Dataset:
    """Return the dataset that the lake's final feature rows make.

    A window is 50 consecutive minutes of one symbol, followed by 15 more for its targets: it never spans a gap. The
    newest 15 % of the windows are the validation part; between the parts lie a window and the longest horizon, so that
    no minute is in both. Of more than `limit` windows for training, a random choice is taken.

    Raises
    ------
    UserError
        The lake has no features, or too few consecutive minutes for both parts.
    """
    return make(final_rows(settings), seed, limit)


def make(rows: pl.DataFrame, seed: int, limit: int = TRAINING_WINDOWS) -> Dataset:
    """Return the dataset that final feature rows, as :func:`final_rows` gives them, make; see :func:`load`."""
    ends = window_ends(rows)
    minutes = rows["minute_ts_us"].to_numpy()
    train, validation = split(minutes[ends])
    if not train.any() or not validation.any():
        raise UserError(
            f"there are {len(ends)} windows of {WINDOW} consecutive minutes, too few to train on;"
            " record a few hours more, or ingest simulated history"
        )
    chance = np.random.default_rng(seed)
    return Dataset(
        train=part(rows, thinned(ends[train], limit, chance)),
        validation=part(rows, thinned(ends[validation], VALIDATION_WINDOWS, chance)),
        data_cutoff_ts_us=int(minutes[ends].max()) + (1 + LONGEST) * MINUTE_US,
    )


def final_rows(settings: Settings) -> pl.DataFrame:
    """Return the lake's final feature rows, the highest revision of each, by symbol and minute.

    Raises
    ------
    UserError
        There are none.
    """
    rows = lake.read(settings, "features")
    if not rows.is_empty():
        rows = rows.filter("final").sort("symbol", "minute_ts_us", "revision")
        rows = rows.unique(["symbol", "minute_ts_us"], keep="last", maintain_order=True)
    if rows.is_empty():
        raise UserError(f"there is nothing to train on: {lake.folder(settings, 'features')} has no final feature rows")
    return rows


def window_ends(rows: pl.DataFrame) -> NDArray[np.int64]:
    """Return the places in `rows` of last minutes of windows: 49 consecutive minutes before each, 15 after it."""
    follows = (pl.col("minute_ts_us").diff() == MINUTE_US) & (pl.col("symbol") == pl.col("symbol").shift())
    run = rows.select((~follows.fill_null(value=False)).cum_sum()).to_series().to_numpy()
    ends = np.arange(WINDOW - 1, len(run) - LONGEST, dtype=np.int64)
    if not len(ends):
        return ends
    whole: NDArray[np.int64] = ends[run[ends - (WINDOW - 1)] == run[ends + LONGEST]]
    return whole


def split(ended: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which windows, by the last minute of each, are for training and which for validation."""
    if not len(ended):
        return np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    border = np.quantile(ended, 1 - VALIDATION_SHARE)
    return ended + LONGEST * MINUTE_US < border, ended - (WINDOW - 1) * MINUTE_US >= border


def raw_matrix(rows: pl.DataFrame) -> Array:
    """Return the fields named in RAW as [n, len(RAW)]; no sentiment counts as neutral, as in serving."""
    matrix: Array = rows.select(pl.col(name).cast(pl.Float64).fill_null(0.0) for name in RAW).to_numpy()
    return matrix


def thinned(ends: NDArray[np.int64], limit: int, chance: np.random.Generator) -> NDArray[np.int64]:
    """Return `ends`, or `limit` of them by chance, in their order."""
    return ends if len(ends) <= limit else np.sort(chance.choice(ends, limit, replace=False))


def part(rows: pl.DataFrame, ends: NDArray[np.int64]) -> Part:
    """Return the windows that end at the places `ends` of `rows`, see :func:`window_ends`, with what followed."""
    raw = raw_matrix(rows)
    windows = Windows(raw[ends[:, None] + np.arange(1 - WINDOW, 1)])
    price = np.log(raw[:, RAW.index("close")])
    targets = price[ends[:, None] + np.array(HORIZONS_MIN)] - price[ends][:, None]
    return Part(windows, targets, rows["symbol"].to_numpy()[ends])
