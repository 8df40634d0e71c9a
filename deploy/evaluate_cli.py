"""`tickcast evaluate`: forecasters in walk-forward, on the lake or on files, as a report and as figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.report_file import Report, write_figures
from streams import settings
from streams.errors import EnvironmentFault
from streams.settings import Settings

out = Console()
DEFAULT = ("garch", "har-rv", "linear", "lstm")


def evaluate(  # noqa: PLR0913, PLR0917 - a command's options are its arguments
    files: Annotated[
        list[Path] | None, typer.Argument(help="minute bars or ticks, as `tickcast ingest` reads them; default: the lake")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="again for more: random-walk, garch, har-rv, linear, rnn, lstm, lstm-mc, lstm-ensemble, or all"),
    ] = None,
    folds: Annotated[int, typer.Option(min=1, max=50, help="blocks in time, each with models fitted anew")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="of the networks, at most")] = 12,
    seed: Annotated[int, typer.Option(help="of everything random")] = 7,
    html: Annotated[Path | None, typer.Option(help="write a report with plots here; needs matplotlib")] = None,
    report: Report = None,
) -> None:
    """Evaluate forecasters on unseen minutes against a random walk; "edge" is said only where a test says so."""
    from models.evaluation import plots, summary, walk_forward  # noqa: PLC0415 - the command line must answer --help at once
    from models.evaluation import report as pages  # noqa: PLC0415
    from models.forecaster import catalog  # noqa: PLC0415
    from models.forecaster.base import Effort  # noqa: PLC0415

    recipes = catalog.chosen(list(catalog.CATALOG) if model == ["all"] else list(model or DEFAULT))
    if html is not None:
        plots.figure_class()
    rows = _rows(settings.load(), files or [])
    with _telling(len(recipes) * folds) as tell:
        trial = walk_forward.run(rows, recipes, seed=seed, effort=Effort(epochs), count=folds, tell=tell)
    figures = summary.summary(trial, catalog.NAIVE)
    write_figures(figures, report)
    if html is not None:
        _write(html, pages.page(figures, plots.pictures(trial, figures), "tickcast: forecasters in walk-forward"))
        out.print(f"the report is in {html}", highlight=False)
    out.print(_table(figures))
    for line in pages.verdicts(figures):
        out.print(line, highlight=False, markup=False)


def _rows(config: Settings, files: list[Path]) -> pl.DataFrame:
    """Return the final feature rows of the lake, or of `files` by way of a lake that is gone afterwards."""
    from models.training import dataset  # noqa: PLC0415 - the command line must answer --help at once

    if not files:
        return dataset.final_rows(config)
    from deploy import ingest  # noqa: PLC0415 - starts Spark
    from producers.table import Wanted  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as home:
        own = msgspec.structs.replace(config, home=Path(home))
        ingest.run(own, files, Wanted(), out)
        return dataset.final_rows(own)


@contextmanager
def _telling(total: int) -> Iterator[Callable[[str], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=total)
        begun = iter(range(total))
        yield lambda what: progress.update(task, description=what, completed=next(begun))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error}") from error


def _table(figures: dict[str, Any]) -> Table:
    title = f"{figures['windows']:,} unseen forecasts at each horizon"
    table = Table(title=title, box=None, padding=(0, 1, 0, 0), pad_edge=False)  # fits 80 columns
    for name in ("model", "min", "skill", "DM p", "CRPS bp", "80 %", "95 %", "PT p", "verdict"):
        table.add_column(name, no_wrap=True)
    for name, rows in figures["models"].items():
        for horizon, row in rows.items():
            table.add_row(name, horizon, *_cells(row))
    return table


def _cells(row: dict[str, Any]) -> Iterator[str]:
    yield "-" if row["skill"] is None else f"{row['skill']:+.2%}"
    yield from (f"{row['dm']['p_value']:.3f}", f"{row['crps'] * 1e4:.3f}")
    yield from (f"{row['coverage'][share]['share']:.1%}" for share in ("80", "95"))
    yield from (f"{row['pt']['p_value']:.3f}", row["verdict"])
