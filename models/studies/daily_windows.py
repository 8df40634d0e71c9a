"""Windows of daily bars as a network sees them: read from TFRecord files, and scaled on prices or on returns.

Importing this loads no TensorFlow; :func:`read` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Array
from streams.errors import ModelError

View = Literal["prices", "returns"]
COLUMNS = ("open", "high", "low", "close", "volume", "ma7", "ma21", "ret")  # of `daily_etl.FEATURES`
CLOSE, VOLUME, RET = (COLUMNS.index(name) for name in ("close", "volume", "ret"))
KINDS = {"rows": "string", "next_close": "string", "day": "int64"}
WINDOW = 50
AT_ONCE = 1_024  # windows parsed in one call


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


class Scale(NamedTuple):
    """By what each of S symbols is scaled: features are (x - shift) / span, [S, 8] both, and targets are in `unit` [S]."""

    symbols: NDArray[np.str_]
    shift: Array
    span: Array
    unit: Array


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
        for serialized in tf.data.TFRecordDataset(str(path)).batch(AT_ONCE).as_numpy_iterator():
            raw = tf.io.parse_example(serialized, kinds)
            rows, close = (np.frombuffer(b"".join(raw[name].numpy().tolist()), "<f8") for name in ("rows", "next_close"))
            symbols = np.full(len(close), path.stem.partition("=")[2])
            parts.append(Windows(rows.reshape(-1, WINDOW, len(COLUMNS)), close, raw["day"].numpy(), symbols))
    if not parts:
        raise ModelError(f"{folder} has no windows; remove its parent folder, and run the study again")
    return Windows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def scale_of(train: Windows, view: View) -> Scale:
    """Return by what each symbol is scaled, from the windows `train` alone.

    On prices: the least value of a feature and the distance to its greatest, as published; on returns: the mean and the
    standard deviation of a feature, and that of a day's move.
    """
    symbols = np.unique(train.symbols)
    found = [_of_symbol(train.take(train.symbols == symbol), view) for symbol in symbols]
    shift, span, unit = (np.array(values) for values in zip(*found, strict=True))
    return Scale(symbols, shift, span, unit)


def _of_symbol(own: Windows, view: View) -> tuple[Array, Array, float]:
    known = _raw(own, view).reshape(-1, len(COLUMNS))
    if view == "prices":
        span = np.ptp(known, axis=0)
        return known.min(axis=0), span, float(span[CLOSE])
    return known.mean(axis=0), known.std(axis=0), float(_moved(own).std())


def seen(windows: Windows, scale: Scale, view: View) -> Scaled:
    """Return `windows` as a network sees them.

    Raises
    ------
    ModelError
        They are of a symbol that `scale` does not know.
    """
    unknown = sorted(set(windows.symbols.tolist()) - set(scale.symbols.tolist()))
    if unknown:
        raise ModelError(f"nothing of {unknown[0]} was learnt from; train on files that reach further back, or leave it out")
    of = np.searchsorted(scale.symbols, windows.symbols)
    raw = _raw(windows, view)
    features = np.empty_like(raw, dtype=np.float32)
    for at in range(len(scale.symbols)):
        features[of == at] = (raw[of == at] - scale.shift[at]) / scale.span[at]
    unit = scale.unit[of]
    if view == "prices":
        base = scale.shift[of, CLOSE]
        return Scaled(features, ((windows.next_close - base) / unit).astype(np.float32), base, unit, logarithmic=False)
    targets = (_moved(windows) / unit).astype(np.float32)
    return Scaled(features, targets, np.log(windows.last), unit, logarithmic=True)


def _raw(windows: Windows, view: View) -> Array:
    """Return prices as they are, or logarithms of everything over the newest close (volume: over its mean), [N, 50, 8]."""
    if view == "prices":
        return windows.rows
    relative: Array = np.log(np.maximum(windows.rows, 1e-12) / windows.last[:, None, None])
    volume = windows.rows[:, :, VOLUME]
    relative[:, :, VOLUME] = np.log1p(volume / np.maximum(volume.mean(axis=1, keepdims=True), 1e-12))
    relative[:, :, RET] = windows.rows[:, :, RET]
    return relative


def _moved(windows: Windows) -> Array:
    moved: Array = np.log(windows.next_close / windows.last)
    return moved
