"""Recurrent networks in Keras, built and trained here, served by `onnx_model.py`. Importing this loads TensorFlow.

A network starts as a random walk (mean 0, Gaussian quantiles) and departs from it only as far as the data pull it.
`recurrent_graph.py` turns the trained weights into the graph that is served; `recipes.py` puts the two together.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.quiet import stderr_muted

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # for the time after loading; while they load its libraries heed no level
with stderr_muted():
    import keras
    import tensorflow as tf
    from keras import ops

from models.forecaster import onnx_model, recurrent_graph
from models.forecaster.base import HORIZONS_MIN, LEVELS
from models.forecaster.recurrent_graph import Cell, Weights
from models.forecaster.windows import FEATURES, WINDOW
from streams.errors import ModelError

UNITS = 128
DROPOUT = 0.2
INPUT_DROPOUT = 0.3  # windows overlap by 49 minutes of 50, so without it the network learns them by heart in two epochs
THREADS = 2  # training leaves the other cores to the stages that serve
LARGEST_DIFFERENCE = 1e-5  # Keras against ONNX Runtime, in volatilities
Precision = Literal["float32", "mixed_bfloat16"]
LAYERS: dict[Cell, Any] = {"LSTM": keras.layers.LSTM, "RNN": keras.layers.SimpleRNN}

MEDIAN = len(LEVELS) // 2
Z = [NormalDist().inv_cdf(level) for level in LEVELS.tolist()]
__all__ = ["build", "check", "in_full_precision", "keras", "losses", "prepare", "tf", "weights", "write"]
Scaler = dict[str, tuple[float, float]]
Samples = NDArray[np.float32]


def prepare() -> None:
    """Make TensorFlow repeat its sums in one order, on :data:`THREADS` threads (heeded before it computes anything)."""
    tf.config.experimental.enable_op_determinism()
    with suppress(RuntimeError):  # it has computed something already
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)


def build(scaler: Scaler, cell: Cell = "LSTM", *, seed: int = 0, dropout: bool = True, precision: Precision = "float32") -> Any:
    """Return the untrained network: [N, 50, F] features to [N, H, 1 + Q], the mean and the quantiles.

    Outputs are in units of scale sqrt(h), see :class:`models.forecaster.windows.Windows`. Quantiles are ordered by
    construction: the median, and positive gaps summed outwards from it.

    Parameters
    ----------
    scaler : Scaler
        Mean and standard deviation of each feature in the training part. A feature that never varied there is muted:
        the network has learnt nothing about it.
    cell : Cell
        Which recurrent layer.
    seed : int
        Of the first weights and of what is dropped; nothing else here is random.
    dropout : bool
        Whether anything is dropped while it is trained.
    precision : Precision
        Of the recurrent layer; its weights, and all that comes behind it, are float32 in any case.
    """
    shares = (INPUT_DROPOUT, DROPOUT) if dropout else (0.0, 0.0)
    inputs = keras.Input((WINDOW, len(FEATURES)), name="features")
    scales, offsets = normalisation(scaler)
    noisy = keras.layers.Dropout(shares[0], seed=seed + 1)(keras.layers.Rescaling(scales, offsets)(inputs))
    first = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed + 2),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=seed + 3),
        "seed": seed + 5,
        "dtype": precision,
    }
    hidden = LAYERS[cell](UNITS, name="recurrent", **first)(noisy)
    hidden = keras.layers.Dropout(shares[1], seed=seed + 4)(hidden)
    raw = keras.layers.Dense(
        len(HORIZONS_MIN) * (1 + len(LEVELS)),
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(_random_walk_bias()),
        name="head",
        dtype="float32",
    )(hidden)
    raw = keras.layers.Reshape((len(HORIZONS_MIN), 1 + len(LEVELS)))(raw)
    return keras.Model(inputs, _ordered(raw))


def normalisation(scaler: Scaler) -> tuple[list[float], list[float]]:
    """Return what each feature is multiplied by, and what is then added to it."""
    scales = [1.0 / deviation if deviation > 1e-6 else 0.0 for _, deviation in map(scaler.__getitem__, FEATURES)]
    return scales, [-scaler[name][0] * scale for name, scale in zip(FEATURES, scales, strict=True)]


def _random_walk_bias() -> list[float]:
    gaps = np.diff(Z)
    inverse_softplus = np.log(np.expm1(gaps)).tolist()
    one_horizon = [0.0, *inverse_softplus[:MEDIAN], 0.0, *inverse_softplus[MEDIAN:]]
    return one_horizon * len(HORIZONS_MIN)


def _ordered(raw: Any) -> Any:
    mean, median = raw[:, :, :1], raw[:, :, 1 + MEDIAN : 2 + MEDIAN]
    gaps_below = ops.softplus(raw[:, :, 1 : 1 + MEDIAN])
    gaps_above = ops.softplus(raw[:, :, 2 + MEDIAN :])
    below = [median - ops.sum(gaps_below[:, :, at:], axis=-1, keepdims=True) for at in range(MEDIAN)]
    above = [median + ops.sum(gaps_above[:, :, : at + 1], axis=-1, keepdims=True) for at in range(MEDIAN)]
    return ops.concatenate([mean, *below, median, *above], axis=-1)


def losses(target: Any, output: Any) -> Any:
    """Return of each window the mean pinball loss of its quantiles plus a Huber loss of the mean, which jumps must not rule; [N].

    Parameters
    ----------
    target : Any
        [N, H, 2], returns in units of scale sqrt(h), and the window's weight.
    output : Any
        [N, H, 1 + Q], as :func:`build` gives.
    """
    target, output = ops.cast(target, "float32"), ops.cast(output, "float32")
    returns, weight = target[:, :, :1], target[:, :, 1:]
    miss = returns - output[:, :, 1:]
    levels = ops.convert_to_tensor(LEVELS.astype(np.float32))
    pinball = ops.mean(weight * ops.maximum(levels * miss, (levels - 1.0) * miss), axis=(1, 2))
    return pinball + 0.1 * ops.mean(keras.losses.huber(weight * returns, weight * output[:, :, :1], delta=2.0), axis=1)


def in_full_precision(network: Any, scaler: Scaler) -> Any:
    """Return a float32 network with the weights of `network`, made by :func:`build` with `scaler`: what is stored and served."""
    recurrent = network.get_layer("recurrent")
    if recurrent.compute_dtype == "float32":
        return network
    full = build(scaler, _cell(recurrent))
    full.set_weights(network.get_weights())
    return full


def _cell(recurrent: Any) -> Cell:
    return "LSTM" if isinstance(recurrent, keras.layers.LSTM) else "RNN"


def weights(network: Any, scaler: Scaler) -> Weights:
    """Return the weights of `network`, made by :func:`build` with `scaler`; the scaler is folded into the first layer."""
    cell = _cell(network.get_layer("recurrent"))
    kernel, recurrent, bias = (np.asarray(value, np.float64) for value in network.get_layer("recurrent").get_weights())
    scales, offsets = (np.array(values) for values in normalisation(scaler))
    head, head_bias = (np.asarray(value, np.float64) for value in network.get_layer("head").get_weights())
    return Weights(cell, kernel * scales[:, None], recurrent, bias + offsets @ kernel, head, head_bias)


def write(network: Any, scaler: Scaler, folder: Path, sample: Samples, tolerance: float = LARGEST_DIFFERENCE) -> None:
    """Write `model.keras` and `model.onnx` into `folder` after comparing the two on the features `sample`.

    Raises
    ------
    ModelError
        They differ by more than `tolerance`, in volatilities.
    """
    graph = recurrent_graph.build([weights(network, scaler)])
    check(network, graph, sample, tolerance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorFlow's variables still speak numpy 1
        network.save(folder / "model.keras")
    (folder / "model.onnx").write_bytes(graph)


def check(network: Any, graph: bytes, sample: Samples, tolerance: float = LARGEST_DIFFERENCE) -> None:
    """Compare what Keras and ONNX Runtime make of the features `sample`.

    Raises
    ------
    ModelError
        They differ by more than `tolerance`, in volatilities.
    """
    expected = ops.convert_to_numpy(network(sample, training=False))
    session = onnx_model.session(graph)
    served = session.run(None, {session.get_inputs()[0].name: sample})[0]
    difference = float(np.abs(served - expected).max())
    if not difference <= tolerance:  # a NaN is refused too
        raise ModelError(f"the ONNX graph differs from Keras by {difference:.2g}; it is not stored")
