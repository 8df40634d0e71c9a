"""The figures of a check or a benchmark, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streams.errors import EnvironmentFault


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
