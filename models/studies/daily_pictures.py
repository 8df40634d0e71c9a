"""The pictures of the daily study: losses, forecasts of one stock, and errors by symbol against persistence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from models.evaluation import curves, metrics, plots
from models.studies.base import Picture

if TYPE_CHECKING:
    from models.studies.daily import Forecasts

SHOWN = 120  # of the newest days: more, and the lines lie on each other


def pictures(found: Mapping[str, Forecasts], trained: Mapping[str, Mapping[str, Any]]) -> Iterator[Picture]:
    """Yield them; `found` are forecasts by model, `trained` the losses of the first seed on prices and on returns."""
    losses = {f"{name}, {part}": of[f"loss_{part}"].tolist() for name, of in trained.items() for part in ("train", "validation")}
    yield Picture(
        "Loss by epoch, first seed; a dot marks the least.", curves.losses(losses, "mean squared error, scaled", logarithmic=True)
    )
    yield Picture("RMSE over that of persistence, mean over the seeds: above 1 persistence is better.", _ratios(found))
    yield Picture(f"The last {SHOWN} days of the first symbol: what came, and what the first seed said.", _newest(found))


def _ratios(found: Mapping[str, Forecasts]) -> bytes:
    symbols = list(dict.fromkeys(next(iter(found.values())).symbols.tolist()))
    width = 0.8 / len(found)

    def draw(axes: list[Any]) -> None:
        for number, (name, forecasts) in enumerate(found.items()):
            heights = [_ratio(forecasts.of(symbol)) for symbol in symbols]
            axes[0].bar(np.arange(len(symbols)) + (number - (len(found) - 1) / 2) * width, heights, width, label=name)
        axes[0].axhline(1, color="0.3", linewidth=0.8)
        axes[0].set_xticks(range(len(symbols)), symbols)
        axes[0].legend(fontsize=7)

    return plots.canvas(1, draw)


def _ratio(one: Forecasts) -> float:
    ours = [metrics.rmse(said - one.came) for said in one.said]
    return float(np.mean(ours)) / metrics.rmse(one.naive - one.came)


def _newest(found: Mapping[str, Forecasts]) -> bytes:
    symbol = next(iter(found.values())).symbols[0]

    def draw(axes: list[Any]) -> None:
        for at, (name, forecasts) in enumerate(found.items()):
            own = forecasts.of(symbol)
            if at == 0:
                axes[0].plot(own.came[-SHOWN:], color="k", linewidth=1.2, label=f"{symbol}, close")
            axes[0].plot(own.said[0, -SHOWN:], linewidth=0.8, label=name)
        axes[0].set(xlabel="day", ylabel="dollars")
        axes[0].legend(fontsize=7)

    return plots.canvas(1, draw)
