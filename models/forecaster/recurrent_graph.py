"""The graph that serves a recurrent network, made from its weights alone: no TensorFlow, and equal weights give equal bytes.

ONNX Runtime has one fast kernel for a whole LSTM layer; the scaler is in the layer's weights, and the ordering of the
quantiles is one matrix product, so that a forecast is a dozen operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.forecaster.base import HORIZONS_MIN, LEVELS
from models.forecaster.windows import FEATURES, WINDOW, Array

Cell = Literal["LSTM", "RNN"]
MEDIAN = len(LEVELS) // 2
CENTRE = [0, 1 + MEDIAN]  # which of a horizon's raw outputs are the mean and the median; the others are gaps
GAPS = [at for at in range(1 + len(LEVELS)) if at not in CENTRE]
COLUMNS = {"centre": CENTRE, "gap": GAPS}
OPSET, IR_VERSION = 17, 10


@dataclass(frozen=True)
class Weights:
    """One trained network, gates in Keras's order (LSTM: input, forget, cell, output).

    Parameters
    ----------
    kernel, recurrent, bias : Array
        Of the layer, for plain features: [F, G U], [U, G U], [G U], where G is 4 of an LSTM and 1 of an RNN.
    head, head_bias : Array
        [U, H (1 + Q)] and [H (1 + Q)].
    """

    cell: Cell
    kernel: Array
    recurrent: Array
    bias: Array
    head: Array
    head_bias: Array

    @property
    def units(self) -> int:
        """U."""
        return int(self.recurrent.shape[0])


def build(members: Sequence[Weights], masks: Array | None = None) -> bytes:
    """Return the graph, features [n, 50, F] to [n, H, 1 + Q], that averages the forecasts of `members`.

    Parameters
    ----------
    masks : Array | None
        [S, U], factors of the hidden units: each member then forecasts S times, its units masked, and all count
        (Monte Carlo dropout, Gal and Ghahramani 2016, with masks drawn once, so that a forecast stays a pure function).
    """
    graph = _Graph()
    graph.add("Transpose", ["features"], "steps", perm=[1, 0, 2])
    graph.constant("centre_order", _centre_order())
    graph.constant("gap_order", _gap_order())
    for number, member in enumerate(members):
        _member(graph, f"m{number}_", member, np.ones((1, member.units)) if masks is None else masks)
    graph.add("Mean", [f"m{number}_answer" for number in range(len(members))], "output")
    return bytes(graph.model().SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants while they are gathered."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operation: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operation, inputs, list(outputs), name=outputs[-1], **attributes))

    def constant(self, name: str, value: Any, kind: Any = np.float32) -> None:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=kind), name))

    def model(self) -> ModelProto:
        shapes = {"features": ["n", WINDOW, len(FEATURES)], "output": ["n", len(HORIZONS_MIN), 1 + len(LEVELS)]}
        inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes.items())
        graph = helper.make_graph(self.nodes, "recurrent", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _member(graph: _Graph, prefix: str, member: Weights, masks: Array) -> None:
    gates = {name: _onnx_order(value, member) for name, value in (("W", member.kernel), ("R", member.recurrent))}
    bias = _onnx_order(member.bias[None, :], member)[:, 0]
    for name, value in {**gates, "B": np.concatenate([bias, np.zeros_like(bias)])}.items():
        graph.constant(prefix + name, value[None])
    layer = [prefix + name for name in ("W", "R", "B")]
    graph.add(member.cell, ["steps", *layer], "", prefix + "state", hidden_size=member.units)
    graph.constant(prefix + "first", [0], np.int64)
    graph.add("Squeeze", [prefix + "state", prefix + "first"], prefix + "hidden")
    for part in COLUMNS:
        _head(graph, prefix, part, member, masks)
    graph.add("Softplus", [prefix + "gap"], prefix + "positive")
    graph.add("MatMul", [prefix + "centre", "centre_order"], prefix + "middle")
    graph.add("MatMul", [prefix + "positive", "gap_order"], prefix + "spread")
    graph.add("Add", [prefix + "middle", prefix + "spread"], prefix + "samples")
    graph.add("ReduceMean", [prefix + "samples"], prefix + "answer", axes=[1], keepdims=0)


def _onnx_order(value: Array, member: Weights) -> Array:
    """Return [., G U] of Keras as [G U, .] of ONNX, whose LSTM has its gates as input, output, forget, cell."""
    if member.cell == "RNN":
        return value.T
    entry, forget, cell, output = np.split(value, 4, axis=1)
    return np.concatenate([entry, output, forget, cell], axis=1).T


def _head(graph: _Graph, prefix: str, part: str, member: Weights, masks: Array) -> None:
    """Add the raw outputs of `part` of every horizon, [n, S, H, len(columns)], as PREFIX + PART."""
    columns = COLUMNS[part]
    shape = (len(HORIZONS_MIN), 1 + len(LEVELS))
    head = member.head.reshape(member.units, *shape)[:, :, columns].reshape(member.units, -1)
    bias = member.head_bias.reshape(shape)[:, columns].reshape(-1)
    graph.constant(prefix + part + "_weights", np.concatenate([head * mask[:, None] for mask in masks], axis=1))
    graph.constant(prefix + part + "_bias", np.tile(bias, len(masks)))
    graph.constant(prefix + part + "_shape", [-1, len(masks), len(HORIZONS_MIN), len(columns)], np.int64)
    graph.add("MatMul", [prefix + "hidden", prefix + part + "_weights"], prefix + part + "_product")
    graph.add("Add", [prefix + part + "_product", prefix + part + "_bias"], prefix + part + "_flat")
    graph.add("Reshape", [prefix + part + "_flat", prefix + part + "_shape"], prefix + part)


def _centre_order() -> Array:
    """Return [2, 1 + Q]: the mean is the first output, and every quantile starts from the median."""
    order = np.zeros((2, 1 + len(LEVELS)))
    order[0, 0] = order[1, 1:] = 1.0
    return order


def _gap_order() -> Array:
    """Return [Q - 1, 1 + Q]: a quantile is the median and all gaps between it and the median."""
    order = np.zeros((len(GAPS), 1 + len(LEVELS)))
    for gap in range(MEDIAN):
        order[gap, 1 : 2 + gap] = -1.0
        order[MEDIAN + gap, 2 + MEDIAN + gap :] = 1.0
    return order
