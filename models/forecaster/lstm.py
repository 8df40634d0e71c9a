"""The LSTM, in Keras: built, trained and exported here, served by `onnx_model.py`. Importing this loads TensorFlow.

It starts as a random walk (mean 0, Gaussian quantiles) and departs from it only as far as the data pull it.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.quiet import stderr_muted

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # for the time after loading; while they load its libraries heed no level
with stderr_muted():
    import keras
    import tensorflow as tf
    from keras import ops

from models.forecaster.base import HORIZONS_MIN, LEVELS
from models.forecaster.windows import FEATURES, WINDOW
from streams.errors import ModelError

UNITS = 128
DROPOUT = 0.2
INPUT_DROPOUT = 0.3  # windows overlap by 49 minutes of 50, so without it the network learns them by heart in two epochs
THREADS = 2  # training leaves the other cores to the stages that serve
LARGEST_DIFFERENCE = 1e-4  # Keras against ONNX Runtime, in volatilities

MEDIAN = len(LEVELS) // 2
Z = [NormalDist().inv_cdf(level) for level in LEVELS.tolist()]
Scaler = dict[str, tuple[float, float]]


def prepare(seed: int) -> None:
    """Seed everything, and keep TensorFlow to :data:`THREADS` threads (without effect once it has computed something)."""
    if tf.config.threading.get_intra_op_parallelism_threads() == 0:
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    keras.utils.set_random_seed(seed)


def build(scaler: Scaler) -> Any:
    """Return the untrained network: [N, 50, F] features to [N, H, 1 + Q], the mean and the quantiles.

    Outputs are in units of scale sqrt(h), see :class:`models.forecaster.windows.Windows`. Quantiles are ordered by
    construction: the median, and positive gaps summed outwards from it.

    Parameters
    ----------
    scaler : Scaler
        Mean and standard deviation of each feature in the training part. A feature that never varied there is muted:
        the network has learnt nothing about it.
    """
    inputs = keras.Input((WINDOW, len(FEATURES)), name="features")
    noisy = keras.layers.Dropout(INPUT_DROPOUT)(_normalised(inputs, scaler))
    hidden = keras.layers.LSTM(UNITS)(noisy)
    hidden = keras.layers.Dropout(DROPOUT)(hidden)
    raw = keras.layers.Dense(
        len(HORIZONS_MIN) * (1 + len(LEVELS)),
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(_random_walk_bias()),
    )(hidden)
    raw = keras.layers.Reshape((len(HORIZONS_MIN), 1 + len(LEVELS)))(raw)
    return keras.Model(inputs, _ordered(raw))


def _normalised(inputs: Any, scaler: Scaler) -> Any:
    scales = [1.0 / deviation if deviation > 1e-6 else 0.0 for _, deviation in map(scaler.__getitem__, FEATURES)]
    offsets = [-scaler[name][0] * scale for name, scale in zip(FEATURES, scales, strict=True)]
    return keras.layers.Rescaling(scales, offsets)(inputs)


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


def loss(target: Any, output: Any) -> Any:
    """Return the mean pinball loss of the quantiles plus a Huber loss of the mean (jumps must not rule it).

    Parameters
    ----------
    target : Any
        [N, H, 2], returns in units of scale sqrt(h), and the window's weight.
    output : Any
        [N, H, 1 + Q], as :func:`build` gives.
    """
    target = ops.cast(target, output.dtype)
    returns, weight = target[:, :, :1], target[:, :, 1:]
    miss = returns - output[:, :, 1:]
    levels = ops.convert_to_tensor(LEVELS.astype(np.float32))
    pinball = ops.mean(weight * ops.maximum(levels * miss, (levels - 1.0) * miss))
    return pinball + 0.1 * keras.losses.huber(weight * returns, weight * output[:, :, :1], delta=2.0)


def fit(
    network: Any,
    train: tuple[NDArray[np.float32], NDArray[np.float32]],
    validation: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    epochs: int,
    tell: Callable[[int], None],
) -> None:
    """Train `network` in place on (features, targets as in :func:`loss`) and leave it with its best weights on `validation`.

    `tell` is called after each epoch with how many are done.

    Raises
    ------
    ModelError
        The loss is no longer a number.
    """
    network.compile(optimizer=keras.optimizers.Adam(1e-3, clipnorm=1.0), loss=loss)
    callbacks = [
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _logs: tell(epoch + 1)),
    ]
    history = network.fit(
        *train,
        validation_data=validation,
        epochs=epochs,
        batch_size=256,
        verbose=0,
        callbacks=callbacks,
    )
    if not math.isfinite(history.history["loss"][-1]):
        raise ModelError("training diverged: the loss is not a number; look for damaged rows in the lake")


def write(network: Any, folder: Path, sample: NDArray[np.float32], tolerance: float = LARGEST_DIFFERENCE) -> None:
    """Write `model.keras` and `model.onnx` into `folder` after comparing the two on the features `sample`.

    Raises
    ------
    ModelError
        They differ by more than `tolerance`, in volatilities.
    """
    expected = ops.convert_to_numpy(network(sample, training=False))
    with warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning):  # Keras and TensorFlow still speak numpy 1
            warnings.simplefilter("ignore", kind)
        network.save(folder / "model.keras")
        network.export(folder / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    served = session.run(None, {session.get_inputs()[0].name: sample})[0]
    difference = float(np.abs(served - expected).max())
    if not difference <= tolerance:  # a NaN is refused too
        raise ModelError(f"the ONNX export differs from Keras by {difference:.2g}; it is not stored")
