"""The lake: what flowed, as Parquet by date and symbol, for training, studies and replay.

    HOME/lake/TOPIC/date=YYYY-MM-DD/symbol=SYMBOL/PART.parquet

Columns are the fields of the topic's message (`streams/messages.py`); `date` is the UTC date of the event time. A part is
written under a temporary name and renamed, and the same part written again replaces itself, so a crash and a second try
leave one copy.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import polars as pl

from streams.settings import Settings

TIME_COLUMN = {"ticks": "event_ts_us", "sentiment": "event_ts_us", "features": "minute_ts_us"}


def folder(settings: Settings, topic: str) -> Path:
    """Return the folder that holds `topic`."""
    return settings.home / "lake" / topic


def read(settings: Settings, topic: str) -> pl.DataFrame:
    """Return all rows of `topic`, ordered by symbol and event time; an empty frame where there are none."""
    files = sorted(folder(settings, topic).glob("date=*/symbol=*/*.parquet"))
    if not files:
        return pl.DataFrame()
    return pl.read_parquet(files, hive_partitioning=False).sort("symbol", TIME_COLUMN[topic])


def write(settings: Settings, topic: str, rows: pl.DataFrame, part: str) -> int:
    """Write `rows` (the message's fields) as part `part` of each date and symbol that they touch; return how many rows."""
    date = pl.from_epoch(TIME_COLUMN[topic], time_unit="us").dt.date()
    for (day, symbol), group in rows.with_columns(date.alias("_date")).group_by("_date", "symbol"):
        place = folder(settings, topic) / f"date={day}" / f"symbol={quote(str(symbol), safe='')}"
        place.mkdir(parents=True, exist_ok=True)
        scratch = place / f".{part}.tmp"
        group.drop("_date").write_parquet(scratch)
        scratch.rename(place / f"{part}.parquet")
    return rows.height
