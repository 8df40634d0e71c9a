"""`tickcast verify replay`, `contract`, `faults` and `all`: what is claimed of replays, of bytes and of crashes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.report_file import Report, show
from streams import bus, settings

out = Console()
Tape = Annotated[Path, typer.Option(help="a recording (`tickcast record`), or a folder with ticks.* and, if any, headlines.*")]


def replay(
    tape: Tape,
    quick: Annotated[bool, typer.Option(help="the first 4,000 ticks of a tape; one replay of a recording")] = False,
    report: Report = None,
) -> None:
    """Replay a tape twice, and compare the bytes: one replay with the other, and each with the outputs of a recording.

    Compared are the last row of `features` of each minute, `sentiment`, the forecasts of final rows, scores and dead letters
    (without headers, time stamps and offsets). Exit 1 names what differs.
    """
    from deploy.verify import replayed  # noqa: PLC0415 - the command line must answer --help at once

    figures = replayed.run(settings.load(), tape, out, quick=quick)
    show(figures, replayed.as_table(figures), report)


def contract(
    tape: Annotated[
        Path | None, typer.Option(help="replay this tape or recording first, and look at what it leaves; default: what runs now")
    ] = None,
    namespace: Annotated[str, typer.Option(help="topics' prefix, as replay-20260105-143000.; default: the live one's")] = "",
    quick: Annotated[
        bool, typer.Option(help="the last 2,000 records of each partition only; of a tape the first 4,000 ticks")
    ] = False,
    report: Report = None,
) -> None:
    """Hold every value on every topic of a running system against the published JSON Schemas.

    A value from outside that breaks its schema must be a dead letter, with its bytes; of what the system itself writes none may.
    """
    from rich.progress import Progress  # noqa: PLC0415 - the command line must answer --help at once

    from deploy.verify import contract as check  # noqa: PLC0415

    if tape is not None:
        figures = check.of_tape(settings.load(), tape, out, quick=quick)
        show(figures, check.as_table(figures), report)
        return
    config = bus.find_broker(settings.load(None, topic_prefix=namespace or None))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        figures = check.run(config, progress, quick=quick)
    show(figures, check.as_table(figures), report)


def faults(
    tape: Tape,
    kills: Annotated[int, typer.Option(min=1, help="how many, of the roles and the broker in a random turn")] = 30,
    seed: Annotated[int, typer.Option(help="decides who, when, and for how long")] = 1,
    quick: Annotated[bool, typer.Option(help="the first 4,000 ticks of a tape; a recording is its own reference")] = False,
    report: Report = None,
) -> None:
    """Kill, stall, cut off and slow down random roles while a tape runs: what comes out must be what it is undisturbed.

    Beside the kills (-9, the broker too) a third as many stalls (SIGSTOP for 1 to 12 s) and cuts of a role's way to the broker,
    and, where strace is installed, a sixth as many slow disks. Compared is what `verify replay` compares, and the lake
    with the topics: each tick once. It runs on a broker of its own, whatever TICKCAST_BROKER says.
    """
    from deploy.verify import faults as check  # noqa: PLC0415 - the command line must answer --help at once

    figures = check.run(settings.load(), tape, out, kills=kills, seed=seed, quick=quick)
    show(figures, check.as_table(figures), report)


def everything(
    tape: Tape,
    quick: Annotated[bool, typer.Option(help="the short form of each")] = False,
    only: Annotated[str, typer.Option(help="some of them, comma separated; default: all")] = "",
    report: Report = None,
) -> None:
    """Run every check, one after another, and write all figures into one file: parity, replay, contract, faults and more."""
    from deploy.verify import everything as checks  # noqa: PLC0415 - the command line must answer --help at once

    figures = checks.run(tape, out, quick=quick, only=[name for name in only.split(",") if name])
    show(figures, checks.as_table(figures), report)
