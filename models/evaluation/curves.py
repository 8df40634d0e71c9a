"""The loss curves of a training as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from models.evaluation import plots

OF_QUANTILES = "loss (pinball + Huber, in volatilities)"


def losses(by_name: Mapping[str, Sequence[float]], unit: str = OF_QUANTILES, *, logarithmic: bool = False) -> bytes:
    """Return a PNG of losses by epoch, one line a name; the least of each is marked."""
    figure = plots.figure_class()(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, values in by_name.items():
        epochs = range(1, len(values) + 1)
        (line,) = axes.plot(epochs, values, label=name.replace("_", " "))
        if values:
            best = min(range(len(values)), key=values.__getitem__)
            axes.plot(best + 1, values[best], "o", color=line.get_color())
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    if logarithmic:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
