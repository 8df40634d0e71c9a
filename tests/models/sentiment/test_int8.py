"""The int8 form: evening out its inputs changes no answer, and it says what float32 says on texts that it was not made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from models.sentiment import evaluate, finbert_network, int8, minilm, onnx_runtime, train_head
from models.sentiment.scorer import Scorer

MOST_FLIPS = 0.02  # without evening out: SEntFiN 0.023, PhraseBank all agree 0.019, half agree 0.025


@pytest.fixture(scope="module")
def exact(sentiment_cache: Path) -> Scorer:
    return minilm.load(sentiment_cache)


@pytest.fixture(scope="module")
def small(sentiment_cache: Path) -> Scorer:
    return minilm.load(sentiment_cache, int8=True)


def flips(exact: Scorer, small: Scorer, texts: list[str]) -> float:
    return float((exact.score(texts).argmax(1) != small.score(texts).argmax(1)).mean())


def answers(graph: Path, ids: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"ids": ids, "mask": np.ones_like(ids)})[0])


def test_evening_out_changes_no_answer(tiny_finbert: Path, tmp_path: Path) -> None:
    network = finbert_network.network(tiny_finbert)
    onnx_runtime.export(network, tmp_path)
    graph, even = tmp_path / onnx_runtime.GRAPH, tmp_path / "even.onnx"
    largest = int8.largest_inputs(graph, network.tokenizer, network.max_tokens)
    assert len(largest) == 2 * 4  # in each of two layers: query, key and value together, their output, and two dense ones
    int8.equalize(graph, largest, even)
    ids = np.random.default_rng(1).integers(5, 60, (4, 19))
    np.testing.assert_allclose(answers(even, ids), answers(graph, ids), atol=1e-4)
    seen = int8.largest_inputs(even, network.tokenizer, network.max_tokens)
    for name, before in largest.items():
        after = seen[f"{name}_even"]
        assert after.max() <= 1.01 * np.quantile(before, int8.EVEN_UP_TO) < before.max()


def test_channels_that_are_silent_are_left_alone() -> None:
    assert int8.divisors(np.zeros(8, dtype=np.float32)).tolist() == [1] * 8


def test_only_products_with_weights_are_in_int8(small: Scorer, sentiment_cache: Path) -> None:
    graph = onnx.load(sentiment_cache / "sentiment" / small.model_id / onnx_runtime.GRAPH).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulInteger") == 6 * 6 + 1  # six in each of six layers, and the head
    assert kinds.count("MatMul") == 6 * 2  # attention itself: queries by keys, and the weights by values


def test_few_labels_flip_on_unseen_headlines(exact: Scorer, small: Scorer, shared_data: Path) -> None:
    examples, _ = train_head.read_sentfin(shared_data / "sentfin" / "SEntFiN.csv")
    assert flips(exact, small, [example.text for example in examples if train_head.held_out(example)]) <= MOST_FLIPS


@pytest.mark.slow
@pytest.mark.parametrize("part", evaluate.PHRASEBANK)
def test_few_labels_flip_on_phrasebank(exact: Scorer, small: Scorer, shared_data: Path, part: str) -> None:
    assert flips(exact, small, evaluate.read_phrasebank(shared_data / "phrasebank", part).texts) <= MOST_FLIPS
