"""The figures of the evaluation, against scikit-learn and small cases by hand."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score

from models.sentiment import evaluate, evaluation_report, finbert, onnx_runtime
from models.sentiment.base import LABELS
from streams import settings
from streams.errors import EnvironmentFault, ModelError, SourceError


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


def test_temperature_scaling_mends_what_is_too_sure() -> None:
    random = np.random.default_rng(6)
    honest = random.dirichlet([1, 1, 1], 4_000)
    labels = np.array([random.choice(3, p=row) for row in honest])
    sure = evaluate.scaled(honest, 1 / 3)
    found = evaluate.temperature_scaling(labels, sure)
    assert found["temperature"] == pytest.approx(3, abs=0.4)
    assert found["ece_scaled"] < 0.05 < evaluate.calibration_error(labels, sure)


def test_reliability_counts_every_text() -> None:
    rows = np.random.default_rng(5).dirichlet([1, 1, 1], 200)
    found = evaluate.reliability(rows.argmax(1), rows)
    assert found[:, 2].sum() == 200
    assert (found[:, 1] == 1).all()
    assert found[:, 0] @ found[:, 2] / 200 == pytest.approx(rows.max(1).mean())


def test_a_text_that_cannot_be_scored_counts_as_wrong() -> None:
    rows = np.array([[1.0, 0, 0], [1.0, 0, 0], [np.nan] * 3, [0, 0, 1.0]])
    found = evaluate.on_labels(Fixed(rows), evaluate.Labelled(["a", "b", "", "c"], np.array([0, 0, 0, 2])))
    assert (found["accuracy"], found["unscored"]) == (0.75, 1)


def test_agreement_with_itself_is_whole() -> None:
    rows = np.random.default_rng(4).dirichlet([1, 1, 1], 30)
    found = evaluate.agreement(Fixed(rows), ["x"] * 30, rows)
    assert (found["same_label"], found["largest_difference"]) == (1, 0)


def test_phrasebank_is_read_whole(shared_data: Path) -> None:
    everybody = evaluate.read_phrasebank(shared_data / "phrasebank")
    assert len(everybody.texts) == 2_264
    assert np.bincount(everybody.labels).tolist() == [570, 303, 1_391]
    assert len(evaluate.read_phrasebank(shared_data / "phrasebank", "50_agree").texts) == 4_846


@pytest.fixture
def exam(tmp_path: Path) -> evaluate.Exam:
    """Return an exam of a few texts, read from files shaped as the real ones are."""
    (tmp_path / "phrasebank").mkdir()
    lines = "\n".join(f"text {n}@{LABELS[n % 3]}" for n in range(12))
    for name, encoding in evaluate.PHRASEBANK.values():
        (tmp_path / "phrasebank" / name).write_text(lines, encoding=encoding)
    without = evaluate.read_exam(tmp_path)
    assert without.answers is None
    (tmp_path / "finbert-outputs").mkdir()
    with gzip.open(tmp_path / evaluate.ANSWERS, "wt", encoding="utf-8") as file:
        file.write("sentence_as_scored,p_positive,p_negative,p_neutral\n" + "rose,0.5,0.25,0.25\nfell,0.25,0.5,0.25\n")
    return evaluate.read_exam(tmp_path)


def test_an_exam_asks_for_everything_once(exam: evaluate.Exam) -> None:
    done: list[int] = []
    found = evaluate.evaluate(Fixed(np.random.default_rng(1).dirichlet([1, 1, 1], 12)), exam, done.append)
    assert sum(done) == exam.n == 12 + 12 + 2
    assert {
        "model_id",
        "accuracy",
        "macro_f1",
        "ece",
        "headlines_per_s",
        "finbert_answers",
        "phrasebank_50_agree",
    } <= found.keys()


@pytest.mark.parametrize("name", ["plot.png", "plot.svg"])
def test_the_plot_shows_every_model(exam: evaluate.Exam, tmp_path: Path, name: str) -> None:
    figures = {model: evaluate.evaluate(Fixed(np.random.default_rng(1).dirichlet([1, 1, 1], 12)), exam) for model in ("a", "b")}
    evaluation_report.reliability(figures, tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5_000
    assert len(list(evaluation_report.tables(figures))) == 1 + 2 + 1


def test_a_plot_that_cannot_be_written_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        evaluation_report.reliability({"a": {"reliability": [[1, 1, 1]], "accuracy": 1, "ece": 0}}, tmp_path / "no" / "plot.png")


def test_the_loader_repeats_what_finbert_answered(shared_data: Path, tmp_path: Path) -> None:
    own = settings.load(offline=True)
    try:
        folder = finbert.locate(own)
    except ModelError:
        pytest.skip("FinBERT's weights are not on this machine, so its recorded answers cannot be repeated")
    texts, answers = evaluate.read_finbert_answers(shared_data / evaluate.ANSWERS)
    model = finbert.load(folder, tmp_path)
    within = 2e-2 if model.model_id.endswith(onnx_runtime.INT8) else 1e-3
    np.testing.assert_allclose(model.score_as_is(texts), answers, atol=within)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Sentences_AllAgree.txt").write_text("no label here\n", encoding="latin-1")
    with pytest.raises(SourceError):
        evaluate.read_phrasebank(tmp_path)
    with pytest.raises(SourceError):
        evaluate.read_finbert_answers(tmp_path / "absent.csv.gz")
