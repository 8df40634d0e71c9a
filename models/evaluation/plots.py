"""The pictures of an evaluation, by matplotlib (extra `plots`), as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from models.evaluation.metrics import Array
from models.evaluation.summary import Figures, by_minute, losses_of
from models.evaluation.walk_forward import Trial
from models.forecaster.base import HORIZONS_MIN, LEVELS
from streams.errors import EnvironmentFault

MIDDLE = len(HORIZONS_MIN) // 2
FAN_MINUTES = 150
Draw = Callable[[Any], None]


def pictures(trial: Trial, figures: Figures) -> Iterator[tuple[str, bytes]]:
    """Yield a caption and a PNG for each picture of the trial.

    Raises
    ------
    EnvironmentFault
        matplotlib is not installed.
    """
    horizon = HORIZONS_MIN[MIDDLE]
    yield "Skill against the random walk: squared error (left), pinball loss (right). Above 0 is better.", _skills(figures)
    yield "How much of what came was inside the intervals; grey: promised, with the 95 % binomial band.", _coverages(figures)
    yield f"What each model gained on the random walk as time went on: pinball loss, {horizon} minutes.", _gains(trial, figures)
    yield f"PIT histogram, {horizon} minutes: flat where intervals are right, U where they are too narrow.", _pits(figures)
    yield f"Reliability of P(up), {horizon} minutes: said against happened.", _reliabilities(figures)
    yield (
        f"The last {FAN_MINUTES} minutes of one symbol with the intervals that were given {horizon} minutes before.",
        _fan(trial, figures),
    )


def figure_class() -> Any:
    """Return matplotlib's Figure; ask before long work whose end needs it.

    Raises
    ------
    EnvironmentFault
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise EnvironmentFault("the report needs matplotlib: pip install 'tickcast[plots]'") from error
    return Figure


def canvas(columns: int, draw: Callable[[list[Any]], None], height: float = 3.2) -> bytes:
    """Return a PNG of `columns` axes beside each other, which `draw` fills."""
    figure = figure_class()(figsize=(9.6, height), layout="constrained")
    draw([figure.add_subplot(1, columns, number + 1) for number in range(columns)])
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return buffer.getvalue()


def _colour(figures: Figures, name: str) -> str:
    """Return a model's colour, the same in all pictures."""
    return f"C{list(figures['models']).index(name) % 10}"


def _others(figures: Figures) -> list[str]:
    return [name for name in figures["models"] if name != figures["naive"]]


def _skills(figures: Figures) -> bytes:
    def draw(axes: list[Any]) -> None:
        for axis, field, title in zip(axes, ("skill", "skill_pinball"), ("squared error", "pinball loss"), strict=True):
            _bars(axis, figures, field)
            axis.set_title(title, fontsize=9)
            axis.axhline(0, color="0.4", linewidth=0.8)

    return canvas(2, draw)


def _bars(axis: Any, figures: Figures, field: str) -> None:
    names = _others(figures)
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        heights = [row[field] or 0.0 for row in figures["models"][name].values()]
        places = np.arange(len(heights)) + (number - (len(names) - 1) / 2) * width
        axis.bar(places, heights, width, label=name, color=_colour(figures, name))
    axis.set_xticks(range(len(HORIZONS_MIN)), [f"{horizon} min" for horizon in HORIZONS_MIN])
    if names:
        axis.legend(fontsize=7)


def _coverages(figures: Figures) -> bytes:
    def draw(axes: list[Any]) -> None:
        for axis, share in zip(axes, ("50", "80", "95"), strict=True):
            rows = {name: [row["coverage"][share] for row in by.values()] for name, by in figures["models"].items()}
            for name, found in rows.items():
                axis.plot(
                    [one["share"] for one in found], "o-", markersize=3, linewidth=0.8, label=name, color=_colour(figures, name)
                )
            bands = next(iter(rows.values()))
            axis.fill_between(range(len(bands)), *([one[end] for one in bands] for end in ("low", "high")), color="0.85")
            axis.axhline(float(share) / 100, color="0.6", linewidth=0.8)
            axis.set_xticks(range(len(HORIZONS_MIN)), [f"{horizon} min" for horizon in HORIZONS_MIN])
            axis.set_title(f"{share} % interval", fontsize=9)
        axes[-1].legend(fontsize=6)

    return canvas(3, draw)


def _gains(trial: Trial, figures: Figures) -> bytes:
    def draw(axes: list[Any]) -> None:
        naive = by_minute(trial, losses_of(trial, figures["naive"], MIDDLE)[1])
        for name in _others(figures):
            gained = naive - by_minute(trial, losses_of(trial, name, MIDDLE)[1])
            axes[0].plot(np.cumsum(gained) / naive.mean(), linewidth=0.9, label=name, color=_colour(figures, name))
        axes[0].axhline(0, color="0.6", linewidth=0.8)
        axes[0].set(xlabel="minutes of the test blocks", ylabel="gain, in mean naive losses")
        if _others(figures):
            axes[0].legend(fontsize=7)

    return canvas(1, draw)


def _panels(figures: Figures, panel: Callable[[Any, Figures], None]) -> bytes:
    models = figures["models"]

    def draw(axes: list[Any]) -> None:
        for axis, (name, row) in zip(axes, models.items(), strict=True):
            panel(axis, row[str(HORIZONS_MIN[MIDDLE])])
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)

    return canvas(len(models), draw, height=2.2)


def _pits(figures: Figures) -> bytes:
    def panel(axis: Any, row: Figures) -> None:
        shares = row["pit"]
        axis.bar((np.arange(len(shares)) + 0.5) / len(shares), np.array(shares) * len(shares), 1 / len(shares))
        axis.axhline(1, color="0.4", linewidth=0.8)

    return _panels(figures, panel)


def _reliabilities(figures: Figures) -> bytes:
    def panel(axis: Any, row: Figures) -> None:
        said, happened, _ = zip(*row["reliability"], strict=True)
        axis.plot([0.3, 0.7], [0.3, 0.7], color="0.6", linewidth=0.8, linestyle="--")
        axis.plot(said, happened, "o", markersize=3)

    return _panels(figures, panel)


def _fan(trial: Trial, figures: Figures) -> bytes:
    name = next(reversed(figures["models"]))
    own = np.flatnonzero(trial.symbols == figures["symbols"][0])
    own = own[np.argsort(trial.minutes[own], kind="stable")][-FAN_MINUTES:]

    def draw(axes: list[Any]) -> None:
        answer = 1e4 * trial.answers[name].quantiles[own, MIDDLE]
        for low in range(len(LEVELS) // 2):
            axes[0].fill_between(range(len(own)), answer[:, low], answer[:, -1 - low], color="C0", alpha=0.18, linewidth=0)
        came: Array = 1e4 * trial.targets[own, MIDDLE]
        axes[0].plot(came, color="k", linewidth=0.8)
        axes[0].set(ylabel=f"return, basis points ({name}, {figures['symbols'][0]})", xlabel="minute of the forecast")

    return canvas(1, draw)
