"""Walk-forward: every model is fitted on what came before a border in time and forecasts what came after it, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.forecaster.base import Effort, Forecaster, Predictions, Recipe
from models.forecaster.windows import Array
from models.training import dataset
from models.training.dataset import Dataset
from streams.clock import MINUTE_US
from streams.errors import ModelError, UserError

FOLDS = 3
FIRST_SHARE = 0.5  # of the windows, by time, that the first fits have
BATCH = 4_096  # windows forecast in one call

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Fold:
    """One border: `known` are the rows of minutes before it, `ends` the places of the windows that are forecast after it."""

    border_ts_us: int
    known: pl.DataFrame
    ends: NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """Forecasts of all test windows, each by models that knew nothing of what it forecasts; by symbol and minute in each block.

    Parameters
    ----------
    minutes : NDArray[np.int64]
        [n], the start of each window's last minute, microseconds UTC.
    symbols : NDArray[np.object_]
        [n].
    targets : Array
        [n, H], log returns that came.
    usual : Array
        [n, H], the mean absolute return in the training part of the window's block.
    answers : dict[str, Predictions]
        By the name of the recipe.
    model_ids : dict[str, list[str]]
        By the name of the recipe, one a block.
    failed : dict[str, str]
        Recipes that could not be fitted, and why; they have no answers.
    borders : list[int]
        Where the blocks begin.
    """

    minutes: NDArray[np.int64]
    symbols: NDArray[np.object_]
    targets: Array
    usual: Array
    answers: dict[str, Predictions]
    model_ids: dict[str, list[str]]
    failed: dict[str, str]
    borders: list[int]


@dataclass
class _Block:
    """What one fold gave."""

    fold: Fold
    data: Dataset
    answers: dict[str, Predictions] = field(default_factory=dict)
    model_ids: dict[str, str] = field(default_factory=dict)


def folds(rows: pl.DataFrame, count: int = FOLDS) -> Iterator[Fold]:
    """Yield `count` folds of final feature rows: their test windows are equally many, and no two folds share one.

    A model of a fold is made of rows before the border alone, the targets of its training included. Windows that are
    forecast after the border reach back before it, as they do live.

    Raises
    ------
    UserError
        There are too few windows.
    """
    ends = dataset.window_ends(rows)
    ended = rows["minute_ts_us"].to_numpy()[ends]
    if len(ends) < 10 * count:
        raise UserError(f"there are {len(ends)} windows of consecutive minutes, too few for {count} folds: add data")
    shares = np.linspace(FIRST_SHARE, 1.0, count + 1)
    inner = np.quantile(ended, shares[:-1]).astype(np.int64) // MINUTE_US * MINUTE_US
    borders = [*inner.tolist(), int(ended.max()) + 1]
    for begin, end in pairwise(borders):
        known = rows.filter(pl.col("minute_ts_us") < begin)
        yield Fold(begin, known, ends[(ended >= begin) & (ended < end)])


def run(  # noqa: PLR0913 - what is tried, on what, how long, and who is told
    rows: pl.DataFrame,
    recipes: Sequence[Recipe],
    *,
    seed: int,
    effort: Effort,
    count: int = FOLDS,
    tell: Tell = lambda _what: None,
) -> Trial:
    """Return the forecasts of `recipes` on all folds of `rows`; `tell` is called with what has begun.

    Raises
    ------
    UserError
        There are too few rows, see :func:`folds` and :func:`models.training.dataset.load`.
    """
    failed: dict[str, str] = {}
    blocks = []
    for number, fold in enumerate(folds(rows, count), start=1):
        block = _Block(fold, dataset.make(fold.known, seed))
        for recipe in recipes:
            tell(f"{recipe.name}, block {number} of {count}")
            if recipe.name not in failed:
                _answer(rows, block, recipe, seed, effort, failed)
        blocks.append(block)
    return _joined(rows, blocks, [recipe.name for recipe in recipes if recipe.name not in failed], failed)


def _answer(  # noqa: PLR0913, PLR0917 - see run
    rows: pl.DataFrame, block: _Block, recipe: Recipe, seed: int, effort: Effort, failed: dict[str, str]
) -> None:
    try:
        model = recipe.fit(block.data, seed, effort)
    except ModelError as error:
        failed[recipe.name] = str(error)
        return
    block.model_ids[recipe.name] = model.model_id
    block.answers[recipe.name] = forecast(model, rows, block.fold.ends)


def forecast(model: Forecaster, rows: pl.DataFrame, ends: NDArray[np.int64]) -> Predictions:
    """Return the forecasts of `model` for the windows that end at the places `ends` of `rows`."""
    chunks = [ends[at : at + BATCH] for at in range(0, len(ends), BATCH)]
    return _concatenated([model.forecast(dataset.part(rows, chunk).windows) for chunk in chunks])


def _concatenated(parts: Sequence[Predictions]) -> Predictions:
    means, quantiles, ups = zip(*((part.mean, part.quantiles, part.prob_up) for part in parts), strict=True)
    return Predictions(np.concatenate(means), np.concatenate(quantiles), np.concatenate(ups))


def _joined(rows: pl.DataFrame, blocks: Sequence[_Block], names: Sequence[str], failed: dict[str, str]) -> Trial:
    ends = np.concatenate([block.fold.ends for block in blocks])
    usual = [np.abs(block.data.train.targets).mean(axis=0) for block in blocks]
    return Trial(
        minutes=rows["minute_ts_us"].to_numpy()[ends],
        symbols=rows["symbol"].to_numpy()[ends],
        targets=_targets(rows, ends),
        usual=np.repeat(usual, [len(block.fold.ends) for block in blocks], axis=0),
        answers={name: _concatenated([block.answers[name] for block in blocks]) for name in names},
        model_ids={name: [block.model_ids[name] for block in blocks] for name in names},
        failed=failed,
        borders=[block.fold.border_ts_us + MINUTE_US for block in blocks],
    )


def _targets(rows: pl.DataFrame, ends: NDArray[np.int64]) -> Array:
    chunks = [ends[at : at + BATCH] for at in range(0, len(ends), BATCH)]
    return np.concatenate([dataset.part(rows, chunk).targets for chunk in chunks])
