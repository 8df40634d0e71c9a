"""`tickcast verify security`, and what else is claimed of an unfriendly world: bad bytes, bursts."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.proof_cli import Tape, out
from deploy.report_file import Report, show
from streams import settings


def security(
    tape: Tape,
    quick: Annotated[bool, typer.Option(help="with passwords only, and fewer refusals")] = False,
    report: Report = None,
) -> None:
    """Run every role over TLS with few rights, be refused without them, and look for secrets in all that was written and said.

    It runs on a broker of its own with TLS, SCRAM-SHA-512, OAUTHBEARER and rights, whatever TICKCAST_BROKER says, and takes
    the first 4,000 ticks of the tape.
    """
    from deploy.verify import security as check  # noqa: PLC0415 - the command line must answer --help at once

    figures = check.run(settings.load(), tape, out, quick=quick)
    show(figures, check.as_table(figures), report)


def fuzz(
    messages: Annotated[
        int, typer.Option(min=100, help="fuzzed ones to each topic; a tenth as many good ones besides")
    ] = 100_000,
    topic: Annotated[list[str] | None, typer.Option(help="only this one; may be repeated")] = None,
    quick: Annotated[bool, typer.Option(help="2,000 messages to ticks, headlines and features")] = False,
    report: Report = None,
) -> None:
    """Send bad messages to every input topic in turn, good ones among them: none may be lost, each bad one is a dead letter.

    It runs on a broker of its own, and looks whether the memory of the roles stays flat.
    """
    from deploy.verify import fuzz as check  # noqa: PLC0415 - the command line must answer --help at once

    topics = topic or (check.QUICK_TOPICS if quick else ())
    figures = check.run(settings.load(), check.QUICK_MESSAGES if quick else messages, topics, out)
    show(figures, check.as_table(figures), report)


def burst(
    rate: Annotated[float, typer.Option(min=1, help="ticks a second that are steady; the burst has twenty times as many")] = 60.0,
    seconds: Annotated[float, typer.Option(min=1, help="how long the burst is")] = 60.0,
    quick: Annotated[bool, typer.Option(help="a burst of 10 s")] = False,
    report: Report = None,
) -> None:
    """Run all through a burst of twenty times the steady rate: no loss, no growth, newest forecasts first, soon drained."""
    from deploy.verify import burst as check  # noqa: PLC0415 - the command line must answer --help at once

    figures = check.run(settings.load(), rate, 10.0 if quick else seconds, out)
    show(figures, check.as_table(figures), report)
