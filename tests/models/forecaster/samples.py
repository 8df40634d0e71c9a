"""Synthetic minute rows, and a small ONNX model made without TensorFlow, for the tests of forecasting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models import registry
from models.forecaster.base import HORIZONS_MIN, QUANTILES
from models.forecaster.random_walk import Z
from models.forecaster.recurrent_recipe import card_of
from models.forecaster.windows import FEATURES, WINDOW, Windows, raw_row
from models.registry import ModelCard, StoredModel
from streams.clock import MINUTE_US
from streams.messages import Features
from streams.settings import Settings

START_US = 1_760_000_040_000_000


def rows(count: int, symbol: str = "AAPL", seed: int = 1, price: float = 100.0, scale: float = 5e-4) -> list[Features]:
    """Return `count` consecutive final minutes of a random market that begins at `price`."""
    chance = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(chance.normal(0, scale, count)))
    opens = np.concatenate([[price], close[:-1]])
    wiggle = np.exp(np.abs(chance.normal(0, scale / 3, (2, count))))
    return [
        Features(
            minute_ts_us=START_US + at * MINUTE_US,
            symbol=symbol,
            open=float(opens[at]),
            high=float(max(opens[at], close[at]) * wiggle[0, at]),
            low=float(min(opens[at], close[at]) / wiggle[1, at]),
            close=float(close[at]),
            volume=float(chance.integers(0, 1_000)),
            n_ticks=10,
            ma7=float(close[max(0, at - 6) : at + 1].mean()),
            ma21=float(close[max(0, at - 20) : at + 1].mean()),
            bars7=min(7, at + 1),
            bars21=min(21, at + 1),
            last_event_ts_us=START_US + at * MINUTE_US + 1,
            revision=10,
            final=True,
            flat=False,
            sent_mean=float(chance.uniform(-1, 1)) if at % 3 else None,
            sent_n=at % 3,
        )
        for at in range(count)
    ]


def windows(count: int, bars: int = WINDOW, price: float = 100.0) -> Windows:
    """Return `count` windows, each of another market."""
    return Windows.stack([[raw_row(row) for row in rows(bars, seed=seed, price=price)] for seed in range(count)])


def card(cutoff: int = 123) -> ModelCard:
    """Return the card of a model that this program can serve."""
    return card_of(cutoff, 1, {})


def stored_onnx(settings: Settings, folder: Path, seed: int = 1, cutoff: int = 123) -> StoredModel:
    """Store a linear model with Gaussian quantiles: a real graph, of the LSTM's shape outside, and whatever is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_linear(seed), folder / registry.SERVED)
    return registry.save(settings, card(cutoff), "lstm", folder)


def _linear(seed: int) -> onnx.ModelProto:
    chance = np.random.default_rng(seed)
    weights = chance.normal(0, 0.02, (WINDOW * len(FEATURES), len(HORIZONS_MIN))).astype(np.float32)
    spread = np.concatenate([[0.0], Z]).astype(np.float32)
    constants = {"weights": weights, "spread": spread, "flat": np.array([0, -1]), "last": np.array([2])}
    nodes = [
        helper.make_node("Reshape", ["features", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["mean"]),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Add", ["column", "spread"], ["output"]),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", WINDOW, len(FEATURES)])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", len(HORIZONS_MIN), 1 + len(QUANTILES)])]
    weights_of = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, weights_of)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
