"""Commands about the lake: `tickcast ingest` fills it from files, `tickcast lake` looks after it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from streams import compaction, lake, settings

app = typer.Typer(no_args_is_help=True, help="Look after the lake: the Parquet files of what flowed.")
out = Console()
Archive = Annotated[bool, typer.Option("--archive", help="the lake that the archive of this namespace writes")]


def _root(*, archive: bool) -> Path:
    config = settings.load()
    return lake.archive_root(config) if archive else lake.root(config)


@app.command()
def compact(archive: Archive = False) -> None:
    """Merge the many small files of each date and symbol into one; safe at any time, and to be killed."""
    for topic in ("ticks", "headlines", "sentiment"):
        merged = compaction.compact(_root(archive=archive), topic)
        out.print(f"{topic}: {merged.before:,} files became {merged.after:,}", highlight=False)


@app.command("list")
def listing(archive: Archive = False) -> None:
    """List the topics of the lake: rows, days, symbols, files and megabytes; and the ticks that make no bar, by reason."""
    table = Table("topic", "rows", "from", "to", "symbols", "files", "MB")
    for topic in lake.TIME_COLUMN:
        found = lake.stock(_root(archive=archive), topic)
        table.add_row(
            topic, f"{found.rows:,}", found.first, found.last, str(found.symbols), f"{found.files:,}", f"{found.size / 1e6:,.1f}"
        )
    out.print(table)
    if left_out := lake.excluded(_root(archive=archive)):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
        out.print(f"ticks that make no bar: {sum(left_out.values()):,} ({reasons})", highlight=False)


def ingest(
    files: Annotated[
        list[Path], typer.Argument(help="CSV, CSV.gz or Parquet: bars (open, high, low, close) or ticks (price, size)")
    ],
    kind: Annotated[Literal["ohlcv", "ticks"] | None, typer.Option(help="default: by the columns' names")] = None,
    symbol: Annotated[str | None, typer.Option(help="default: the column symbol, else the file's name")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="of times without a zone, as America/New_York; default: found out, else UTC")
    ] = None,
    stamp: Annotated[
        Literal["start", "end"] | None, typer.Option(help="what a bar's time is; default: by the sessions' ends")
    ] = None,
    interval: Annotated[Literal["1m", "1d"] | None, typer.Option(help="of bars; default: by their distance")] = None,
    prints: Annotated[
        Literal["all", "regular"], typer.Option(help="regular: features leave out irregular and erroneous ticks (docs/prints.md)")
    ] = "all",
) -> None:
    """Take history from files into the lake, and compute its features; what is found out about a file is said."""
    from deploy import ingest as ingesting  # noqa: PLC0415 - the command line must answer --help at once
    from producers.table import Wanted  # noqa: PLC0415

    wanted = Wanted(kind=kind, symbol=symbol, timezone=timezone, stamp=stamp, interval=interval)
    done = ingesting.run(settings.load(), files, wanted, out, prints)
    out.print(f"into the lake: {done.ticks:,} ticks, {done.bars:,} bars, {done.features:,} feature rows", highlight=False)
