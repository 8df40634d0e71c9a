"""`tickcast models list|show|promote|rollback|shadow` as a person types it, with two small models and a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from models import registry
from models.registry import StoredModel
from streams import bus, codec
from streams.errors import ModelError, SettingsError, UserError
from streams.messages import ModelAnnouncement
from streams.settings import Settings
from tests.models.forecaster.samples import stored_onnx


@pytest.fixture
def models(config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[StoredModel]:
    """Two models, the first of which became champion and then the second; commands use their home and broker."""
    for name, value in config.environment().items():
        monkeypatch.setenv(name, value)
    made = [stored_onnx(config, tmp_path / str(number), seed=number, cutoff=number) for number in (1, 2)]
    for number, model in enumerate(made):
        registry.promote(config, model, f"reason {number}")
    return made


def said(tmp_path: Path, *arguments: str) -> Any:
    report = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["models", *arguments, "--json", str(report)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(report.read_text())


def announced(config: Settings) -> list[tuple[str, bool, bool]]:
    told = (
        codec.decode(ModelAnnouncement, record.value) for record in bus.read_all(config, "models") if b":" in (record.key or b"")
    )
    return [(one.model_id, one.promoted, one.shadow) for one in told]


def test_the_list_and_one_model_tell_who_serves_and_why(models: list[StoredModel], tmp_path: Path) -> None:
    found = said(tmp_path, "list")
    assert found["champion"] == models[1].card.model_id
    assert [one["model_id"] for one in found["models"]] == [models[1].card.model_id, models[0].card.model_id]
    assert [one["reason"] for one in found["promotions"]] == ["reason 0", "reason 1"]
    shown = said(tmp_path, "show", models[0].card.model_id)
    assert (shown["model_id"], shown["promotions"]) == (models[0].card.model_id, ["reason 0"])


@pytest.mark.slow
def test_roll_back_promote_and_shadow_are_announced(config: Settings, models: list[StoredModel], tmp_path: Path) -> None:
    first, second = (model.card.model_id for model in models)
    assert said(tmp_path, "rollback")["model_id"] == first
    assert registry.promotions(config, "forecaster")[-1].model_id == first
    assert said(tmp_path, "promote", second, "--reason", "better after all")["reason"] == "better after all"
    assert said(tmp_path, "shadow", first)["shadow"] is True
    said(tmp_path, "shadow", first, "--off")
    assert announced(config) == [(first, True, False), (second, True, False), (first, False, True), (first, False, False)]
    champion = registry.champion(config, "forecaster")
    assert champion is not None
    assert champion.card.model_id == second


def test_what_cannot_be_done_is_one_sentence(config: Settings, models: list[StoredModel], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tickcast models list"):
        said(tmp_path, "promote", "lstm-nowhere")
    (models[1].folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        said(tmp_path, "promote", models[1].card.model_id)
    assert registry.champion(config, "forecaster") == models[0]


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (["train", "--strategy", "magic"], SettingsError, "auto, one and mirrored"),
        (["retrain", "--every", "soon"], SettingsError, "no length of time"),
        (["bench", "train", "--workers", "two"], SettingsError, "numbers with commas"),
        (["bench", "train", "--workers", "2,3"], UserError, "must name 1 too"),
        (["etl"], UserError, "nothing to train on"),
        (["train"], UserError, "nothing to train on"),
    ],
)
def test_a_wrong_option_and_an_empty_lake_are_one_sentence(
    arguments: list[str], kind: type[Exception], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKCAST_HOME", str(tmp_path))
    with pytest.raises(kind, match=sentence):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
