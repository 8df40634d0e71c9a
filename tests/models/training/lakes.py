"""A small lake for tests."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from streams import lake
from streams.clock import iso
from streams.messages import Features
from streams.settings import Settings


def fill(settings: Settings, *series: Sequence[Features], name: str = "rows") -> None:
    """Write each series of rows (one symbol, one day) as a file of the lake."""
    for rows in series:
        date = iso(rows[0].minute_ts_us)[:10]
        folder = lake.folder(settings, "features") / f"date={date}" / f"symbol={rows[0].symbol}"
        folder.mkdir(parents=True, exist_ok=True)
        frame_of(rows).write_parquet(folder / f"{name}.parquet")


def frame_of(*series: Sequence[Features]) -> pl.DataFrame:
    """Return all rows, series after series."""
    return pl.DataFrame([msgspec.structs.asdict(row) for rows in series for row in rows], infer_schema_length=None)
