"""Recorded ticks and headlines from files: CSV, CSV.gz or Parquet, event times kept.

Ticks need the columns event_ts_us, symbol, price, size, and may have conditions (words of `prints.py`, separated by spaces);
headlines need event_ts_us, symbols (separated by `;`), text, and may have url. Rows are taken in the file's order; the row
number is a tick's `seq`, so identical rows are separate trades.

A file with a cell of the wrong type, or a row without a time, is refused before anything is sent: it is not what its user
takes it for. An empty cell elsewhere is a gap in the data: its row travels, and the stage that cannot use it says why in
`dead_letters`.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from producers.base import Event, SessionEnd, Story, Trade
from streams.clock import MINUTE_US, iso
from streams.errors import SourceError
from streams.messages import MAX_TS_US

# No trade of any symbol for this long: the session is over, and quiet minutes are not closed any more.
SESSION_GAP_US = 30 * MINUTE_US
Columns = dict[str, type[pl.DataType]]
SUFFIXES = (".csv", ".csv.gz", ".parquet")

TICK_COLUMNS: Columns = {"event_ts_us": pl.Int64, "symbol": pl.String, "price": pl.Float64, "size": pl.Float64}
CONDITIONS_COLUMN: Columns = {"conditions": pl.String}
HEADLINE_COLUMNS: Columns = {"event_ts_us": pl.Int64, "symbols": pl.String, "text": pl.String}
LINK_COLUMN: Columns = {"url": pl.String}


class Replay:
    """A tape of ticks, of headlines, or of both in event-time order.

    Its name comes from its contents, so the same tape has the same name from any file, and another tape has another: a
    restarted run is known by it.

    Parameters
    ----------
    ticks, headlines : Path or None
        Files; None where the tape has no such part.

    Raises
    ------
    SourceError
        A file is missing, is not a table, lacks a column, or has a cell of the wrong type or a row without a time.
    """

    live = False

    def __init__(self, ticks: Path | None, headlines: Path | None) -> None:
        self._ticks = read(ticks, TICK_COLUMNS, CONDITIONS_COLUMN) if ticks else pl.DataFrame(schema=TICK_COLUMNS)
        self._headlines = read(headlines, HEADLINE_COLUMNS, LINK_COLUMN) if headlines else pl.DataFrame(schema=HEADLINE_COLUMNS)
        self.name = _name(self._ticks, self._headlines)

    @classmethod
    def of_folder(cls, folder: Path) -> Replay:
        """Return the tape whose files are FOLDER/ticks.* and FOLDER/headlines.* (either may be missing, not both)."""
        if not folder.is_dir():
            raise SourceError(f"the tape folder {folder} does not exist; give one with ticks.csv.gz and headlines.csv.gz")
        ticks, headlines = (_part(folder, part) for part in ("ticks", "headlines"))
        if ticks is None and headlines is None:
            raise SourceError(f"{folder} has neither ticks nor headlines ({', '.join(SUFFIXES)})")
        return cls(ticks, headlines)

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield trades, stories and session ends, merged by the time at which the tape's clock reached them."""
        merged = heapq.merge(self._trades(resume_after), self._stories(), key=lambda pair: pair[0])
        return (event for _, event in merged)

    def _trades(self, resume_after: int) -> Iterator[tuple[int, Event]]:
        rows = self._ticks.iter_rows()
        clock = 0
        for seq, (event_ts_us, symbol, price, size, *conditions) in enumerate(rows):
            if clock and event_ts_us - clock > SESSION_GAP_US:
                yield clock, SessionEnd(clock)
            clock = max(clock, event_ts_us)
            if seq > resume_after:
                yield clock, Trade(event_ts_us, symbol, _number(price), _number(size), seq, *conditions)
        if clock:
            yield clock, SessionEnd(clock)

    def _stories(self) -> Iterator[tuple[int, Event]]:
        clock = 0
        for number, (event_ts_us, symbols, text, *url) in enumerate(self._headlines.iter_rows()):
            clock = max(clock, event_ts_us)
            named = tuple(part.strip() for part in symbols.split(";") if part.strip())
            yield clock, Story(event_ts_us, f"{self.name}:{number}", named, text, next(iter(url), ""))


def _number(value: float | None) -> float:
    """Return a file's empty cell as NaN: the engine refuses it and keeps its bytes in `dead_letters`."""
    return float("nan") if value is None else value


def _name(*tables: pl.DataFrame) -> str:
    content = [table.write_csv() for table in tables]
    started_us = next((table["event_ts_us"][0] for table in tables if table.height), 0)
    return f"replay:{iso(started_us)[:10]}-{hashlib.sha256(chr(0).join(content).encode()).hexdigest()[:8]}"


def _part(folder: Path, part: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{part}{suffix}").is_file()), None)


def tape_file(path: Path, part: str) -> Path:
    """Return `path`, or, where it is a folder, its file of `part` (ticks or headlines).

    Raises
    ------
    SourceError
        The folder has no such file.
    """
    if not path.is_dir():
        return path
    if (found := _part(path, part)) is None:
        raise SourceError(f"{path} has no {part} ({', '.join(SUFFIXES)})")
    return found


def read(path: Path, columns: Columns, optional: Columns | None = None) -> pl.DataFrame:
    """Return the `columns` of the table in `path` in their types, then those that it has of the `optional` ones.

    Empty cells of text are empty text, other empty cells null.

    Raises
    ------
    SourceError
        The file is missing, is not a table, lacks a column, or has a cell of the wrong type or a row without a time.
    """
    if not path.is_file():
        raise SourceError(f"the file {path} does not exist")
    types = columns | (optional or {})
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, schema_overrides=types)
        table = table.select(pl.col(name).cast(kind) for name, kind in types.items() if name in columns or name in table.columns)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        first = str(error).strip().splitlines() or ["no reason given"]
        raise SourceError(f"{path} cannot be read as a table with the columns {', '.join(columns)}: {first[0]}") from error
    _check_times(path, table["event_ts_us"])
    return table.with_columns(pl.col(pl.String).fill_null(""))


def _check_times(path: Path, times: pl.Series) -> None:
    bad = times.is_between(0, MAX_TS_US).fill_null(value=False).not_().arg_true()
    if bad.len():
        raise SourceError(f"row {bad[0] + 1} of {path} has no event_ts_us in microseconds since 1970: {times[bad[0]]}")
