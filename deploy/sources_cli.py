"""`tickcast sources`: which sources there are, whether one can be reached, and how often names in headlines are right."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.report_file import write_figures
from producers import catalog
from producers.base import Event, Report, Story, Trade
from producers.catalog import Choice
from producers.vendors.catalog import VENDORS, Vendor
from streams import settings
from streams.clock import iso, wall_ts_us
from streams.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Where ticks and headlines come from.")
out = Console()

OWN = {
    "replay": Vendor(frozenset({"ticks", "headlines"}), "replay:FOLDER or a file", "none"),
    "simulated": Vendor(frozenset({"ticks", "headlines"}), "nothing", "none"),
}
Symbols = Annotated[str | None, typer.Option(help="comma separated; default: TICKCAST_SYMBOLS")]
Data = Annotated[Path, typer.Option("--data", help="the folder of the newswire's headlines, `headlines-2007-2016`")]
Json = Annotated[Path | None, typer.Option("--json", help="write the figures here")]


@app.command("list")
def show() -> None:
    """List the sources: what each has, what it takes, and whose terms apply to who connects."""
    table = Table("source", "ticks", "headlines", "takes", "terms of use")
    for name, vendor in sorted((dict(VENDORS) | OWN).items()):
        has = ["yes" if part in vendor.parts else "" for part in ("ticks", "headlines")]
        table.add_row(name, *has, vendor.needs, vendor.terms)
    out.print(table)


@app.command()
def check(
    source: Annotated[str, typer.Argument(help="NAME[:ARG], as `--source` takes it")],
    symbols: Symbols = None,
    messages: Annotated[int, typer.Option(min=1, help="how many messages to show")] = 5,
    timeout: Annotated[float, typer.Option(help="seconds to wait for them")] = 30.0,
) -> None:
    """Connect, show five messages with their latency and the clocks' difference, and end: 0 well, 1 not, 2 yours to mend."""
    config = settings.load(None, symbols=symbols)
    looking = Looking(messages, timeout, lambda line: out.print(line, highlight=False, markup=False))
    raise typer.Exit(0 if looking.at(source, config) else 1)


class Looking:
    """Looks at a source until it has shown enough.

    Parameters
    ----------
    messages : int
        How many are enough.
    timeout_s : float
        How long to wait for them.
    tell : callable
        Takes each line.
    """

    def __init__(self, messages: int, timeout_s: float, tell: Callable[[str], None]) -> None:
        self._left = messages
        self._timeout_s = timeout_s
        self._tell = tell
        self._shown = 0
        self._counts: dict[str, int] = {}

    def at(self, name: str, config: Settings) -> bool:
        """Return whether `name` gives messages, or is connected and may be quiet."""
        part = catalog.parse(name)
        source = catalog.open_source(Choice(part, part), config)
        deadline_s = time.monotonic() + self._timeout_s
        events: Any = source.events()
        with closing(events):
            for event in events:
                self._take(event, live=source.live)
                counted = isinstance(event, Report) or not self._counts  # a live source counts what it has shown a little later
                if (self._shown >= self._left and counted) or time.monotonic() > deadline_s:
                    break
        return self._verdict()

    def _take(self, event: Event, *, live: bool) -> None:
        if isinstance(event, Report):
            self._counts |= event.counts
            if event.detail:
                self._tell(f"! {event.detail}")
        elif isinstance(event, Trade | Story) and self._shown < self._left:
            self._shown += 1
            what = f"{event.symbol} {event.price:g} x {event.size:g}" if isinstance(event, Trade) else _headline(event)
            late = f"  {(wall_ts_us() - event.event_ts_us) / 1_000:,.0f} ms" if live else ""
            self._tell(f"{iso(event.event_ts_us)}  {what}{late}")

    def _verdict(self) -> bool:
        if (least_ms := self._counts.get("least_delay_ms")) is not None:
            self._tell(f"least delay {least_ms:,} ms: the way here, plus by how much our clock is ahead of theirs")
        if self._shown:
            self._tell(f"well: {self._shown} messages")
            return True
        quiet = self._counts.get("up", 0) > 0 and not self._counts.get("open", 0)
        why = "connected, and nothing came: the market is closed, or there is no news" if quiet else "nothing came"
        self._tell(f"{'well' if quiet else 'NOT well'}: {why} within {self._timeout_s:g} s")
        return quiet


def _headline(story: Story) -> str:
    return f"[{','.join(story.symbols)}] {story.text}"


@app.command("tag-precision")
def tag_precision(data: Data, report: Json = None) -> None:
    """Measure how often the company that a headline is tagged with, by its names, is the one it speaks of."""
    from producers import tagging  # noqa: PLC0415 - statistics take seconds to load

    read = tagging.judged(data)
    ours, theirs = tagging.labelled(data)
    low, high = read.interval
    table = Table("what", "of", "share", title="names in headlines", title_justify="left")
    table.add_row("right, as read by a person (95 % interval)", f"{read.of:,}", f"{read.share:.1%} ({low:.1%} to {high:.1%})")
    table.add_row("tags that the labels have too", f"{ours.of:,}", f"{ours.share:.1%}")
    table.add_row("labels that the tags have too", f"{theirs.of:,}", f"{theirs.share:.1%}")
    out.print(table)
    out.print(
        "Read were all tags of the distinct headlines of one newswire in twelve days of 2015; six companies. The labels are of\n"
        "a name match themselves, which takes iPhone and iPad for Apple: agreement with them is not precision."
    )
    if read.unjudged:
        out.print(f"{read.unjudged} tags have no verdict: the names have changed since they were read")
    figures = {"right": read.right, "read": read.of, "precision": read.share, "low": low, "high": high}
    write_figures(figures | {"unjudged": read.unjudged, "agrees": ours.share, "recalled": theirs.share}, report)
