"""What a study is: options in, a report out. Every table has the naive row that published tables leave out.

`catalog.py` names the studies, `rows.py` measures forecasts into rows, `report.py` makes a page and JSON of a report, and
`resume.py` keeps finished parts, so that a study that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from streams.settings import Settings

Kind = Literal["published", "ours", "naive"]
Tell = Callable[[str, int, int], None]
"""What is done, how many parts of it, of how many."""


def _told_nobody(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Options:
    """How a study is run.

    Parameters
    ----------
    settings : Settings
        Of the command; everything that a study keeps is under :attr:`folder`.
    data : Path
        The folder that holds the inputs, in subfolders that `daily_files.py` names.
    quick : bool
        A small version, seconds long, that shows that all of it works; its figures mean nothing.
    seeds : int
        How many networks of each kind are trained, that differ in their seed alone.
    tell : Tell
        Called as the work goes on.
    """

    settings: Settings
    data: Path
    quick: bool = False
    seeds: int = 1
    tell: Tell = _told_nobody

    @property
    def folder(self) -> Path:
        """Where studies keep finished parts."""
        return self.settings.home / "studies"


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, what it means, and how its numbers are written."""

    name: str
    meaning: str
    form: str = ".2f"


@dataclass(frozen=True)
class Row:
    """What one forecaster reached.

    Parameters
    ----------
    values : Mapping[str, tuple[float, ...]]
        By the name of a column: a value for each seed, or one where nothing is random. A column may be missing.
    verdict : str
        What the Diebold-Mariano test against the naive row says, see :func:`models.evaluation.significance.verdict`.
    note : str
        What a reader must know of this row.
    """

    name: str
    kind: Kind
    values: Mapping[str, tuple[float, ...]]
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under one title: the published ones, ours, and the naive one."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Report:
    """What came out of a study.

    Parameters
    ----------
    about : str
        What was run, on what, in one sentence.
    verdicts : tuple[str, ...]
        What it means, a sentence each; "no demonstrated edge" where there is none.
    notes : tuple[str, ...]
        What to bear in mind.
    facts : Mapping[str, Any]
        More figures for programs; goes into the JSON alone, so it holds what JSON can.
    """

    study: str
    title: str
    about: str
    tables: tuple[Table, ...]
    verdicts: tuple[str, ...]
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class Study(Protocol):
    """A study. Its module loads no network library: `run` does, or processes that it starts do."""

    @property
    def name(self) -> str:
        """What `tickcast study` calls it."""

    def run(self, options: Options) -> Report:
        """Run it to its end, from where it was; may take long.

        Raises
        ------
        UserError
            The data are missing or damaged, in one sentence that says what to do; nothing is half-written.
        """
