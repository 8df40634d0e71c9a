"""How good a sentiment model is: accuracy, macro-F1, confusion and calibration on Financial PhraseBank, agreement with FinBERT.

Run by `tickcast models sentiment evaluate`. The data are for evaluation alone; no model that ships was trained on them. The
published FinBERT was fine-tuned on PhraseBank itself, so its figures here say less than those of a model that never saw it.
"""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sentiment.base import LABELS, SentimentModel
from streams.errors import SourceError

PHRASEBANK = {"all_agree": ("Sentences_AllAgree.txt", "latin-1"), "50_agree": ("Sentences_50Agree.txt", "utf-8")}
ANSWERS = Path("finbert-outputs") / "finbert_outputs.csv.gz"
ECE_BINS = 15
AT_ONCE = 512  # texts between two steps of the progress bar

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Advance = Callable[[int], object]  # told how many more texts are done


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


def reliability(labels: Labels, probabilities: Probabilities) -> NDArray[np.float64]:
    """Return mean confidence, accuracy and number of texts [bins, 3] of each of `ECE_BINS` bins of confidence that has any."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    n, sure, good = (np.bincount(place, weights, ECE_BINS) for weights in (np.ones(len(labels)), confidence, right))
    return np.stack([sure[n > 0] / n[n > 0], good[n > 0] / n[n > 0], n[n > 0]], axis=1)


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error: mean |confidence - accuracy| over `ECE_BINS` bins of equal width."""
    sure, good, n = reliability(labels, probabilities).T
    return float(np.abs(sure - good) @ n / len(labels))


def scaled(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return the probabilities that the same logits, divided by `temperature`, give."""
    powers = np.maximum(probabilities, 1e-12) ** (1 / temperature)
    found: Probabilities = powers / powers.sum(1, keepdims=True)
    return found


def best_temperature(labels: Labels, probabilities: Probabilities) -> float:
    """Return the temperature under which `labels` are most likely (Guo et al., 2017)."""

    def surprise(temperature: float) -> float:
        return float(-np.log(scaled(probabilities, temperature)[np.arange(len(labels)), labels]).mean())

    return min((float(step) / 100 for step in range(50, 501)), key=surprise)


def temperature_scaling(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return the temperature that every second text asks for, and the calibration error of the others with it."""
    temperature = best_temperature(labels[::2], probabilities[::2])
    return {"temperature": temperature, "ece_scaled": calibration_error(labels[1::2], scaled(probabilities[1::2], temperature))}


def on_labels(model: SentimentModel, data: Labelled, advance: Advance = int) -> dict[str, Any]:
    """Return what `model` achieves on `data`; a text that it cannot score counts as wrong."""
    started = time.perf_counter()
    probabilities = _score(model, data.texts, advance)
    seconds = time.perf_counter() - started
    scored = ~np.isnan(probabilities).any(axis=1)
    labels, found = data.labels[scored], probabilities[scored]
    counts = confusion(labels, found.argmax(1))
    return {
        "n": len(data.texts),
        "unscored": int((~scored).sum()),
        "accuracy": float(np.trace(counts) / len(data.texts)),
        "macro_f1": macro_f1(counts),
        "ece": calibration_error(labels, found),
        **temperature_scaling(labels, found),
        "confusion": counts.tolist(),
        "reliability": reliability(labels, found).tolist(),
        "headlines_per_s": len(data.texts) / seconds,
    }


def _score(model: SentimentModel, texts: list[str], advance: Advance) -> Probabilities:
    parts = []
    for start in range(0, len(texts), AT_ONCE):
        parts.append(model.score(texts[start : start + AT_ONCE]))
        advance(len(parts[-1]))
    return np.concatenate(parts)


def agreement(model: SentimentModel, texts: list[str], answers: Probabilities, advance: Advance = int) -> dict[str, float]:
    """Return how far `model` says what FinBERT said: share of equal labels, correlation of scores, largest difference."""
    found = _score(model, texts, advance)
    scored = ~np.isnan(found).any(axis=1)
    ours, theirs = found[scored], answers[scored]
    return {
        "n": float(len(texts)),
        "same_label": float((ours.argmax(1) == theirs.argmax(1)).mean()),
        "score_correlation": float(np.corrcoef(ours[:, 0] - ours[:, 1], theirs[:, 0] - theirs[:, 1])[0, 1]),
        "largest_difference": float(np.abs(ours - theirs).max()),
    }


class Exam(NamedTuple):
    """What models are asked: the parts of PhraseBank by name, and FinBERT's answers where they are there."""

    parts: dict[str, Labelled]
    answers: tuple[list[str], Probabilities] | None

    @property
    def n(self) -> int:
        """How many texts a model has to score."""
        return sum(len(part.texts) for part in self.parts.values()) + (len(self.answers[0]) if self.answers else 0)


def read_exam(data: Path) -> Exam:
    """Return what the folder `data` holds in `phrasebank/` and, where it is there, in `finbert-outputs/`."""
    parts = {part: read_phrasebank(data / "phrasebank", part) for part in PHRASEBANK}
    return Exam(parts, read_finbert_answers(data / ANSWERS) if (data / ANSWERS).exists() else None)


def evaluate(model: SentimentModel, exam: Exam, advance: Advance = int) -> dict[str, Any]:
    """Return all figures of `model`: those on the sentences that all annotators agree on, and the others by name below them."""
    all_agree, half_agree = (on_labels(model, exam.parts[part], advance) for part in PHRASEBANK)
    figures = {"model_id": model.model_id, **all_agree, "phrasebank_50_agree": half_agree}
    return figures | ({"finbert_answers": agreement(model, *exam.answers, advance)} if exam.answers else {})
