"""The figures of a check or a benchmark: for people, for programs, and as the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from streams.errors import EnvironmentFault

Report = Annotated[Path | None, typer.Option("--json", "--report", help="write the figures here")]
out = Console()


def show(figures: dict[str, Any], table: Table, path: Path | None) -> None:
    """Write and print the figures of a claim; exit 1 where it does not hold.

    Raises
    ------
    EnvironmentFault
        As :func:`write_figures`.
    """
    write_figures(figures, path)
    out.print(table)
    out.print("the claim holds" if figures["holds"] else "the claim DOES NOT hold")
    if not figures["holds"]:
        raise typer.Exit(1)


def write_figures(figures: dict[str, Any], path: Path | None) -> None:
    """Write `figures` to `path` as JSON; nothing where no path was asked for.

    Raises
    ------
    EnvironmentFault
        The file cannot be written.
    """
    if path is None:
        return
    try:
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"the figures cannot be written to {path}: {error}") from error
