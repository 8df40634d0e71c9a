"""The FinBERT loader and its batches, on a tiny BERT with random weights."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.sentiment import finbert, finbert_network, minilm, onnx_runtime, torch_runtime
from models.sentiment.base import LABELS, load
from models.sentiment.files import sha256
from models.sentiment.scorer import Scorer, buckets
from streams import settings
from streams.errors import EnvironmentFault, ModelError
from tests.models.sentiment.texts import ORDINARY, SAYS_NOTHING, UGLY


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=["onnx", "torch"], scope="module")
def model(request: pytest.FixtureRequest, tiny_finbert: Path, cache: Path) -> Scorer:
    if request.param == "onnx":
        return finbert.load(tiny_finbert, cache)
    return torch_runtime.scorer(finbert_network.network(tiny_finbert), torch.device("cpu"))


def offline(cache: Path, **overrides: object) -> settings.Settings:
    return settings.load({}, offline=True, cache=str(cache), **overrides)


def test_batches_give_what_texts_give_one_by_one(model: Scorer) -> None:
    texts = ORDINARY * 9
    together = model.score(texts)
    alone = np.vstack([model.score([text]) for text in texts])
    assert together.shape == (len(texts), 3)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-9)


def test_columns_follow_the_labels_that_the_model_names(model: Scorer, tiny_finbert: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(tiny_finbert)
    reference = AutoModelForSequenceClassification.from_pretrained(tiny_finbert).eval()
    with torch.inference_mode():
        raw = torch.softmax(reference(**tokenizer(ORDINARY[0], return_tensors="pt")).logits[0], -1)
    named = {reference.config.id2label[column]: float(raw[column]) for column in range(3)}
    found = model.score(ORDINARY[:1])[0]
    assert dict(zip(LABELS, found, strict=True)) == pytest.approx(named, abs=1e-5)
    assert np.ptp(found) > 0.01  # otherwise the order would not show


def test_a_model_with_other_labels_is_refused() -> None:
    with pytest.raises(ModelError, match="no FinBERT"):
        finbert_network.label_order({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})


def test_any_text_is_scored_or_marked_as_saying_nothing(model: Scorer) -> None:
    found = model.score(SAYS_NOTHING + UGLY)
    assert np.isnan(found[: len(SAYS_NOTHING)]).all()
    scored = found[~np.isnan(found).any(axis=1)]
    np.testing.assert_allclose(scored.sum(axis=1), 1, atol=1e-9)
    assert np.isfinite(found[len(SAYS_NOTHING)]).all()


def test_no_text_gives_no_row(model: Scorer) -> None:
    assert model.score([]).shape == (0, 3)


def test_buckets_hold_every_text_once_within_their_budget() -> None:
    lengths = [int(n) for n in np.random.default_rng(1).integers(2, 128, 500)]
    found = buckets(lengths, 512)
    assert sorted(position for batch in found for position in batch) == list(range(500))
    assert all(len(batch) * max(lengths[position] for position in batch) <= 512 for batch in found)


def test_damaged_weights_are_refused(tiny_finbert: Path, cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_finbert, tmp_path / "copy")
    weights = finbert.weights_file(folder)
    (folder / "model.safetensors.sha256").write_text(sha256(weights), encoding="ascii")
    assert finbert.load(folder, cache).model_id == f"finbert-{sha256(weights)[:8]}"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(ModelError, match="damaged"):
        finbert.load(folder, cache)


def test_cut_weights_without_a_checksum_are_refused(tiny_finbert: Path, cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_finbert, tmp_path / "copy")
    weights = finbert.weights_file(folder)
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(ModelError, match="cannot be read"):
        finbert.load(folder, cache)


def test_auto_takes_finbert_from_a_local_folder(tiny_finbert: Path, cache: Path) -> None:
    assert load(offline(cache, finbert=str(tiny_finbert))).model_id.startswith("finbert-")


def test_auto_falls_back_with_one_line_that_says_how_to_get_finbert(
    sentiment_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    model = load(offline(sentiment_cache, finbert=str(tmp_path)))
    assert model.model_id == minilm.model_id()
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("models.")]
    assert "TICKCAST_FINBERT" in line
    assert "\n" not in line


def test_finbert_by_name_is_an_error_where_it_is_absent(cache: Path) -> None:
    with pytest.raises(EnvironmentFault, match="TICKCAST_FINBERT"):
        load(offline(cache, sentiment="finbert", finbert="nobody/no-such-model"))


def test_onnx_gives_what_torch_gives(tiny_finbert: Path, cache: Path) -> None:
    in_torch = torch_runtime.scorer(finbert_network.network(tiny_finbert), torch.device("cpu"))
    np.testing.assert_allclose(finbert.load(tiny_finbert, cache).score(ORDINARY), in_torch.score(ORDINARY), atol=1e-4)


def test_an_exported_folder_is_served_as_it_is(tiny_finbert: Path, tmp_path: Path) -> None:
    onnx_runtime.export(finbert_network.network(tiny_finbert), tmp_path / "int8", int8=True)
    model = load(offline(tmp_path, sentiment="finbert", finbert=str(tmp_path / "int8")))
    assert model.model_id == finbert.model_id(tiny_finbert) + onnx_runtime.INT8
    np.testing.assert_allclose(model.score(ORDINARY).sum(axis=1), 1, atol=1e-9)


def test_a_damaged_graph_is_refused_and_the_cache_mends_itself(tiny_finbert: Path, tmp_path: Path) -> None:
    expected = finbert.load(tiny_finbert, tmp_path).score(ORDINARY)
    (graph,) = tmp_path.glob("sentiment/*/model.onnx")
    graph.write_bytes(graph.read_bytes()[:-9])
    with pytest.raises(ModelError, match="damaged"):
        onnx_runtime.load(graph.parent)
    assert finbert.load(tiny_finbert, tmp_path).score(ORDINARY).tolist() == expected.tolist()
