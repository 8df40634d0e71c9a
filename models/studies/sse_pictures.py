"""The pictures of the SSE study: losses, forecasts, and how errors are distributed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from models.evaluation import curves, plots
from models.evaluation.metrics import Array
from models.studies.base import Picture

SHOWN = 120  # of the newest days: more, and the lines lie on each other
BINS = 40


def pictures(views: Mapping[str, tuple[Array, Array, Array]], kept: Mapping[str, Mapping[str, Array]]) -> Iterator[Picture]:
    """Yield them; `views` are forecasts [S, n], what came and the naive forecast [n], `kept` the losses, by network."""
    losses = {f"{cell}, {part}": of[f"loss_{part}"][0].tolist() for cell, of in kept.items() for part in ("train", "validation")}
    yield Picture(
        "Loss by epoch, first seed; a dot marks the least.", curves.losses(losses, "mean squared error, scaled", logarithmic=True)
    )
    yield Picture(
        f"The last {SHOWN} days: what came, and what the first seed and persistence said the day before.", _forecasts(views)
    )
    yield Picture("How errors are distributed, first seed: what came minus what was said.", _errors(views))


def _forecasts(views: Mapping[str, tuple[Array, Array, Array]]) -> bytes:
    def draw(axes: list[Any]) -> None:
        came, naive = next(iter(views.values()))[1:]
        axes[0].plot(came[-SHOWN:], color="k", linewidth=1.2, label="close")
        axes[0].plot(naive[-SHOWN:], color="0.6", linewidth=0.8, linestyle="--", label="persistence")
        for cell, (said, _, _) in views.items():
            axes[0].plot(said[0, -SHOWN:], linewidth=0.8, label=cell)
        axes[0].set(xlabel="day", ylabel="index points")
        axes[0].legend(fontsize=7)

    return plots.canvas(1, draw)


def _errors(views: Mapping[str, tuple[Array, Array, Array]]) -> bytes:
    def draw(axes: list[Any]) -> None:
        _, came, naive = next(iter(views.values()))
        errors = {cell: of[1] - of[0][0] for cell, of in views.items()} | {"persistence": came - naive}
        low, high = np.quantile(np.concatenate(list(errors.values())), [0.005, 0.995])
        bins = np.linspace(low, high, BINS).tolist()
        for axis, (name, values) in zip(axes, errors.items(), strict=True):
            axis.hist(values, bins=bins, color="C0")
            axis.axvline(0, color="0.4", linewidth=0.8)
            axis.set_title(f"{name}: mean {values.mean():+.1f}, sd {values.std():.1f}", fontsize=8)

    return plots.canvas(len(views) + 1, draw)
