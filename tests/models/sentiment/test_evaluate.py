"""The figures of the evaluation, against scikit-learn and small cases by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score

from models.sentiment import evaluate
from streams.errors import SourceError


class Fixed:
    """Answers the same rows whatever it is asked."""

    model_id = "fixed"

    def __init__(self, rows: NDArray[np.float64]) -> None:
        self._rows = rows

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return self._rows[: len(texts)]


def test_confusion_and_f1_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(2)
    labels, predicted = random.integers(0, 3, 400), random.integers(0, 3, 400)
    counts = evaluate.confusion(labels, predicted)
    assert counts.tolist() == confusion_matrix(labels, predicted).tolist()
    assert evaluate.macro_f1(counts) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_calibration_error_by_hand() -> None:
    sure = np.array([[0.9, 0.1, 0.0]] * 10)
    assert evaluate.calibration_error(np.array([0] * 9 + [1]), sure) == pytest.approx(0.0)
    assert evaluate.calibration_error(np.array([0] * 5 + [1] * 5), sure) == pytest.approx(0.4)


def test_a_text_that_cannot_be_scored_counts_as_wrong() -> None:
    rows = np.array([[1.0, 0, 0], [np.nan] * 3])
    found = evaluate.on_labels(Fixed(rows), evaluate.Labelled(["a", ""], np.array([0, 0])))
    assert (found["accuracy"], found["unscored"]) == (0.5, 1)


def test_agreement_with_itself_is_whole() -> None:
    rows = np.random.default_rng(4).dirichlet([1, 1, 1], 30)
    found = evaluate.agreement(Fixed(rows), ["x"] * 30, rows)
    assert (found["same_label"], found["largest_difference"]) == (1, 0)


def test_phrasebank_is_read_whole(shared_data: Path) -> None:
    everybody = evaluate.read_phrasebank(shared_data / "phrasebank")
    assert len(everybody.texts) == 2_264
    assert np.bincount(everybody.labels).tolist() == [570, 303, 1_391]
    assert len(evaluate.read_phrasebank(shared_data / "phrasebank", "50_agree").texts) == 4_846


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Sentences_AllAgree.txt").write_text("no label here\n", encoding="latin-1")
    with pytest.raises(SourceError):
        evaluate.read_phrasebank(tmp_path)
    with pytest.raises(SourceError):
        evaluate.read_finbert_answers(tmp_path / "absent.csv.gz")
