"""`tickcast models sentiment`: as a person types it, in a process of its own where speed matters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.models_cli import app
from models.sentiment import onnx_runtime
from models.sentiment.base import LABELS
from streams.errors import EnvironmentFault, SettingsError, SourceError


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, sentiment_cache: Path) -> Iterator[None]:
    monkeypatch.setenv("TICKCAST_OFFLINE", "1")
    monkeypatch.setenv("TICKCAST_CACHE", str(sentiment_cache))
    yield


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["sentiment", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_list_says_what_is_here_and_how_to_get_the_rest() -> None:
    text = said("list")
    assert "minilm-int8" in text
    assert "TICKCAST_FINBERT" in text


def test_an_export_is_a_model_that_can_be_served(tmp_path: Path) -> None:
    assert "-int8" in said("export", str(tmp_path / "out"), "--model", "minilm-int8")
    assert onnx_runtime.load(tmp_path / "out").score(["Profit rose."]).shape == (1, 3)


def test_an_evaluation_writes_figures_for_programs_and_a_plot(tmp_path: Path) -> None:
    (tmp_path / "phrasebank").mkdir()
    for name in ("Sentences_AllAgree.txt", "Sentences_50Agree.txt"):
        lines = [f"Profit of unit {n} {('rose', 'fell', 'is told')[n % 3]}@{LABELS[n % 3]}" for n in range(9)]
        (tmp_path / "phrasebank" / name).write_text("\n".join(lines), encoding="utf-8")
    report, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    text = said("evaluate", "--data", str(tmp_path), "--model", "minilm", "--json", str(report), "--plot", str(plot))
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert {"accuracy", "macro_f1", "headlines_per_s", "ece", "confusion"} <= figures["minilm"].keys()
    assert plot.read_text(encoding="utf-8").count("<svg") == 1
    assert "fine-tuned on PhraseBank" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["evaluate", "--model", "nope"], SettingsError),
        (["evaluate", "--data", "/does/not/exist"], SourceError),
        (["export", "/dev/null/folder", "--model", "minilm"], EnvironmentFault),
        (["export", "anywhere", "--model", "finbert"], EnvironmentFault),
    ],
)
def test_what_a_person_can_mend_is_a_user_error(arguments: list[str], kind: type[Exception]) -> None:
    with pytest.raises(kind) as error:
        said(*arguments)
    assert "\n" not in str(error.value)


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, deploy.cli; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
