"""`tickcast dead`: look at dead letters, and send them back after a fix."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.report_file import Report, write_figures
from streams import bus, settings
from streams.errors import SettingsError
from streams.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Dead letters: what no stage could use, with its bytes and the reason.")
out = Console()
Names = Annotated[
    list[str] | None, typer.Argument(help="TOPIC/PARTITION/OFFSET or TOPIC/PARTITION/OFFSET/STAGE, as `dead list` shows")
]
OfTopic = Annotated[str, typer.Option("--topic", help="only letters from this topic")]
OfStage = Annotated[str, typer.Option("--stage", help="only letters of this stage")]
OfReason = Annotated[str, typer.Option("--reason", help="only letters with this reason")]


def _config() -> Settings:

    return bus.find_broker(settings.load())


@app.command("list")
def listed(report: Report = None) -> None:
    """Count the dead letters by topic, stage and reason; each letter once, however often it was written."""
    from deploy import dead  # noqa: PLC0415 - the command line must answer --help at once

    config = _config()
    done = (name for name, (state, _) in dead.marks(config).items() if state == dead.DONE)
    lines = dead.summary(dead.letters(config), done)
    table = Table("topic", "stage", "reason", "letters", "redriven", "one of them")
    for line in lines:
        words = (line.topic, line.stage, line.reason, f"{line.letters:,}", f"{line.redriven:,}", line.example)
        table.add_row(*map(escape, words))
    out.print(table if lines else "there are no dead letters")
    write_figures({"letters": sum(line.letters for line in lines), "by_kind": [line._asdict() for line in lines]}, report)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET or TOPIC/PARTITION/OFFSET/STAGE")], report: Report = None
) -> None:
    """Show one dead letter: why it died, its key and headers, and its bytes."""
    from deploy import dead  # noqa: PLC0415 - the command line must answer --help at once

    chosen = dead.choose(dead.letters(_config()), [name], topic="", stage="", reason="")
    figures = [dead.described(letter) for letter in chosen]
    for one in figures:
        for field, value in one.items():
            out.print(f"{field}: {value}", highlight=False, markup=False, soft_wrap=True)
    write_figures({"letters": figures}, report)


@app.command()
def redrive(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    names: Names = None,
    topic: OfTopic = "",
    stage: OfStage = "",
    reason: OfReason = "",
    everything: Annotated[bool, typer.Option("--all", help="all that there are")] = False,
    report: Report = None,
) -> None:
    """Send dead letters back, after a fix: the original bytes, key and headers into the original topic, each letter once.

    A letter that was sent back before is not sent again, whoever asks; one that fails again is a new letter. Letters that were
    too_late or from_the_future are refused: nothing makes them timely.
    """
    from deploy import dead  # noqa: PLC0415 - the command line must answer --help at once

    if not (names or topic or stage or reason or everything):
        raise SettingsError("say which dead letters: names, --topic, --stage, --reason, or --all")
    config = _config()
    chosen = list(dead.choose(dead.letters(config), names or [], topic=topic, stage=stage, reason=reason))
    done = dead.redrive(config, chosen)
    figures = {"sent": len(done.sent), "already": len(done.already), "refused": len(done.refused)}
    write_figures(figures | {"names": [str(name) for name in done.sent]}, report)
    told = f"{figures['sent']:,} sent, {figures['already']:,} had been sent before, {figures['refused']:,} refused"
    out.print(told + (" (too_late and from_the_future stay dead)" if done.refused else ""), highlight=False)
    if done.refused and not (done.sent or done.already):
        raise SettingsError("nothing was sent: too_late and from_the_future stay dead, for nothing makes them timely")
