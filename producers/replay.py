"""Recorded ticks and headlines from files: CSV, CSV.gz or Parquet, event times kept.

Ticks need the columns event_ts_us, symbol, price, size; headlines event_ts_us, symbols (separated by `;`), text, and may
have url. Rows are taken in the file's order; the row number is a tick's `seq`, so identical rows are separate trades.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import polars as pl

from producers.base import Event, SessionEnd, Story, Trade
from streams.clock import MINUTE_US
from streams.errors import SourceError

# No trade of any symbol for this long: the session is over, and quiet minutes are not closed any more.
SESSION_GAP_US = 30 * MINUTE_US
SUFFIXES = (".csv", ".csv.gz", ".parquet")

TICK_COLUMNS = {"event_ts_us": pl.Int64, "symbol": pl.String, "price": pl.Float64, "size": pl.Float64}
HEADLINE_COLUMNS = {"event_ts_us": pl.Int64, "symbols": pl.String, "text": pl.String}


class Replay:
    """A tape of ticks, of headlines, or of both in event-time order.

    Parameters
    ----------
    ticks, headlines : Path or None
        Files; None where the tape has no such part.
    """

    live = False

    def __init__(self, ticks: Path | None, headlines: Path | None) -> None:
        self.name = "replay:" + (ticks or headlines or Path("nothing")).name
        self._ticks = read(ticks, TICK_COLUMNS) if ticks else pl.DataFrame(schema=TICK_COLUMNS)
        self._headlines = read(headlines, HEADLINE_COLUMNS) if headlines else pl.DataFrame(schema=HEADLINE_COLUMNS)

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
        rows = self._ticks.select("event_ts_us", "symbol", "price", "size").iter_rows()
        clock = 0
        for seq, (event_ts_us, symbol, price, size) in enumerate(rows):
            if clock and event_ts_us - clock > SESSION_GAP_US:
                yield clock, SessionEnd(clock)
            clock = max(clock, event_ts_us)
            if seq > resume_after:
                yield clock, Trade(event_ts_us, symbol, _number(price), _number(size), seq)
        if clock:
            yield clock, SessionEnd(clock)

    def _stories(self) -> Iterator[tuple[int, Event]]:
        rows = self._headlines.with_columns(pl.col("url") if "url" in self._headlines.columns else pl.lit("").alias("url"))
        clock = 0
        columns = rows.select("event_ts_us", "symbols", "text", "url").iter_rows()
        for number, (event_ts_us, symbols, text, url) in enumerate(columns):
            clock = max(clock, event_ts_us)
            named = tuple(part for part in (symbols or "").split(";") if part)
            yield clock, Story(event_ts_us, f"{self.name}:{number}", named, text or "", url or "")


def _number(value: float | None) -> float:
    """Return a file's empty cell as NaN: the engine refuses it and keeps its bytes in `dead_letters`."""
    return float("nan") if value is None else value


def _part(folder: Path, part: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{part}{suffix}").is_file()), None)


def read(path: Path, columns: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """Return the table in `path`, its `columns` in their types.

    Raises
    ------
    SourceError
        The file is missing, is not a table, or lacks a column.
    """
    if not path.is_file():
        raise SourceError(f"the file {path} does not exist")
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, schema_overrides=columns)
        return table.with_columns(pl.col(name).cast(kind) for name, kind in columns.items())
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        first = str(error).strip().splitlines() or ["no reason given"]
        needed = ", ".join(chain(columns))
        raise SourceError(f"{path} cannot be read as a table with the columns {needed}: {first[0]}") from error
