"""Commands about tapes: `tickcast tape make` turns vendors' tick files into a folder that can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer
from rich.console import Console

from streams.errors import SourceError

if TYPE_CHECKING:
    from producers.table import Table

app = typer.Typer(no_args_is_help=True, help="Make tapes to replay.")
out = Console()


@app.callback()
def _tape() -> None:
    """Keep `make` a command of its own, though it is the only one yet."""


@app.command()
def make(
    files: Annotated[list[Path], typer.Argument(help="CSV, CSV.gz or Parquet with times, prices and sizes of trades")],
    folder: Annotated[Path, typer.Option("--out", help="gets ticks.parquet; a folder that is not there is made")],
    timezone: Annotated[str | None, typer.Option(help="of times without a zone, as America/New_York; default: UTC")] = None,
    symbol: Annotated[str | None, typer.Option(help="default: the column symbol, else the file's name")] = None,
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="only this day (UTC); default: all")] = None,
) -> None:
    """Make a tape of vendors' tick files, in order of time, sale conditions kept; equal times keep the files' order."""
    from producers import table  # noqa: PLC0415 - the command line must answer --help at once

    wanted = table.Wanted(kind="ticks", symbol=symbol, timezone=timezone)
    tables = [table.load(path, wanted) for path in files]
    for line in chain.from_iterable(table.described(one) for one in tables):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    ticks = merged(tables, day)
    folder.mkdir(parents=True, exist_ok=True)
    ticks.write_parquet(folder / "ticks.parquet")
    out.print(f"{folder / 'ticks.parquet'}: {ticks.height:,} ticks", highlight=False, markup=False, soft_wrap=True)


def merged(tables: Sequence[Table], day: datetime | None) -> pl.DataFrame:
    """Return the rows of all `tables`, or those of one UTC day, as `producers.replay` reads them.

    Raises
    ------
    SourceError
        No row is left.
    """
    rows = pl.concat(one.rows for one in tables).rename({"ts_us": "event_ts_us"}).sort("event_ts_us", maintain_order=True)
    kept = rows.filter(pl.from_epoch("event_ts_us", time_unit="us").dt.date() == day.date()) if day else rows
    if not kept.height:
        raise SourceError(f"the files have no tick{f' of {day:%Y-%m-%d} (UTC)' if day else ''}")
    return kept.select("event_ts_us", "symbol", "price", "size", "conditions")
