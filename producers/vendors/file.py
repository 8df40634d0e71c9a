"""A growing file as a live source: CSV with a header, or JSON lines; `file:TICKS` or `file:HEADLINES`.

Ticks have event_ts_us, symbol, price, size, and may have seq and conditions; headlines event_ts_us, symbols (separated by `;`, or
a list), text, and may have id and url. It is read from its beginning; rows older than ten minutes are left to `tickcast ingest`.

Without `seq` a trade is known by its row and the file's first time, so that a file may be replaced by a new one of the same name.
"""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from producers.base import Story, Trade
from producers.vendors.base import OLD_US, Ear, Feed, seq_of
from streams.clock import SECOND_US, wall_ts_us
from streams.errors import LineLost, SourceError
from streams.settings import Settings

ROWS = 31  # bits for the row in a number; the other 32 have the second of the file's first row
LOOK_S = 0.2
UNREADABLE = (ValueError, KeyError, TypeError, StopIteration, AttributeError, OverflowError, RecursionError, csv.Error)
Row = dict[str, Any]


class FileFeed(Feed):
    """Follows one file.

    Parameters
    ----------
    path : Path
        The file; it may not exist yet.
    trades : bool
        Whether its rows are trades; else headlines.
    """

    def __init__(self, path: Path, *, trades: bool, clock: Callable[[], int] = wall_ts_us) -> None:
        self.name = f"file:{path.name}"
        self.trades = trades
        self._path = path
        self._clock = clock
        self._stop = threading.Event()

    def listen(self, ear: Ear) -> None:
        """Read what is there, then what is appended; a file that is replaced or cut is another one."""
        self._stop.clear()
        while not self._path.exists():
            if self._stop.wait(LOOK_S):
                return
        with self._path.open(encoding="utf-8", errors="replace", newline="") as file:
            ear.up()
            self._follow(file, ear)
        if not self._stop.is_set():
            raise LineLost(f"{self._path} was replaced")

    def hang_up(self) -> None:
        """Stop following."""
        self._stop.set()

    def _follow(self, file: TextIO, ear: Ear) -> None:
        header: list[str] | None = None
        first_s = -1
        number = 0
        for line in self._lines(file):
            if self._path.suffix not in {".jsonl", ".ndjson"} and header is None:
                header = next(csv.reader([line]), []) or None  # an empty line is none
                continue
            try:
                row = json.loads(line) if header is None else dict(zip(header, next(csv.reader([line])), strict=True))
                event_ts_us = int(row["event_ts_us"])
                first_s = event_ts_us // SECOND_US if first_s < 0 else first_s
                event = self._event(row, event_ts_us, (first_s << ROWS) + number)
            except UNREADABLE as error:
                ear.garbled(f"row {number} of {self._path}: {error!r}")
            else:
                if self._clock() - event_ts_us < OLD_US:
                    ear.hear(event)
            number += 1

    def _lines(self, file: TextIO) -> Iterator[str]:
        """Yield whole lines; what is still being written waits for its end."""
        begun = ""
        opened = self._path.stat().st_ino
        while not self._stop.is_set():
            begun += file.readline()
            if begun.endswith("\n"):
                yield begun.strip("\r\n")
                begun = ""
            elif self._stop.wait(LOOK_S) or self._is_another(opened, file):
                return

    def _is_another(self, opened: int, file: TextIO) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return True
        return now.st_ino != opened or now.st_size < file.tell()

    def _event(self, row: Row, event_ts_us: int, number: int) -> Trade | Story:
        if self.trades:
            seq = int(row.get("seq") or number)
            price, size = float(row["price"]), float(row["size"])
            return Trade(event_ts_us, str(row["symbol"]), price, size, seq, str(row.get("conditions") or ""))
        said = row.get("symbols") or ()
        symbols = tuple(part.strip() for part in said.split(";")) if isinstance(said, str) else tuple(map(str, said))
        text = str(row["text"])
        id_ = str(row.get("id") or f"{self.name}:{seq_of(text, event_ts_us)}")
        return Story(event_ts_us, id_, symbols, text, str(row.get("url") or ""))


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return the feed of `file:PATH`: a folder has ticks.* and headlines.*, a file is what it was asked for."""
    if not argument:
        raise SourceError("file needs a path, as in --ticks file:ticks.csv --headlines file:news.jsonl")
    path = Path(argument).expanduser()
    wanted = [name for name, asked in (("ticks", ticks), ("headlines", headlines)) if asked]
    if not path.is_dir():
        if len(wanted) > 1:
            raise SourceError(f"{path} is one file: say --ticks file:{path} or --headlines file:{path}, or give a folder")
        return [FileFeed(path, trades=ticks)]
    found = [(name, one) for name in wanted for suffix in (".csv", ".jsonl") if (one := path / f"{name}{suffix}").exists()]
    if not found:
        raise SourceError(f"{path} has none of {', '.join(f'{name}.csv or {name}.jsonl' for name in wanted)}")
    return [FileFeed(one, trades=name == "ticks") for name, one in found]
