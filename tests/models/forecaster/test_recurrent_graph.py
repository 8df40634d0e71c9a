"""The served graph against a recurrence written out by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.forecaster import onnx_model, recurrent_graph
from models.forecaster.base import HORIZONS_MIN, LEVELS
from models.forecaster.onnx_model import CHUNK, OnnxForecaster
from models.forecaster.recurrent_graph import Cell, Weights
from models.forecaster.windows import FEATURES, WINDOW, Array
from streams import settings
from tests.models.forecaster.samples import stored_onnx, windows

UNITS = 6
OUTPUTS = len(HORIZONS_MIN) * (1 + len(LEVELS))
CELLS: tuple[Cell, ...] = ("LSTM", "RNN")


def weights(cell: Cell, seed: int) -> Weights:
    chance, gates = np.random.default_rng(seed), 4 if cell == "LSTM" else 1
    sizes = [(len(FEATURES), gates * UNITS), (UNITS, gates * UNITS), (gates * UNITS,), (UNITS, OUTPUTS), (OUTPUTS,)]
    return Weights(cell, *(chance.normal(0, 0.4, size) for size in sizes))


def features(count: int) -> Array:
    return np.random.default_rng(7).normal(size=(count, WINDOW, len(FEATURES)))


def by_hand(own: Weights, seen: Array, mask: Array) -> Array:
    """Return [N, H, 1 + Q] as the definitions of the LSTM, of the RNN and of the ordered quantiles say."""
    hidden = np.zeros((len(seen), UNITS))
    memory = hidden
    for minute in range(WINDOW):
        sums = seen[:, minute] @ own.kernel + hidden @ own.recurrent + own.bias
        if own.cell == "RNN":
            hidden = np.tanh(sums)
            continue
        entry, forget, new, output = np.split(sums, 4, axis=1)
        memory = _sigmoid(forget) * memory + _sigmoid(entry) * np.tanh(new)
        hidden = _sigmoid(output) * np.tanh(memory)
    raw = ((hidden * mask) @ own.head + own.head_bias).reshape(-1, len(HORIZONS_MIN), 1 + len(LEVELS))
    gaps = np.log1p(np.exp(raw))
    median = raw[:, :, 4]
    below = [median - gaps[:, :, at:4].sum(axis=2) for at in (1, 2, 3)]
    above = [median + gaps[:, :, 5 : at + 1].sum(axis=2) for at in (5, 6, 7)]
    return np.stack([raw[:, :, 0], *below, median, *above], axis=2)


def _sigmoid(values: Array) -> Array:
    answer: Array = 1 / (1 + np.exp(-values))
    return answer


def served(graph: bytes, seen: Array) -> Array:
    answer: Array = onnx_model.session(graph).run(None, {"features": seen.astype(np.float32)})[0]
    return answer


@pytest.mark.parametrize("cell", CELLS)
def test_one_network_is_its_definition(cell: Cell) -> None:
    own, seen = weights(cell, 1), features(5)
    np.testing.assert_allclose(served(recurrent_graph.build([own]), seen), by_hand(own, seen, np.ones(UNITS)), atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_an_ensemble_is_the_mean_of_its_members(cell: Cell) -> None:
    members, seen = [weights(cell, seed) for seed in range(3)], features(5)
    expected = np.mean([by_hand(own, seen, np.ones(UNITS)) for own in members], axis=0)
    np.testing.assert_allclose(served(recurrent_graph.build(members), seen), expected, atol=1e-5)


def test_dropped_units_are_as_if_they_were_not_there_and_the_samples_are_averaged() -> None:
    own, seen = weights("LSTM", 1), features(5)
    masks = np.array([[0, 2, 2, 0, 2, 0], [2, 0, 2, 2, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=np.float64)
    expected = np.mean([by_hand(own, seen, mask) for mask in masks], axis=0)
    np.testing.assert_allclose(served(recurrent_graph.build([own], masks), seen), expected, atol=1e-5)


def test_equal_weights_give_equal_bytes_and_others_do_not() -> None:
    assert recurrent_graph.build([weights("LSTM", 1)]) == recurrent_graph.build([weights("LSTM", 1)])
    assert recurrent_graph.build([weights("LSTM", 1)]) != recurrent_graph.build([weights("LSTM", 2)])


def test_a_large_batch_gets_the_same_bits_however_many_threads_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path)
    model = OnnxForecaster(stored_onnx(own, tmp_path / "made"))
    batch = windows(3 * CHUNK + 5)
    answers = []
    for threads in (1, 2, 5):
        with ThreadPoolExecutor(threads) as pool:
            monkeypatch.setattr(onnx_model, "_threads", lambda pool=pool: pool)
            answers.append(model.forecast(batch).quantiles)
    assert answers[0].tobytes() == answers[1].tobytes() == answers[2].tobytes()
    alone = model.forecast(batch.take(slice(CHUNK, 2 * CHUNK)))
    assert answers[0][CHUNK : 2 * CHUNK].tobytes() == alone.quantiles.tobytes()
