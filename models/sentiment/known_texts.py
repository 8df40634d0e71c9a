"""What texts mean, remembered: the latest in memory, many more in a small SQLite file that outlives the process.

SQLite because it is in Python: `diskcache`, the usual library, pickles its values and has had no release since 2023.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Probabilities = tuple[float, float, float]  # positive, negative, neutral
Meanings = dict[str, Probabilities | None]  # None: the model knows no word of the text

DECIMALS = 4  # a batch's padding moves a probability by about 1e-7: coarser than that, so that repeats are equal bytes
IN_MEMORY = 50_000  # a story is often repeated for days; this is some 10 MB
IN_FILE = 1_000_000  # some 70 MB
AT_ONCE = 500  # hashes in one question to SQLite, which allows 999 in old builds
BUSY_S = 2.0  # how long to wait for another worker of the group that writes

SCHEMA = "CREATE TABLE IF NOT EXISTS texts (id INTEGER PRIMARY KEY, hash BLOB UNIQUE, positive REAL, negative REAL, neutral REAL)"


def rounded(row: NDArray[np.float64]) -> Probabilities | None:
    """Return one row of what a model says as it is remembered and sent; None where the model knows no word of the text."""
    if np.isnan(row).any():
        return None
    positive, negative, neutral = (round(float(value), DECIMALS) for value in row)
    return positive, negative, neutral


def file_of(cache: Path, model_id: str) -> Path:
    """Return the file below `cache` that remembers for the model `model_id`, and for no other."""
    return cache / "sentiment" / "texts" / f"{quote(model_id, safe='')}.sqlite"


class KnownTexts:
    """A bounded memory of texts, and the bounded file behind it.

    The file is a convenience: where it cannot be read or written, one warning is logged and only memory is used. Both
    forget: memory what was unused longest, the file what was written first. For one thread at a time, and any number of
    processes.

    Parameters
    ----------
    path : Path, optional
        The file (see :func:`file_of`); without one nothing outlives the process.
    in_memory, in_file : int
        How many texts each remembers at most.
    """

    def __init__(self, path: Path | None = None, in_memory: int = IN_MEMORY, in_file: int = IN_FILE) -> None:
        self._memory: OrderedDict[str, Probabilities | None] = OrderedDict()
        self._in_memory = in_memory
        self._in_file = in_file
        self._file = None if path is None else _opened(path)

    def recall(self, texts: Iterable[str]) -> Meanings:
        """Return what is known of `texts`; those that are not known are absent."""
        wanted = list(texts)
        found = {text: self._memory[text] for text in wanted if text in self._memory}
        found |= self._read([text for text in wanted if text not in found])
        self._keep(found)
        return found

    def learn(self, meanings: Mapping[str, Probabilities | None]) -> None:
        """Remember `meanings`."""
        self._keep(meanings)
        self._write(meanings)

    def _keep(self, meanings: Mapping[str, Probabilities | None]) -> None:
        for text, meaning in meanings.items():
            self._memory[text] = meaning
            self._memory.move_to_end(text)
        while len(self._memory) > self._in_memory:
            self._memory.popitem(last=False)

    def _read(self, texts: list[str]) -> Meanings:
        if self._file is None:
            return {}
        try:
            return {text: meaning for part in _parts(texts) for text, meaning in _rows(self._file, part)}
        except sqlite3.Error as error:
            return self._give_up(error)

    def _write(self, meanings: Mapping[str, Probabilities | None]) -> None:
        if self._file is None or not meanings:
            return
        rows = [(_hash(text), *(meaning or (None, None, None))) for text, meaning in meanings.items()]
        try:
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO texts VALUES (NULL, ?, ?, ?, ?)", rows)
                self._file.execute("DELETE FROM texts WHERE id <= (SELECT max(id) FROM texts) - ?", (self._in_file,))
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> Meanings:
        log.warning("the file of scored texts cannot be used (%s): repeated texts are scored again after a restart", error)
        self._file = None
        return {}


def _opened(path: Path) -> sqlite3.Connection | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connected(path)
    except (OSError, sqlite3.OperationalError) as error:
        log.warning("%s cannot be used (%s): repeated texts are scored again after a restart", path, error)
        return None
    except sqlite3.DatabaseError:  # no database, or a damaged one: it held nothing that cannot be made again
        path.unlink()
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    """Return a connection; made on the main thread, used on the handler's."""
    file = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    file.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
    file.execute("PRAGMA synchronous=NORMAL")  # a power cut may forget the last texts, not more
    file.execute(SCHEMA)
    return file


def _rows(file: sqlite3.Connection, texts: list[str]) -> Iterator[tuple[str, Probabilities | None]]:
    by_hash = {_hash(text): text for text in texts}
    marks = ",".join("?" * len(by_hash))
    query = f"SELECT hash, positive, negative, neutral FROM texts WHERE hash IN ({marks})"  # noqa: S608 - question marks only
    for digest, positive, negative, neutral in file.execute(query, list(by_hash)):
        yield by_hash[digest], None if positive is None else (positive, negative, neutral)


def _parts(texts: list[str]) -> Iterator[list[str]]:
    yield from (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
