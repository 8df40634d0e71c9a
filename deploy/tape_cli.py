"""Commands about tapes: `make` makes one of vendors' tick files, `prints` shows which trades a filter leaves out of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer
from rich.console import Console
from rich.table import Table as Shown

from producers.base import Source, Trade
from streams.clock import MINUTE_US
from streams.errors import SourceError

if TYPE_CHECKING:
    from producers.table import Table

app = typer.Typer(no_args_is_help=True, help="Make tapes to replay.")
out = Console()


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


@app.command("prints")
def show(tape: Annotated[Path, typer.Argument(help="a folder with ticks.*")]) -> None:
    """Show which trades of a tape `--prints regular` leaves out, and what that does to its minute bars."""
    from producers.prints import Regular  # noqa: PLC0415 - the command line must answer --help at once
    from producers.replay import Replay  # noqa: PLC0415

    trades = marked(Regular(Replay.of_folder(tape)))
    counts = Shown("left out", "ticks", "of ticks", "of volume")
    for reason, n, size in by_reason(trades).rows():
        counts.add_row(reason or "(taken)", f"{n:,}", f"{n / trades.height:.3%}", f"{size / trades['size'].sum():.3%}")
    bars = Shown("symbol", "bars", "without a print left", "with another high or low", "mean range, bp", "widest, bp")
    for symbol, n, gone, other, *ranges in changes(trades).rows():
        means, widest = (f"{before:.2f} → {after:.2f}" for before, after in (ranges[:2], ranges[2:]))
        bars.add_row(symbol, f"{n:,}", str(gone), str(other), means, widest)
    out.print(counts, bars)


def marked(source: Source) -> pl.DataFrame:
    """Return symbol, minute_us, price, size and excluded of the trades of `source`."""
    trades = (event for event in source.events() if isinstance(event, Trade))
    rows = [(one.symbol, one.event_ts_us // MINUTE_US, one.price, one.size, one.excluded) for one in trades]
    return pl.DataFrame(rows, schema=["symbol", "minute", "price", "size", "excluded"], orient="row")


def by_reason(trades: pl.DataFrame) -> pl.DataFrame:
    """Return reason, ticks and volume, most ticks first."""
    return trades.group_by("excluded").agg(pl.len(), pl.col("size").sum()).sort("len", "excluded", descending=[True, False])


def changes(trades: pl.DataFrame) -> pl.DataFrame:
    """Return what the filter does to the minute bars of each symbol.

    Columns: symbol, bars before, bars gone, bars whose high or low is another; then, of the bars that stay, the mean range
    (high over low, basis points) before and after, and the widest before and after.
    """
    before, after = (_ranges(rows) for rows in (trades, trades.filter(pl.col("excluded") == "")))
    pairs = before.join(after, on=["symbol", "minute"], how="left", suffix="_after")
    other = pl.any_horizontal(pl.col(name) != pl.col(f"{name}_after") for name in ("high", "low"))
    stayed = pl.col("range_after").is_not_null()
    widths = [pl.col(name).filter(stayed) for name in ("range", "range_after")]
    return (
        pairs.group_by("symbol")
        .agg(
            bars=pl.len(),
            gone=(~stayed).sum(),
            other=other.sum(),
            **{f"mean_{k}": width.mean() for k, width in enumerate(widths)},
            **{f"widest_{k}": width.max() for k, width in enumerate(widths)},
        )
        .sort("symbol")
    )


def _ranges(trades: pl.DataFrame) -> pl.DataFrame:
    bars = trades.group_by("symbol", "minute").agg(high=pl.col("price").max(), low=pl.col("price").min())
    return bars.with_columns(range=(pl.col("high") / pl.col("low") - 1) * 10_000)
