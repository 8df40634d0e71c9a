"""`tickcast verify security`, and what else is claimed of an unfriendly world: bad bytes, bursts."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.proof_cli import Report, Tape, out, show
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
