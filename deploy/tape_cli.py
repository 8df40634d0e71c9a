"""Commands about tapes: of vendors' tick files, of the simulated market, and which trades a filter leaves out of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table as Shown

from producers.base import Event, SessionEnd, Source, Story, Trade
from streams import settings
from streams.clock import MINUTE_US, SECOND_US
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


@app.command()
def simulate(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    folder: Annotated[Path, typer.Option("--out", help="gets ticks.parquet and headlines.parquet")],
    sessions: Annotated[int, typer.Option(min=1, max=10_000, help="trading days, 13:30 to 20:00 UTC on weekdays; 5: a week")] = 5,
    before: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="the sessions before this day")] = datetime(2026, 11, 28),  # noqa: DTZ001
    trades: Annotated[float, typer.Option("--trades-a-minute", min=0.01, max=10_000, help="of each symbol, on average")] = 111.0,
    symbols: Annotated[str, typer.Option(help="comma separated; default: those of TICKCAST_SYMBOLS")] = "",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="another one is another path")] = 1,
) -> None:
    """Make a tape of the simulated market, whose headlines move its prices: the same trades and headlines for the same options.

    `tickcast tape simulate --out week && tickcast replay week` is a week of six symbols, 1.3 million trades.
    """
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 - the command line must answer --help at once

    from producers.market import Market  # noqa: PLC0415
    from producers.replay import HEADLINE_COLUMNS, TICK_COLUMNS  # noqa: PLC0415
    from producers.simulated import Simulated  # noqa: PLC0415

    named = settings.load(None, symbols=symbols or None).symbol_list
    end_us = int(before.replace(tzinfo=UTC).timestamp()) * SECOND_US
    events = Simulated(Market(symbols=named, seed=seed)).history(sessions, end_us, trades)
    written = {"ticks": 0, "headlines": 0}
    empty = {"ticks": pl.DataFrame(schema=TICK_COLUMNS), "headlines": pl.DataFrame(schema=HEADLINE_COLUMNS)}
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        writers = {
            part: opened.enter_context(ParquetWriter(folder / f"{part}.parquet", table.to_arrow().schema))
            for part, table in empty.items()
        }
        for session in track(_sessions(events), "simulating", total=sessions, console=out, transient=True):
            for part, rows in session.items():
                writers[part].write_table(pl.DataFrame(rows, schema=empty[part].schema, orient="row").to_arrow())
                written[part] += len(rows)
    counts = " and ".join(f"{count:,} {part}" for part, count in written.items())
    out.print(f"{folder}: {counts}", highlight=False, markup=False, soft_wrap=True)


def _sessions(events: Iterable[Event]) -> Iterator[dict[str, list[tuple[object, ...]]]]:
    """Yield the rows of ticks and of headlines of each session."""
    rows: dict[str, list[tuple[object, ...]]] = {"ticks": [], "headlines": []}
    for event in events:
        if isinstance(event, Trade):
            rows["ticks"].append((event.event_ts_us, event.symbol, event.price, event.size))
        elif isinstance(event, Story):
            rows["headlines"].append((event.event_ts_us, ";".join(event.symbols), event.text))
        elif isinstance(event, SessionEnd):
            yield rows
            rows = {"ticks": [], "headlines": []}


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
