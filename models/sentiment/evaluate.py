"""How good a sentiment model is: accuracy, macro-F1, confusion and calibration on Financial PhraseBank, agreement with FinBERT.

    python -m models.sentiment.evaluate --data FOLDER [--json FILE]

FOLDER holds `phrasebank/` and `finbert-outputs/`. Both are for evaluation alone; no model that ships was trained on them. The
published FinBERT was fine-tuned on PhraseBank itself, so its figures here say less than those of a model that never saw it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sentiment.base import LABELS, SentimentModel, load
from streams import settings
from streams.errors import SourceError

PHRASEBANK = {"all_agree": ("Sentences_AllAgree.txt", "latin-1"), "50_agree": ("Sentences_50Agree.txt", "utf-8")}
ECE_BINS = 15

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]


class Labelled(NamedTuple):
    """Texts and their labels, as columns of :data:`models.sentiment.base.LABELS`."""

    texts: list[str]
    labels: Labels


def read_phrasebank(folder: Path, part: str = "all_agree") -> Labelled:
    """Return a part of Financial PhraseBank: "all_agree" or "50_agree".

    Raises
    ------
    SourceError
        The file is missing, or a line is not `text@label`.
    """
    name, encoding = PHRASEBANK[part]
    try:
        lines = (folder / name).read_text(encoding=encoding).splitlines()
        pairs = [line.rsplit("@", 1) for line in lines if line.strip()]
        return Labelled([text for text, _ in pairs], np.array([LABELS.index(label.strip()) for _, label in pairs]))
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder / name} is not a part of Financial PhraseBank: {error}") from error


def read_finbert_answers(path: Path) -> tuple[list[str], Probabilities]:
    """Return the texts that the published FinBERT was given, and the probabilities [n, 3] that it answered."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        answers = np.array([[float(row[f"p_{label}"]) for label in LABELS] for row in rows])
        return [row["sentence_as_scored"] for row in rows], answers
    except (OSError, KeyError, ValueError) as error:
        raise SourceError(f"{path} does not hold FinBERT's answers: {error}") from error


def confusion(labels: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Return counts [3, 3]: rows are the true labels, columns the predicted ones."""
    counts = np.zeros((len(LABELS), len(LABELS)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Return the mean F1 of the labels, from a confusion matrix; a label that never occurs nor is predicted counts as 0.

    >>> macro_f1(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    1.0
    """
    sums = counts.sum(0) + counts.sum(1)
    return float(np.mean(2 * np.diag(counts) / np.maximum(sums, 1)))


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error: mean |confidence - accuracy| over `ECE_BINS` bins of equal width."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(place, confidence - right, ECE_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def on_labels(model: SentimentModel, data: Labelled) -> dict[str, object]:
    """Return what `model` achieves on `data`; a text that it cannot score counts as wrong."""
    started = time.perf_counter()
    probabilities = model.score(data.texts)
    seconds = time.perf_counter() - started
    scored = ~np.isnan(probabilities).any(axis=1)
    counts = confusion(data.labels[scored], probabilities[scored].argmax(1))
    return {
        "n": len(data.texts),
        "unscored": int((~scored).sum()),
        "accuracy": float(np.trace(counts) / len(data.texts)),
        "macro_f1": macro_f1(counts),
        "ece": calibration_error(data.labels[scored], probabilities[scored]),
        "confusion": counts.tolist(),
        "headlines_per_s": len(data.texts) / seconds,
    }


def agreement(model: SentimentModel, texts: list[str], answers: Probabilities) -> dict[str, float]:
    """Return how far `model` says what FinBERT said: share of equal labels, correlation of scores, largest difference."""
    found = model.score(texts)
    scored = ~np.isnan(found).any(axis=1)
    ours, theirs = found[scored], answers[scored]
    return {
        "n": float(len(texts)),
        "same_label": float((ours.argmax(1) == theirs.argmax(1)).mean()),
        "score_correlation": float(np.corrcoef(ours[:, 0] - ours[:, 1], theirs[:, 0] - theirs[:, 1])[0, 1]),
        "largest_difference": float(np.abs(ours - theirs).max()),
    }


def evaluate(model: SentimentModel, data: Path) -> dict[str, object]:
    """Return all figures of `model` on the folders in `data`."""
    texts, answers = read_finbert_answers(data / "finbert-outputs" / "finbert_outputs.csv.gz")
    parts = {f"phrasebank_{part}": on_labels(model, read_phrasebank(data / "phrasebank", part)) for part in PHRASEBANK}
    return {"model_id": model.model_id, **parts, "finbert_answers": agreement(model, texts, answers)}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    text = json.dumps(evaluate(load(settings.load()), given.data), indent=1)
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    print(text)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
