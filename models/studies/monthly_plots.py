"""The pictures of the monthly study."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from models.evaluation.plots import figure_class
from models.outlook.months import Array
from models.studies.base import Picture
from models.studies.monthly_data import Samples
from models.studies.monthly_trial import Forecasts


def pictures(samples: Samples, forecasts: Forecasts, mean: Array) -> Iterator[Picture]:
    """Yield the pictures of the main forecasts of `samples`, beside no change and the `mean` [n] of the months before."""
    expected = forecasts.expected.mean(axis=0)
    yield Picture(
        "What the forecasts gained on no change as time went on, in mean squared errors of no change; below 0 they lost.",
        _drawn(lambda axis: _gains(axis, samples, {"LSTM": expected, "mean of all stocks": mean})),
    )
    yield Picture(
        "Expected against realised return, per cent; on the line they would be equal.",
        _drawn(lambda axis: _cloud(axis, samples, expected)),
    )
    yield Picture(
        "Losses of the last training with its first seed: the kept weights are those of the lowest validation loss.",
        _drawn(lambda axis: _losses(axis, forecasts.losses)),
    )


def _drawn(draw: Callable[[Any], None]) -> bytes:
    figure = figure_class()(figsize=(9.6, 3.6), layout="constrained")
    draw(figure.add_subplot())
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return buffer.getvalue()


def _gains(axis: Any, samples: Samples, forecasts: dict[str, Array]) -> None:
    months, of = np.unique(samples.until, return_inverse=True)
    naive = np.bincount(of, samples.changes**2)
    for name, expected in forecasts.items():
        lost = np.bincount(of, (expected - samples.changes) ** 2)
        axis.plot(months, np.cumsum(naive - lost) / naive.mean(), linewidth=1.0, label=name)
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.set(ylabel="gain")
    axis.legend(fontsize=8)


def _cloud(axis: Any, samples: Samples, expected: Array) -> None:
    for symbol in np.unique(samples.symbols):
        own = samples.symbols == symbol
        axis.plot(100 * expected[own], 100 * samples.changes[own], "o", markersize=3, alpha=0.6, label=symbol)
    ends = 100 * np.array([expected.min(), expected.max()])
    axis.plot(ends, ends, color="0.6", linewidth=0.8)
    axis.set(xlabel="expected, %", ylabel="realised, %")
    axis.legend(fontsize=7, ncols=3)


def _losses(axis: Any, losses: Array) -> None:
    for column, name in enumerate(("training", "validation")):
        axis.plot(np.arange(1, len(losses) + 1), losses[:, column], linewidth=1.0, label=name)
    axis.axvline(1 + int(losses[:, 1].argmin()), color="0.6", linewidth=0.8)
    axis.set(xlabel="epoch", ylabel="mean squared error, scaled")
    axis.legend(fontsize=8)
