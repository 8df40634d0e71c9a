"""`tickcast verify all`: every check as a command of its own, one after another, their figures in one file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.errors import SettingsError

Arguments = tuple[str, ...]

FULL: Mapping[str, Arguments] = {
    "parity": ("--shuffle-s", "30", "--late", "0.02", "--duplicates", "0.05", "--kills", "3"),
    "replay": (),
    "contract": (),
    "faults": ("--kills", "30"),
    "lookahead": (),
    "controls": (),
    "training": (),
    "security": (),
    "fuzz": (),
    "burst": (),
}
QUICK: Mapping[str, Arguments] = {**FULL, "faults": ("--kills", "4")}
WITHOUT_TAPE = frozenset({"lookahead", "controls", "training", "fuzz", "burst"})


def run(tape: Path, console: Console, *, quick: bool, only: Sequence[str] = ()) -> dict[str, Any]:
    """Run the checks and return their figures by name; `holds` where all of them do.

    Raises
    ------
    SettingsError
        `only` names a check that there is not.
    """
    if unknown := [name for name in only if name not in FULL]:
        raise SettingsError(f"there is no check {unknown[0]!r}; there are {', '.join(FULL)}")
    checks = {name: _check(name, tape, console, quick=quick) for name in FULL if not only or name in only}
    return {"quick": quick, "checks": checks, "holds": all(check["holds"] for check in checks.values())}


def _check(name: str, tape: Path, console: Console, *, quick: bool) -> dict[str, Any]:
    console.print(f"{name} …", highlight=False)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "figures.json"
        done = subprocess.run([*command(name, tape, quick=quick), "--json", str(path)], check=False)
        figures = json.loads(path.read_text()) if path.exists() else {}
    seconds = round(time.monotonic() - began_s, 1)
    return {"holds": done.returncode == 0, "exit_code": done.returncode, "seconds": seconds, "figures": figures}


def command(name: str, tape: Path, *, quick: bool) -> list[str]:
    """Return the command of a check."""
    arguments = [*(QUICK if quick else FULL)[name], *(["--quick"] if quick else [])]
    where = [] if name in WITHOUT_TAPE else ["--tape", str(tape)]
    return [sys.executable, "-m", "deploy", "verify", name, *where, *arguments]


def as_table(figures: dict[str, Any]) -> Table:
    """Return the verdicts for people."""
    table = Table("check", "holds", "seconds")
    for name, check in figures["checks"].items():
        table.add_row(name, "yes" if check["holds"] else f"NO (exit code {check['exit_code']})", f"{check['seconds']:,.1f}")
    return table
