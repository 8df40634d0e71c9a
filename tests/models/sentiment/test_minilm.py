"""The offline default: what ships loads, is whole, and understands headlines that it never saw."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.sentiment import evaluate, minilm, minilm_network, torch_runtime, train_head
from models.sentiment.base import LABELS
from models.sentiment.files import sha256
from models.sentiment.scorer import Scorer
from streams.errors import ModelError
from tests.models.sentiment.texts import ORDINARY, SAYS_NOTHING, UGLY


@pytest.fixture(scope="module")
def model(sentiment_cache: Path) -> Scorer:
    return minilm.load(sentiment_cache)


def test_the_model_names_its_weights(model: Scorer) -> None:
    assert model.model_id == f"minilm-{sha256(minilm.HEAD_FILE)[:8]}"


def test_what_ships_is_small() -> None:
    assert minilm.HEAD_FILE.stat().st_size < 4 * 2**20


def test_batches_give_what_texts_give_one_by_one(model: Scorer) -> None:
    texts = ORDINARY * 5
    alone = np.vstack([model.score([text]) for text in texts])
    np.testing.assert_allclose(model.score(texts), alone, atol=1e-5)


def test_any_text_is_scored_or_marked_as_saying_nothing(model: Scorer) -> None:
    found = model.score(SAYS_NOTHING + UGLY)
    assert np.isnan(found[: len(SAYS_NOTHING)]).all()
    scored = found[~np.isnan(found).any(axis=1)]
    assert len(scored) == len(UGLY) - 1  # a word of a million letters is none that the model knows
    np.testing.assert_allclose(scored.sum(axis=1), 1, atol=1e-9)


def test_onnx_gives_what_torch_gives(model: Scorer) -> None:
    in_torch = torch_runtime.scorer(minilm_network.network(), torch.device("cpu"))
    np.testing.assert_allclose(model.score(ORDINARY), in_torch.score(ORDINARY), atol=1e-4)


def test_a_damaged_or_missing_head_is_refused(tmp_path: Path) -> None:
    head = Path(shutil.copy(minilm.HEAD_FILE, tmp_path))
    with pytest.raises(ModelError, match="cannot be read"):
        minilm.load(tmp_path, head)
    shutil.copy(minilm.HEAD_FILE.with_suffix(".sha256"), tmp_path)
    damaged = bytearray(head.read_bytes())
    damaged[-1] ^= 1
    head.write_bytes(damaged)
    with pytest.raises(ModelError, match="damaged"):
        minilm.load(tmp_path, head)


def test_a_file_that_is_no_head_is_refused(tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    head.write_bytes(b"nothing of the kind")
    head.with_suffix(".sha256").write_text(sha256(head), encoding="ascii")
    with pytest.raises(ModelError, match="not a head"):
        minilm.load(tmp_path, head)


def test_our_own_headlines_are_many_distinct_and_labelled() -> None:
    with train_head.OWN_HEADLINES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["text"] for row in rows}) == len(rows) >= 500
    assert {row["label"] for row in rows} == set(LABELS)


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall("[a-z]+", text.lower()))


def test_our_own_headlines_share_no_sentence_with_the_evaluation(shared_data: Path) -> None:
    theirs = {
        words(text) for part in evaluate.PHRASEBANK for text in evaluate.read_phrasebank(shared_data / "phrasebank", part).texts
    }
    ours = {words(example.text) for example in train_head.read_own()}
    near = [(one, other) for one in ours for other in theirs if len(one & other) > 0.75 * len(one | other)]
    assert not near


def test_sentfin_is_read_with_its_broken_cells_counted(shared_data: Path) -> None:
    examples, skipped = train_head.read_sentfin(shared_data / "sentfin" / "SEntFiN.csv")
    assert (len(examples), skipped) == (10_740, 13)
    assert all(abs(sum(example.target) - 1) < 1e-9 for example in examples)


@pytest.mark.slow
def test_it_is_good_on_sentences_that_it_never_saw(model: Scorer, shared_data: Path) -> None:
    found = evaluate.on_labels(model, evaluate.read_phrasebank(shared_data / "phrasebank"))
    assert found["accuracy"] >= 0.80  # a logistic head on the frozen encoder, trained on SEntFiN: 0.738
    assert found["macro_f1"] >= 0.77  # and 0.717
