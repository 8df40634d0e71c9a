"""Which tapes there are to choose from: the folders in `TICKCAST_TAPES`, and the lake; and which one runs."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import polars as pl

from consumers.console.tapes import Tape
from deploy import running
from producers import tapes
from producers.recorded import RecordedTape
from producers.replay import SUFFIXES
from streams import lake
from streams.errors import SettingsError, TickcastError
from streams.settings import Settings

LOOK_EVERY_S = 20.0  # a lake of years has a hundred thousand files to walk over, and every page that is open asks every 5 s
PARTS = 120  # of a tape's time, for the picture of its volume
LAKE = "lake"


class HomeTapes:
    """The tapes of a home. Whether the files of one have changed is looked at every :data:`LOOK_EVERY_S`, whoever asks how often.

    Parameters
    ----------
    settings : Settings
        Where the tapes and the lake are.
    clock : Callable[[], float]
        Seconds that only grow.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()  # who asks while somebody looks waits for what is found
        self._seen: dict[tuple[str, Path], tuple[float, Tape | None]] = {}

    def listed(self) -> list[Tape]:
        """Return the tapes that can be chosen, by name; what is none, or damaged, is left out."""
        found = (self._described(name, path) for name, path in places(self._settings).items())
        return [tape for tape in found if tape is not None]

    def running(self) -> Tape | None:
        """Return the tape that runs in this namespace."""
        notes = (one for one in running.replays(self._settings) if one.namespace == self._settings.topic_prefix)
        note = next(notes, None)
        return None if note is None else self._described(Path(note.source).name, Path(note.source))

    def _described(self, name: str, path: Path) -> Tape | None:
        with self._lock:
            at_s, tape = self._seen.get((name, path), (-math.inf, None))
            if self._clock() - at_s >= LOOK_EVERY_S:
                tape = described(name, path)
                self._seen[name, path] = self._clock(), tape
            return tape


def places(settings: Settings) -> dict[str, Path]:
    """Return the folders that may be tapes, by the names that they are chosen by."""
    folder = Path(settings.tapes).expanduser() if settings.tapes else settings.home / "tapes"
    found = {path.name: path for path in sorted(folder.glob("*")) if path.is_dir()}
    return found | ({LAKE: lake.root(settings)} if (lake.root(settings) / "ticks").is_dir() else {})


def place(settings: Settings, name: str) -> Path:
    """Return the folder of the tape called `name`.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    known = places(settings)
    if name not in known:
        raise SettingsError(f"there is no tape {name[:80]!r}; TICKCAST_TAPES has {', '.join(known) or 'none'}")
    return known[name]


def described(name: str, path: Path) -> Tape | None:
    """Return what is known of the tape in a folder; None where there is none, or it is damaged."""
    try:
        return _known(name, path, *_fingerprint(path))
    except (TickcastError, pl.exceptions.PolarsError, OSError):
        return None


def _fingerprint(path: Path) -> tuple[int, str]:
    """Return how many bytes the files in a folder have, and what is another where any of them is."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    for file in sorted(path.rglob("*")):
        if file.is_file():
            about = file.stat()
            digest.update(f"{file}\0{about.st_mtime_ns}\0{about.st_size}\n".encode())
            size += about.st_size
    return size, digest.hexdigest()


@lru_cache(maxsize=256)
def _known(name: str, path: Path, size: int, _digest: str) -> Tape:
    ticks = next((path / f"ticks{suffix}" for suffix in SUFFIXES if (path / f"ticks{suffix}").is_file()), None)
    if ticks is not None:
        return _of_file(name, ticks, size)
    tape = tapes.open_tape(path)
    first_us, last_us = getattr(tape, "span_us", (0, 0))
    symbols = tape.recording.manifest.symbols if isinstance(tape, RecordedTape) else []
    return Tape(name, "recording" if isinstance(tape, RecordedTape) else "lake", first_us, last_us, list(symbols), size)


def _of_file(name: str, ticks: Path, size: int) -> Tape:
    scan = pl.scan_parquet(ticks) if ticks.suffix == ".parquet" else pl.scan_csv(ticks)
    rows = scan.select("event_ts_us", "symbol", "size").drop_nulls().collect()
    first_us, last_us = _ends(rows)
    width_us = max(1, (last_us - first_us) // PARTS + 1)
    parts = rows.group_by((pl.col("event_ts_us") - first_us) // width_us).agg(pl.col("size").sum())
    volume = dict(parts.iter_rows())
    symbols = sorted(rows["symbol"].unique().to_list())
    return Tape(name, "tape", first_us, last_us, symbols, size, [float(volume.get(part, 0)) for part in range(PARTS)])


def _ends(rows: pl.DataFrame) -> tuple[int, int]:
    times = rows["event_ts_us"].cast(pl.Int64)
    return (int(times.min()), int(times.max())) if rows.height else (0, 0)  # type: ignore[arg-type]
