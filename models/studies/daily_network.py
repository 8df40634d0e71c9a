"""Training of the daily study's network: one LSTM of all symbols, on prices as published or on returns as this system does.

Made for processes of its own: everything here loads TensorFlow as it begins, importing it does not.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Array
from models.studies import daily_windows, pool
from models.studies.daily_windows import COLUMNS, WINDOW, Scale, View
from models.studies.resume import Parts
from models.training.checkpoint import Checkpoint

UNITS, DROPOUT = 128, 0.2
BATCH, PATIENCE = 64, 4
# The arrays of a part that make the network and its scales, in their order; its forecasts have symbols too.
WEIGHTS = ("kernel", "recurrent", "bias", "head", "head_bias")
SCALE = tuple(f"scale_{name}" for name in Scale._fields)
FORWARD = 1_024  # windows forecast in one call
VALIDATION = 0.15 / 0.85  # of the days that are known, the newest


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One training: what is learnt from, and which days are forecast.

    Parameters
    ----------
    windows : str
        The folder of the TFRecord files.
    parts : str
        The folder of finished parts.
    known_until, until : int
        Days since 1970: windows that ask for an earlier one than `known_until` are learnt from, those from then to before
        `until` are forecast.
    """

    name: str
    windows: str
    parts: str
    view: View
    seed: int
    epochs: int
    known_until: int
    until: int


def train_alone(task: Task) -> None:
    """Train in this process, on one thread, and keep the part."""
    pool.one_thread()
    train(task)


def train(task: Task, strategy: Any = None, *, leads: bool = True) -> None:
    """Train, from where a killed one was, and keep the part where this process `leads`."""
    from models.training import loop  # noqa: PLC0415 - loads TensorFlow

    begun = time.monotonic()
    windows = daily_windows.read(Path(task.windows))
    known = windows.day < task.known_until
    border = np.quantile(windows.day[known], 1 - VALIDATION)
    learnt, asked = known & (windows.day < border), ~known & (windows.day < task.until)
    scale = daily_windows.scale_of(windows.take(learnt), task.view)
    seen = daily_windows.seen(windows, scale, task.view)
    checked = known & ~learnt
    trainer = loop.Trainer(lambda: build(task.view, task.seed), loop.Plan(task.epochs, BATCH, PATIENCE), strategy, squared)
    examples = loop.of_arrays(seen.features[learnt], seen.targets[learnt], task.seed)
    standing = Checkpoint(Path(task.parts) / f"{task.name}.checkpoint", repr(task), writes=leads)
    history = trainer.fit(examples, (seen.features[checked], seen.targets[checked]), standing)
    if leads:
        said = seen.prices(answers(trainer.network, seen.features))
        about = {"symbols": windows.symbols[asked], "day": windows.day[asked], "naive": windows.last[asked]}
        forecasts = {"said": said[asked], "came": windows.next_close[asked]}
        losses = {"loss_train": np.array(history.train), "loss_validation": np.array(history.validation)}
        cost = {"seconds": np.array(time.monotonic() - begun), "windows": learnt.sum()}
        network = dict(zip((*WEIGHTS, *SCALE), (*trainer.weights(), *scale), strict=True))
        Parts(Path(task.parts)).keep(task.name, about | forecasts | losses | cost | network)
        standing.clear()


def build(view: View, seed: int) -> Any:
    """Return the untrained network, [N, 50, 8] to [N, 1]; on returns it begins as a random walk."""
    from models.forecaster.recurrent import keras  # noqa: PLC0415 - seconds

    own = 10 * seed
    first = keras.initializers.Zeros() if view == "returns" else keras.initializers.GlorotUniform(own + 1)
    recurrent = keras.layers.LSTM(
        UNITS,
        kernel_initializer=keras.initializers.GlorotUniform(own + 2),
        recurrent_initializer=keras.initializers.Orthogonal(seed=own + 3),
        seed=own + 4,
    )
    inputs = keras.Input((WINDOW, len(COLUMNS)))
    hidden = keras.layers.Dropout(DROPOUT, seed=own + 5)(recurrent(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=first)(hidden))


def squared(target: Any, output: Any) -> Any:
    """Return the squared error of each window."""
    return (target - output[:, 0]) ** 2


def answers(network: Any, features: NDArray[np.float32]) -> Array:
    """Return what `network` says of windows [N, 50, 8], scaled: [N], in units of the target."""
    chunks = [features[at : at + FORWARD] for at in range(0, len(features), FORWARD)]
    return np.concatenate([np.asarray(network(chunk, training=False), dtype=np.float64)[:, 0] for chunk in chunks])
