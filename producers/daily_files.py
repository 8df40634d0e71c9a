"""Daily closes and headlines of stocks from files, for the monthly outlook; see :class:`streams.daily.DailyFeed`.

One folder: `us-daily/SYMBOL.csv` and, if there are any, `headlines*/*.csv` or `.csv.gz` (`models/studies/headline_files.py`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from threading import Lock

import polars as pl

from models.studies import daily_files, headline_files
from streams.clock import SECOND_US
from streams.daily import Close, Story
from streams.errors import UnknownSymbol


class DailyFiles:
    """A folder of files. Headlines are read once, prices each time.

    Parameters
    ----------
    folder : Path
        Where they are.
    as_of : date, optional
        Nothing after this day is told: what would have been said then?
    """

    name = "files"

    def __init__(self, folder: Path, as_of: date | None = None) -> None:
        self._folder = folder
        self._as_of = as_of or date.max
        self._lock = Lock()

    def closes(self, symbol: str) -> list[Close]:
        """Return the closes up to the day that was asked for."""
        if not (self._folder / daily_files.US / f"{symbol}.csv").is_file():
            raise UnknownSymbol(f"there is no file of {symbol} in {self._folder / daily_files.US}")
        rows = daily_files.us(self._folder, symbol).filter((pl.col("close") > 0) & (pl.col("date") <= self._as_of))
        return [Close(*row) for row in rows.select("date", "close").iter_rows()]

    def stories(self, symbol: str) -> list[Story]:
        """Return the headlines up to the end of that day."""
        with self._lock:  # the first who asks reads them for all
            rows = self._rows
        chosen = rows.filter((pl.col("symbol") == symbol) & (pl.col("event_ts_us") <= _end_us(self._as_of)))
        return [Story(*row) for row in chosen.select("event_ts_us", "title", "url").iter_rows()]

    @cached_property
    def _rows(self) -> pl.DataFrame:
        return headline_files.stories(self._folder)


def _end_us(day: date) -> int:
    return int(datetime.combine(day, time.max, UTC).timestamp()) * SECOND_US
