"""An evaluation for people: its tables, and a picture of how often each model is right against how sure it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from models.sentiment.base import LABELS
from streams.errors import EnvironmentFault

NOTE = "Financial PhraseBank, sentences on which all annotators agree. The published FinBERT was fine-tuned on PhraseBank."


Figures = Mapping[str, Mapping[str, Any]]
COLUMNS = {
    "accuracy": "accuracy",
    "macro-F1": "macro_f1",
    "ECE": "ece",
    "T": "temperature",
    "ECE at T": "ece_scaled",
    "per s": "headlines_per_s",
}


def tables(figures: Figures) -> Iterator[Table | str]:
    """Yield what to print of `figures`, by the names of models: figures, confusions, and what to bear in mind."""
    table = Table("model", *COLUMNS, "50 % agree", "as FinBERT")
    for name, of in figures.items():
        same = f"{of['finbert_answers']['same_label']:.3f}" if "finbert_answers" in of else "-"
        table.add_row(
            name, *(f"{of[field]:.3g}" for field in COLUMNS.values()), f"{of['phrasebank_50_agree']['accuracy']:.3f}", same
        )
    yield table
    for name, of in figures.items():
        confusion = Table(f"{name}: true \\ said", *LABELS)
        for label, row in zip(LABELS, of["confusion"], strict=True):
            confusion.add_row(label, *(f"{count:,}" for count in row))
        yield confusion
    yield NOTE


def reliability(figures: Figures, path: Path) -> None:
    """Write the reliability diagrams of the models in `figures` (see :func:`models.sentiment.evaluate.on_labels`) to `path`.

    Raises
    ------
    EnvironmentFault
        matplotlib is not installed, or cannot write a file of that name.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise EnvironmentFault("the plot needs matplotlib: pip install 'tickcast[plots]'") from error
    figure = Figure(figsize=(3.4 * len(figures) + 0.6, 4.0), layout="constrained")
    for number, (name, of) in enumerate(figures.items(), start=1):
        _panel(figure.add_subplot(1, len(figures), number), name, of)
    figure.supxlabel(NOTE, fontsize=7)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise EnvironmentFault(f"the plot cannot be written to {path}: {error}") from error


def _panel(axes: Any, name: str, of: Mapping[str, Any]) -> None:
    sure, right, n = zip(*of["reliability"], strict=True)
    axes.plot([1 / 3, 1], [1 / 3, 1], color="0.6", linewidth=1, linestyle="--")
    axes.scatter(sure, right, s=[10 + 300 * count / sum(n) for count in n], alpha=0.7)
    axes.set(xlim=(0.3, 1.02), ylim=(0, 1.05), xlabel="how sure (size: how many texts)", ylabel="how often right")
    axes.set_title(f"{name}\naccuracy {of['accuracy']:.3f}, ECE {of['ece']:.3f}", fontsize=9)
