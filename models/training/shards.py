"""Windows on disk: one TFRecord file for each symbol and day, and an index that says what each was made of.

    HOME/training/shards/symbol=SYMBOL/date=YYYY-MM-DD.tfrecord   one `tf.train.Example` a window, by its last minute
                         schema.json                              what is in an Example
                         index.json                               an `Index`

A shard holds the windows whose last minute is of its day; their histories and targets may reach into the days beside it.
Reading a shard needs TensorFlow; writing it, and knowing about it, does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.forecaster.base import HORIZONS_MIN
from models.forecaster.windows import FEATURE_VERSION, FEATURES, WINDOW
from models.training import tfrecord
from models.training.dataset import Examples
from streams import lake
from streams.clock import MINUTE_US
from streams.errors import ModelError
from streams.settings import Settings

INDEX, SCHEMA = "index.json", "schema.json"
BATCH = 1_024  # Examples parsed in one call


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """What one file holds, and what it was made of.

    Parameters
    ----------
    source : str
        Checksum of the lake's files that it was made of, and of the rules.
    rows : int
        Minutes of the day in the lake.
    removed : dict[str, int]
        How many of them the cleaning left out, by the reason.
    runs : tuple[tuple[int, int], ...]
        The last minutes of its windows: each a first one (microseconds UTC) and how many, minute by minute.
    sha256 : str
        Checksum of the file.
    """

    symbol: str
    date: str
    source: str
    rows: int
    removed: dict[str, int]
    runs: tuple[tuple[int, int], ...]
    sha256: str

    @property
    def file(self) -> str:
        """Its place under the folder of the shards."""
        return f"symbol={lake.label(self.symbol)}/date={self.date}.tfrecord"

    @property
    def windows(self) -> int:
        """How many windows it holds."""
        return sum(count for _, count in self.runs)

    @property
    def minutes(self) -> NDArray[np.int64]:
        """The start of each window's last minute, microseconds UTC, [windows]."""
        runs = [first + MINUTE_US * np.arange(count, dtype=np.int64) for first, count in self.runs]
        return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """All shards, by symbol and date."""

    shards: tuple[Shard, ...] = ()
    feature_version: int = FEATURE_VERSION

    @property
    def windows(self) -> int:
        """How many windows all shards hold."""
        return sum(shard.windows for shard in self.shards)

    @property
    def minutes(self) -> NDArray[np.int64]:
        """The start of each window's last minute, shard by shard, [windows]."""
        parts = [shard.minutes for shard in self.shards]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def fingerprint(self) -> str:
        """Return a checksum of everything that the shards hold."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()


def folder(settings: Settings) -> Path:
    """Return the folder of the shards."""
    return settings.home / "training" / "shards"


def read_index(place: Path) -> Index:
    """Return what is in `place`; an empty index where there is none, or one of other features."""
    try:
        index = msgspec.json.decode((place / INDEX).read_bytes(), type=Index)
    except (OSError, msgspec.MsgspecError):
        return Index()
    return index if index.feature_version == FEATURE_VERSION else Index()


def schema() -> dict[str, Any]:
    """Return what is in an Example, for whoever reads the shards without us; all little-endian."""
    return {
        "feature_version": FEATURE_VERSION,
        "features": {"type": "bytes", "of": "float32", "shape": [WINDOW, len(FEATURES)], "columns": FEATURES},
        "scale": {"type": "bytes", "of": "float64", "shape": [1], "unit": "log return of a minute"},
        "targets": {"type": "bytes", "of": "float64", "shape": [len(HORIZONS_MIN)], "horizons_min": HORIZONS_MIN},
        "minute_ts_us": {"type": "int64", "unit": "microseconds since 1970 UTC", "of": "the window's last minute, its start"},
    }


def write(path: Path, examples: Examples, minutes: NDArray[np.int64]) -> str:
    """Write the windows to `path`, whole or not at all; return the file's checksum. Equal windows give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    tfrecord.write(scratch, _records(examples, minutes))
    scratch.replace(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _records(examples: Examples, minutes: NDArray[np.int64]) -> Iterator[bytes]:
    columns = (examples.features.astype("<f4"), examples.scale.astype("<f8"), examples.targets.astype("<f8"))
    for features, scale, targets, minute in zip(*columns, minutes.tolist(), strict=True):
        values = {"features": features.tobytes(), "scale": scale.tobytes(), "targets": targets.tobytes()}
        yield tfrecord.example({**values, "minute_ts_us": minute})


def read(place: Path, picked: Sequence[tuple[Shard, NDArray[np.int64]]]) -> Examples:
    """Return the windows with the numbers `picked` of each shard in `place`, shard by shard.

    Raises
    ------
    ModelError
        A file is missing or damaged.
    """
    parts = [_take(_parsed(place, shard), numbers) for shard, numbers in picked]
    symbols = np.concatenate([np.full(len(numbers), shard.symbol, dtype=object) for shard, numbers in picked])
    features, scale, targets = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Examples(features, scale, targets, symbols)


def _take(columns: Iterable[Any], numbers: NDArray[np.int64]) -> tuple[Any, ...]:
    return tuple(column[numbers] for column in columns)


def _parsed(place: Path, shard: Shard) -> tuple[Any, ...]:
    """Return features [n, 50, F], scales [n] and targets [n, H] of a shard."""
    path = place / shard.file
    try:
        batches = list(batches_of([path]))
    except Exception as error:  # TensorFlow's own errors share no base class with ours
        raise ModelError(f"{path} cannot be read ({error}); delete it and run `tickcast etl` again") from error
    columns = [np.concatenate(column) for column in zip(*batches, strict=True)] if batches else []
    if not columns or len(columns[0]) != shard.windows:
        raise ModelError(f"{path} is not what the index says; delete it and run `tickcast etl` again")
    return tuple(columns)


def batches_of(paths: Iterable[Path]) -> Iterator[tuple[Any, ...]]:
    """Yield features, scales and targets of the files `paths`, some windows at a time: the input pipeline."""
    import tensorflow as tf  # noqa: PLC0415 - seconds

    kinds = {name: tf.io.FixedLenFeature([], tf.string) for name in ("features", "scale", "targets")}

    def decoded(serialized: Any) -> Any:
        raw = tf.io.parse_example(serialized, kinds)
        features = tf.reshape(tf.io.decode_raw(raw["features"], tf.float32), [-1, WINDOW, len(FEATURES)])
        scale, targets = (tf.io.decode_raw(raw[name], tf.float64) for name in ("scale", "targets"))
        return features, tf.squeeze(scale, 1), targets

    records = tf.data.TFRecordDataset([str(path) for path in paths]).batch(BATCH)
    yield from records.map(decoded, num_parallel_calls=2).prefetch(2).as_numpy_iterator()
