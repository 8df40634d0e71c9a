"""Training of the daily study's network: one LSTM of all symbols, on prices as published or on returns as this system does.

Made for processes of its own: everything here loads TensorFlow as it begins, importing it does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Array
from models.studies import pool
from models.studies.resume import Parts
from models.training.checkpoint import Checkpoint
from streams.errors import ModelError

View = Literal["prices", "returns"]
COLUMNS = ("open", "high", "low", "close", "volume", "ma7", "ma21", "ret")  # of `daily_etl.FEATURES`
CLOSE, VOLUME, RET = (COLUMNS.index(name) for name in ("close", "volume", "ret"))
KINDS = {"rows": "string", "next_close": "string", "day": "int64"}
WINDOW, UNITS, DROPOUT = 50, 128, 0.2
BATCH, PATIENCE = 64, 4
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


class Windows(NamedTuple):
    """Rows [N, 50, 8], the close that is asked for and its day [N], and which symbol it is of [N]."""

    rows: Array
    next_close: Array
    day: NDArray[np.int64]
    symbols: NDArray[np.str_]

    def take(self, index: Any) -> Windows:
        """Return those that the numpy index selects."""
        return Windows(*(column[index] for column in self))

    @property
    def last(self) -> Array:
        """The newest close of each window: what persistence says."""
        newest: Array = self.rows[:, -1, CLOSE]
        return newest


class Scaled(NamedTuple):
    """What the network sees and is asked for, and how its answer becomes a price: base + unit x, or the exponential of that."""

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    base: Array
    unit: Array
    logarithmic: bool

    def prices(self, said: Array) -> Array:
        """Return answers [N] as prices."""
        linear: Array = self.base + self.unit * said
        return np.exp(linear) if self.logarithmic else linear


def read(folder: Path) -> Windows:
    """Return all windows in the TFRecord files of `folder`, by symbol and day."""
    from models.forecaster.recurrent import tf  # noqa: PLC0415 - seconds

    kinds = {name: tf.io.FixedLenFeature([], kind) for name, kind in KINDS.items()}
    parts = []
    for path in sorted(folder.glob("symbol=*.tfrecord")):
        for serialized in tf.data.TFRecordDataset(str(path)).batch(FORWARD).as_numpy_iterator():
            raw = tf.io.parse_example(serialized, kinds)
            rows, close = (np.frombuffer(b"".join(raw[name].numpy().tolist()), "<f8") for name in ("rows", "next_close"))
            symbols = np.full(len(close), path.stem.partition("=")[2])
            parts.append(Windows(rows.reshape(-1, WINDOW, len(COLUMNS)), close, raw["day"].numpy(), symbols))
    if not parts:
        raise ModelError(f"{folder} has no windows; remove its parent folder, and run the study again")
    return Windows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def scaled(windows: Windows, train: NDArray[np.bool_], view: View) -> Scaled:
    """Return `windows` as a network sees them; whatever is scaled by comes from the windows `train` of the same symbol."""
    return _prices(windows, train) if view == "prices" else _returns(windows, train)


def _prices(windows: Windows, train: NDArray[np.bool_]) -> Scaled:
    """Return everything between the least and the greatest of the symbol's training part, as published."""
    features = np.empty_like(windows.rows, dtype=np.float32)
    base, unit = (np.empty(len(windows.day)) for _ in range(2))
    for own in _by_symbol(windows):
        known = windows.rows[own & train].reshape(-1, len(COLUMNS))
        low, span = known.min(axis=0), np.ptp(known, axis=0)
        features[own] = (windows.rows[own] - low) / span
        base[own], unit[own] = low[CLOSE], span[CLOSE]
    return Scaled(features, ((windows.next_close - base) / unit).astype(np.float32), base, unit, logarithmic=False)


def _returns(windows: Windows, train: NDArray[np.bool_]) -> Scaled:
    """Return logarithms of everything over the newest close (volume: over its mean), in units of a day's volatility."""
    relative = np.log(np.maximum(windows.rows, 1e-12) / windows.last[:, None, None])
    volume = windows.rows[:, :, VOLUME]
    relative[:, :, VOLUME] = np.log1p(volume / np.maximum(volume.mean(axis=1, keepdims=True), 1e-12))
    relative[:, :, RET] = windows.rows[:, :, RET]
    moved = np.log(windows.next_close / windows.last)
    features, unit = np.empty_like(relative, dtype=np.float32), np.empty(len(moved))
    for own in _by_symbol(windows):
        known = relative[own & train].reshape(-1, len(COLUMNS))
        features[own] = (relative[own] - known.mean(axis=0)) / known.std(axis=0)
        unit[own] = moved[own & train].std()
    return Scaled(features, (moved / unit).astype(np.float32), np.log(windows.last), unit, logarithmic=True)


def _by_symbol(windows: Windows) -> Iterator[NDArray[np.bool_]]:
    return (windows.symbols == symbol for symbol in np.unique(windows.symbols))


def train_alone(task: Task) -> None:
    """Train in this process, on one thread, and keep the part."""
    pool.one_thread()
    train(task)


def train(task: Task, strategy: Any = None, *, leads: bool = True) -> None:
    """Train, from where a killed one was, and keep the part where this process `leads`."""
    from models.training import loop  # noqa: PLC0415 - loads TensorFlow

    begun = time.monotonic()
    windows = read(Path(task.windows))
    known = windows.day < task.known_until
    border = np.quantile(windows.day[known], 1 - VALIDATION)
    learnt, asked = known & (windows.day < border), ~known & (windows.day < task.until)
    seen = scaled(windows, learnt, task.view)
    checked = known & ~learnt
    trainer = loop.Trainer(lambda: build(task), loop.Plan(task.epochs, BATCH, PATIENCE), strategy, squared)
    examples = loop.of_arrays(seen.features[learnt], seen.targets[learnt], task.seed)
    standing = Checkpoint(Path(task.parts) / f"{task.name}.checkpoint", repr(task), writes=leads)
    history = trainer.fit(examples, (seen.features[checked], seen.targets[checked]), standing)
    if leads:
        said = seen.prices(_answers(trainer.network, seen.features))
        about = {"symbols": windows.symbols[asked], "day": windows.day[asked], "naive": windows.last[asked]}
        forecasts = {"said": said[asked], "came": windows.next_close[asked]}
        losses = {"loss_train": np.array(history.train), "loss_validation": np.array(history.validation)}
        Parts(Path(task.parts)).keep(
            task.name, about | forecasts | losses | {"seconds": np.array(time.monotonic() - begun), "windows": learnt.sum()}
        )
        standing.clear()


def build(task: Task) -> Any:
    """Return the untrained network, [N, 50, 8] to [N, 1]; on returns it begins as a random walk."""
    from models.forecaster.recurrent import keras  # noqa: PLC0415 - seconds

    own = 10 * task.seed
    first = keras.initializers.Zeros() if task.view == "returns" else keras.initializers.GlorotUniform(own + 1)
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


def _answers(network: Any, features: NDArray[np.float32]) -> Array:
    chunks = [features[at : at + FORWARD] for at in range(0, len(features), FORWARD)]
    return np.concatenate([np.asarray(network(chunk, training=False), dtype=np.float64)[:, 0] for chunk in chunks])
