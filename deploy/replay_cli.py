"""`tickcast record` and `tickcast replay`: what flowed onto a tape, and a tape through the whole pipeline again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deploy.report_file import Report, write_figures
from streams import bus, settings
from streams.clock import iso
from streams.errors import SettingsError

if TYPE_CHECKING:
    from producers.tapes import Cut

out = Console()


def record(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    folder: Annotated[Path, typer.Option("--out", help="gets the recording; must not hold one yet")],
    begin: Annotated[str, typer.Option("--from", help="only what came from this time on, as 2026-01-05T14:30 (UTC)")] = "",
    end: Annotated[str, typer.Option("--to", help="only what came before this time")] = "",
    follow: Annotated[bool, typer.Option(help="go on with what arrives until --to or Ctrl-C")] = False,
    namespace: Annotated[str, typer.Option(help="topics' prefix, as replay-20260105-143000.; default: the live one's")] = "",
    report: Report = None,
) -> None:
    """Record what flows: inputs with offsets, keys, values and headers, and the outputs, so that a replay can be compared.

    It ends with what the topics hold when it starts. `tickcast replay DIR` plays it, `verify replay --tape DIR` compares.
    """
    from deploy import recorder  # noqa: PLC0415 - the command line must answer --help at once

    config = bus.find_broker(settings.load(None, topic_prefix=namespace or None))
    wanted = recorder.Wanted(_ms(begin, "--from"), _ms(end, "--to"), follow)
    with recorder.until_interrupted() as stop:
        manifest = recorder.record(config, folder, wanted, stop)
    counts: dict[str, int] = {}
    for part in manifest.parts:
        counts[part.topic] = counts.get(part.topic, 0) + part.records
    write_figures({"folder": str(folder), "whole": manifest.whole, "records": counts}, report)
    told = ", ".join(f"{topic} {count:,}" for topic, count in counts.items())
    out.print(f"{folder}: {told}", highlight=False, markup=False, soft_wrap=True)
    if not manifest.whole:
        out.print("it does not begin with the first record of every topic: a replay of it cannot be held to its outputs")


def replay(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    source: Annotated[str, typer.Argument(help="a recording, a folder with ticks.* or headlines.*, a lake's folder, or `lake`")],
    speed: Annotated[str, typer.Option(help="1 as it was, 60 a minute a second, max as fast as rows become final")] = "max",
    begin: Annotated[str, typer.Option("--from", help="the tape's time to begin at, as 2012-06-21T14:30 (UTC)")] = "",
    end: Annotated[str, typer.Option("--to", help="the tape's time to end before")] = "",
    symbols: Annotated[str, typer.Option(help="only these, comma separated; default: all that the tape has")] = "",
    loop: Annotated[bool, typer.Option(help="begin again at the end, in a new namespace, until Ctrl-C")] = False,
    page: Annotated[bool, typer.Option(help="also run the web page")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the page; 0: a free one")] = 0,
    stay: Annotated[bool, typer.Option(help="go on at the tape's end, until it is stopped or sought back")] = False,
    report: Report = None,
) -> None:
    """Replay a tape through the whole pipeline, beside a live one and without touching it; ends when all is through.

    A replay has topics, consumer groups, checkpoints and a lake of its own: their prefix is told at the end, for `tickcast tail`
    with TICKCAST_TOPIC_PREFIX. A recording's sentiment is fed as it was recorded, and the models that it names are served; for
    another tape the champion of this home serves, or the baseline alone where there is none. `tickcast control` holds, hurries,
    seeks and stops it; what it says does not depend on that.
    """
    from deploy import pages, replaying  # noqa: PLC0415 - the command line must answer --help at once

    wish = replaying.Wish(cut_of(source, begin, end, symbols), _speed(speed), page, port, stay)
    with replaying.with_broker(pages.with_token(settings.load())) as config:
        while True:
            played = replaying.whole(config, wish, out)
            if played is None:
                raise typer.Exit(0 if loop else 1)
            out.print_json(data=played.report())
            write_figures(played.report(), report)
            if not loop:
                return
            replaying.forget(played.settings)


def cut_of(source: str, begin: str = "", end: str = "", symbols: str = "", ticks: int = 0) -> Cut:
    """Return what the options mean."""
    from producers.tapes import Cut  # noqa: PLC0415 - the command line must answer --help at once
    from streams import lake  # noqa: PLC0415

    path = lake.root(settings.load()) if source == "lake" and not Path(source).exists() else Path(source)
    return Cut(
        source=str(path.resolve()),
        from_ts_us=(_ms(begin, "--from") or 0) * 1_000,
        to_ts_us=(_ms(end, "--to") or 0) * 1_000,
        symbols=settings.load(None, symbols=symbols).symbol_list if symbols else (),
        ticks=ticks,
    )


def _ms(text: str, option: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option} is a time as {iso(1340285400_000_000)[:16]}, not {text!r}") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def _speed(text: str) -> str:
    from deploy.cli import speed_of  # noqa: PLC0415 - that file imports this one

    return speed_of(text)
