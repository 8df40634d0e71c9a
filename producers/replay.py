"""Recorded ticks and headlines from files: CSV, CSV.gz or Parquet, event times kept.

Ticks need the columns event_ts_us, symbol, price, size, and may have conditions (words of `prints.py`, separated by spaces);
headlines need event_ts_us, symbols (separated by `;`), text, and may have url. Rows are taken in the file's order; the row
number is a tick's `seq`, so identical rows are separate trades.

Parquet is read some rows at a time, twice: once to check and to name it, once to send it. CSV is read whole.

A file with a cell of the wrong type, or a row without a time, is refused before anything is sent: it is not what its user
takes it for. An empty cell elsewhere is a gap in the data: its row travels, and the stage that cannot use it says why in
`dead_letters`.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from producers.base import Event, SessionEnd, Story, Trade
from streams.clock import MINUTE_US, iso
from streams.errors import SourceError
from streams.messages import MAX_TS_US

# No trade of any symbol for this long: the session is over, and quiet minutes are not closed any more.
SESSION_GAP_US = 30 * MINUTE_US
SLICE = 50_000  # rows of a Parquet file at once
Columns = dict[str, type[pl.DataType]]
Slices = Callable[[], Iterator[pl.DataFrame]]
SUFFIXES = (".csv", ".csv.gz", ".parquet")

TICK_COLUMNS: Columns = {"event_ts_us": pl.Int64, "symbol": pl.String, "price": pl.Float64, "size": pl.Float64}
CONDITIONS_COLUMN: Columns = {"conditions": pl.String}
HEADLINE_COLUMNS: Columns = {"event_ts_us": pl.Int64, "symbols": pl.String, "text": pl.String}
LINK_COLUMN: Columns = {"url": pl.String}


class Span(NamedTuple):
    """From when to when a tape goes, microseconds UTC of event time; both 0 where it is empty."""

    first_us: int
    last_us: int

    @property
    def length_us(self) -> int:
        """How long it is."""
        return self.last_us - self.first_us


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
        self._ticks = _slices(ticks, TICK_COLUMNS, CONDITIONS_COLUMN)
        self._headlines = _slices(headlines, HEADLINE_COLUMNS, LINK_COLUMN)
        digest, spans = _looked_at(self._ticks, self._headlines)
        started_us, ended_us = next((span for span in spans if span[1]), (0, 0))
        self.name = f"replay:{iso(started_us)[:10]}-{digest[:8]}"
        self.span_us = Span(started_us, ended_us)

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
        clock = 0
        for seq, (event_ts_us, symbol, price, size, *conditions) in enumerate(_rows(self._ticks)):
            if clock and event_ts_us - clock > SESSION_GAP_US:
                yield clock, SessionEnd(clock)
            clock = max(clock, event_ts_us)
            if seq > resume_after:
                yield clock, Trade(event_ts_us, symbol, _number(price), _number(size), seq, *conditions)
        if clock:
            yield clock, SessionEnd(clock)

    def _stories(self) -> Iterator[tuple[int, Event]]:
        clock = 0
        for number, (event_ts_us, symbols, text, *url) in enumerate(_rows(self._headlines)):
            clock = max(clock, event_ts_us)
            named = tuple(part.strip() for part in symbols.split(";") if part.strip())
            yield clock, Story(event_ts_us, f"{self.name}:{number}", named, text, next(iter(url), ""))


def _number(value: float | None) -> float:
    """Return a file's empty cell as NaN: the engine refuses it and keeps its bytes in `dead_letters`."""
    return float("nan") if value is None else value


def _slices(path: Path | None, columns: Columns, optional: Columns) -> Slices:
    """Return what yields the rows of the file `path` anew at each call; a file of text is read now, and kept."""
    if path is not None and path.suffix == ".parquet":
        return partial(_batches, path, columns, optional)
    table = pl.DataFrame(schema=columns) if path is None else read(path, columns, optional)
    return lambda: iter([table])


def _batches(path: Path, columns: Columns, optional: Columns) -> Iterator[pl.DataFrame]:
    """Yield the rows of a Parquet file, at least one frame."""
    if not path.is_file():
        raise SourceError(f"the file {path} does not exist")
    before = 0
    try:
        with pq.ParquetFile(path) as file:
            empty = [] if file.metadata.num_rows else [pa.Table.from_batches([], schema=file.schema_arrow)]
            for batch in empty or file.iter_batches(batch_size=SLICE):
                table = _typed(pl.DataFrame(batch), columns, optional)
                _check_times(path, table["event_ts_us"], before)
                before += table.height
                yield table
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, columns, error) from error


def _rows(slices: Slices) -> Iterator[tuple[Any, ...]]:
    return (row for table in slices() for row in table.iter_rows())


def _looked_at(*parts: Slices) -> tuple[str, list[tuple[int, int]]]:
    """Return the checksum of a tape's rows as text, and of each part the first row's time and the greatest."""
    digest = hashlib.sha256()
    spans = []
    for number, slices in enumerate(parts):
        digest.update(b"\0" * min(number, 1))
        started_us = ended_us = 0
        for at, table in enumerate(slices()):
            digest.update(table.write_csv(include_header=at == 0).encode())
            if table.height:
                started_us = started_us or table["event_ts_us"][0]
                ended_us = max(ended_us, int(table["event_ts_us"].max() or 0))  # type: ignore[arg-type]
        spans.append((started_us, ended_us))
    return digest.hexdigest(), spans


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
        table = _typed(table, columns, optional or {})
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, columns, error) from error
    _check_times(path, table["event_ts_us"])
    return table


def _typed(table: pl.DataFrame, columns: Columns, optional: Columns) -> pl.DataFrame:
    kept = {name: kind for name, kind in (columns | optional).items() if name in columns or name in table.columns}
    return table.select(pl.col(name).cast(kind) for name, kind in kept.items()).with_columns(pl.col(pl.String).fill_null(""))


def _unreadable(path: Path, columns: Columns, error: Exception) -> SourceError:
    first = str(error).strip().splitlines() or ["no reason given"]
    return SourceError(f"{path} cannot be read as a table with the columns {', '.join(columns)}: {first[0]}")


def _check_times(path: Path, times: pl.Series, before: int = 0) -> None:
    bad = times.is_between(0, MAX_TS_US).fill_null(value=False).not_().arg_true()
    if bad.len():
        row = before + bad[0] + 1
        raise SourceError(f"row {row} of {path} has no event_ts_us in microseconds since 1970: {times[bad[0]]}")
