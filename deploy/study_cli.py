"""`tickcast study`: published studies, rebuilt on this system, each with the naive row beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.report_file import write_figures
from models.studies import base, catalog
from models.studies.base import Options, Tell
from streams import settings
from streams.errors import EnvironmentFault, UserError

app = typer.Typer(no_args_is_help=True, help="Rebuild published studies, and hold them against the naive forecast.")
out = Console()

Quick = Annotated[bool, typer.Option(help="a small version that shows that all of it works; its figures mean nothing")]
Seeds = Annotated[int, typer.Option(min=1, max=100, help="networks of each kind, which differ in their seed alone")]
Data = Annotated[Path | None, typer.Option(help="folder of the daily files; default: what `tickcast study fetch` downloaded")]
Html = Annotated[Path | None, typer.Option(help="where the report goes; default: HOME/studies/NAME.html")]
Json = Annotated[Path | None, typer.Option("--json", "--report", help="where the figures go; default: HOME/studies/NAME.json")]


@app.command("all")
def everything(quick: Quick = False, seeds: Seeds = 1, data: Data = None, html: Html = None, report: Json = None) -> None:
    """Run every study; one that cannot be run is told at the end, and the others are done all the same."""
    done, failed = [], []
    for name in catalog.SUMMARIES:
        try:
            done.append(_run(name, quick, seeds, data))
        except UserError as error:
            failed.append(f"{name}: {error}")
    if done:
        _write("all", done, html, report)
    if failed:
        raise UserError("; ".join(failed))


@app.command()
def fetch(
    data: Annotated[Path | None, typer.Option(help="where to; default: where the studies look")] = None,
    symbols: Annotated[str, typer.Option(help="comma separated; the SSE index comes too")] = "AAPL,MSFT,GOOGL,AMZN,TSLA,META",
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="first day")] = datetime(2010, 1, 1),  # noqa: DTZ001 - a day
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="last day")] = datetime(2024, 12, 31),  # noqa: DTZ001 - a day
) -> None:
    """Download the daily prices that the studies read, from Yahoo Finance by yfinance; what is there already is not asked for."""
    from producers import daily_fetch, daily_yahoo  # noqa: PLC0415 - the command line must answer --help at once

    files = daily_fetch.wanted(part.strip().upper() for part in symbols.split(",") if part.strip())
    with telling() as tell:
        written = daily_fetch.fetch(
            data_folder(data), files, (first.date(), last.date()), daily_yahoo.bars, lambda done: tell("files", done, len(files))
        )
    out.print(f"{len(written)} files written to {data_folder(data)}, {len(files) - len(written)} were there", highlight=False)


def _command(name: str) -> Callable[..., None]:
    def run(quick: Quick = False, seeds: Seeds = 1, data: Data = None, html: Html = None, report: Json = None) -> None:
        _write(name, [_run(name, quick, seeds, data)], html, report)

    return run


for _name, _summary in catalog.SUMMARIES.items():
    app.command(_name, help=_summary)(_command(_name))


def data_folder(data: Path | None) -> Path:
    """Return the folder of the daily files: `data`, or where the download puts them."""
    return data or settings.load().home / "data"


def _run(name: str, quick: bool, seeds: int, data: Path | None) -> base.Report:
    from models.evaluation import plots  # noqa: PLC0415 - the command line must answer --help at once

    plots.figure_class()
    with telling() as tell:
        found = catalog.named(name).run(Options(settings.load(), data_folder(data), quick, seeds, tell))
    for table in found.tables:
        out.print(_table(table))
    for line in found.verdicts:
        out.print(line, highlight=False, markup=False)
    return found


def _write(name: str, reports: list[base.Report], html: Path | None, figures: Path | None) -> None:
    from models.studies import report as pages  # noqa: PLC0415 - as above

    folder = settings.load().home / "studies"
    told = {one.study: pages.figures(one) for one in reports}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (html or folder / f"{name}.html").write_text(pages.page(reports), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"the report cannot be written to {html or folder}: {error}") from error
    write_figures(told if name == "all" else told[name], figures or folder / f"{name}.json")
    out.print(f"the report is in {html or folder / f'{name}.html'}", highlight=False)


@contextmanager
def telling() -> Iterator[Tell]:
    """Show progress bars, one for each thing that is told of."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield tell


def _table(table: base.Table) -> Table:
    from models.studies.report import cell  # noqa: PLC0415 - as above

    shown = Table(title=table.title, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column("", min_width=20)
    for name in (*(column.name for column in table.columns), "verdict"):
        shown.add_column(name, no_wrap=True)
    for row in table.rows:
        name = row.name if row.kind == "ours" else f"{row.name} ({row.kind})"
        shown.add_row(name, *(cell(column, row, spreads=False) for column in table.columns), row.verdict)  # spreads: in the page
    return shown
