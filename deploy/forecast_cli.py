"""`tickcast verify controls`, `tickcast verify lookahead` and `tickcast bench forecast`: what is claimed of the forecasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.report_file import Report, show
from streams import settings

out = Console()


def controls(
    quick: Annotated[bool, typer.Option(help="3 shorter random walks, one market with news")] = False,
    report: Report = None,
) -> None:
    """Train on simulated random walks, where no model may show skill, and on markets with news, where the LSTM must."""
    from deploy.verify import controls as check  # noqa: PLC0415 - the command line must answer --help at once

    plan = check.QUICK if quick else check.FULL
    with _telling(plan.steps) as tell:
        figures = check.run(settings.load(), plan, tell)
    show(figures, check.as_table(figures), report)


def lookahead(
    quick: Annotated[bool, typer.Option(help="2 times instead of 6, and no network is trained")] = False,
    seed: Annotated[int, typer.Option(help="of the market, and of which times are tried")] = 1,
    report: Report = None,
) -> None:
    """Change everything after random times, and demand that nothing changes that was known before, from features to scores."""
    from deploy.verify import lookahead as check  # noqa: PLC0415 - the command line must answer --help at once

    plan = check.QUICK if quick else check.FULL
    with _telling(plan.steps) as tell:
        figures = check.run(settings.load(), plan, seed, tell)
    show(figures, check.as_table(figures), report)


def bench_forecast(
    seconds: Annotated[float, typer.Option(min=10, help="how long each of the two loads is measured")] = 120.0,
    symbols: Annotated[Literal["6", "500"] | None, typer.Option(help="only the load of so many symbols")] = None,
    report: Report = None,
) -> None:
    """Time ticks on their way to the LSTM's forecasts, everything running: 60 ticks/s of 6 symbols, then 1,000 of 500."""
    from deploy import bench_forecast as bench  # noqa: PLC0415 - the command line must answer --help at once

    names = bench.LOADS if symbols is None else [f"{symbols} symbols"]
    figures = bench.run(settings.load(), seconds, out, names)
    show(figures, bench.as_table(figures), report)


@contextmanager
def _telling(total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar; each call of what is yielded begins the next of `total` pieces of work."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        begun = iter(range(total))
        yield lambda what: progress.update(task, description=what, completed=next(begun))
