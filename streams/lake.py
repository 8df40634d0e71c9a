"""The lake: what flowed, as Parquet by date and symbol, for training, studies and replay.

    HOME/lake/TOPIC/date=YYYY-MM-DD/symbol=SYMBOL/*.parquet

Columns are the fields of the topic's message (`streams/messages.py`); `date` is the UTC date of the event time.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from streams.settings import Settings

TIME_COLUMN = {"ticks": "event_ts_us", "headlines": "event_ts_us", "sentiment": "event_ts_us", "features": "minute_ts_us"}


def folder(settings: Settings, topic: str) -> Path:
    """Return the folder that holds `topic`."""
    return settings.home / "lake" / topic


def read(settings: Settings, topic: str) -> pl.DataFrame:
    """Return all rows of `topic`, ordered by symbol and event time; an empty frame where there are none."""
    files = sorted(folder(settings, topic).glob("date=*/symbol=*/*.parquet"))
    if not files:
        return pl.DataFrame()
    return pl.read_parquet(files, hive_partitioning=False).sort("symbol", TIME_COLUMN[topic])
