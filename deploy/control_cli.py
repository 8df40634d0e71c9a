"""`tickcast control`: hold, hurry, seek and stop a tape that runs, from another terminal."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.report_file import write_figures
from streams import control, settings
from streams.clock import MINUTE_US, SECOND_US, iso
from streams.errors import EnvironmentFault, SettingsError
from streams.messages import Control, Event
from streams.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Steer a tape that runs: it says the same however it is steered (docs/adr/0012).")
out = Console()
PATIENCE_S = 20.0
Namespace = Annotated[
    str, typer.Option(help="topics' prefix, as replay-20260105-143000.; default: the replay that runs here, else what `up` runs")
]
Report = Annotated[Path | None, typer.Option("--json", "--report", help="write the answer here")]


@app.command()
def pause(namespace: Namespace = "", report: Report = None) -> None:
    """Hold the tape where it is."""
    _steer(namespace, report, do="pause")


@app.command()
def resume(namespace: Namespace = "", report: Report = None) -> None:
    """Let a tape that is held go on."""
    _steer(namespace, report, do="resume")


@app.command()
def speed(
    value: Annotated[str, typer.Argument(help="1 as it was, 60 a minute a second, max as fast as rows become final")],
    namespace: Namespace = "",
    report: Report = None,
) -> None:
    """Let the tape run at another speed."""
    from deploy.cli import speed_of  # noqa: PLC0415 - that file imports this one

    _steer(namespace, report, do="speed", speed=speed_of(value))


@app.command()
def seek(
    to: Annotated[str, typer.Argument(help="the tape's time, as 2012-06-21T14:30 (UTC), or 14:30 of the day where it stands")],
    namespace: Namespace = "",
    report: Report = None,
) -> None:
    """Go to a time of the tape: forward at full speed, nothing left out; back by beginning again, in topics of its own."""
    from deploy import running  # noqa: PLC0415 - the command line must answer --help at once

    config = running.steerable(settings.load(), namespace)
    _show(_asked(config, {"do": "seek", "to_ts_us": str(moment_us(to, _standing(config).counts["clock_ts_us"]))}), report)


@app.command()
def stop(namespace: Namespace = "", report: Report = None) -> None:
    """End the run, as Ctrl-C would."""
    _steer(namespace, report, do="stop")


@app.command()
def show(namespace: Namespace = "", report: Report = None) -> None:
    """Say where the tape stands, and how it runs."""
    from deploy import running  # noqa: PLC0415 - the command line must answer --help at once

    config = running.steerable(settings.load(), namespace)
    event = _standing(config)
    write_figures({"namespace": config.topic_prefix, "source": event.detail, **event.counts}, report)
    clock_us, milli = event.counts["clock_ts_us"], event.counts["speed_milli"]
    how = "held" if event.counts["paused"] else "seeking" if event.counts["seek_ts_us"] else "running"
    at = iso(clock_us - clock_us % SECOND_US)
    out.print(f"{event.detail}: {at}, {how}, speed {f'{milli / 1_000:g}' if milli else 'max'}", highlight=False)


def _steer(namespace: str, report: Path | None, **arguments: str) -> None:
    from deploy import running  # noqa: PLC0415 - the command line must answer --help at once

    config = running.steerable(settings.load(), namespace)
    _standing(config)
    _show(_asked(config, arguments), report)


def _standing(config: Settings) -> Event:
    """Return the newest status of the tape's producer.

    Raises
    ------
    SettingsError
        No tape runs there.
    """
    from deploy import doctor  # noqa: PLC0415 - the command line must answer --help at once

    event = doctor.newest(config).get("produce")
    if event is None or "replay" not in event.detail:
        raise SettingsError("no tape runs here: what is live or simulated has one speed, and no way back")
    return event


def _asked(config: Settings, arguments: dict[str, str]) -> Control:
    """Give an order, and return its answer."""
    asked = control.order("replay", getpass.getuser(), arguments)
    found = control.asked(config, asked, PATIENCE_S)
    if found is None:
        raise EnvironmentFault(f"nobody answered within {PATIENCE_S:.0f} s; `tickcast doctor` says who runs")
    return found


def _show(answer: Control, report: Path | None) -> None:
    write_figures(answer.arguments, report)
    if answer.arguments["state"] == "refused":
        raise SettingsError(answer.arguments["said"])
    out.print(answer.arguments["said"], highlight=False, markup=False)


def moment_us(text: str, clock_us: int) -> int:
    """Return the time that `text` means where the tape's clock shows `clock_us`.

    >>> moment_us("14:30", 1_340_285_400_000_000) == moment_us("2012-06-21T14:30", 0)
    True
    """
    day = "" if "-" in text else iso(clock_us - clock_us % (1_440 * MINUTE_US))[:11]
    try:
        moment = datetime.fromisoformat(day + text)
    except ValueError as error:
        raise SettingsError(f"a time of the tape is as 2012-06-21T14:30 or 14:30, not {text!r}") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * SECOND_US)
