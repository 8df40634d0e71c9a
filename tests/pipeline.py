"""Runs `tickcast up` as a user would, in a process of its own, and reads what it left on the topics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from streams import bus, codec
from streams.errors import BadMessage
from streams.messages import Message
from streams.settings import Settings

M = TypeVar("M", bound=Message)


def tickcast(settings: Settings, *arguments: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command with `settings`, wait for it, and return what it said."""
    variables = os.environ | settings.environment()
    command = [sys.executable, "-m", "deploy", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout_s, check=False)


def run_tape(settings: Settings, tape: Path, report: Path) -> dict[str, Any]:
    """Replay `tape` at full speed through every role until it has drained; return the report."""
    arguments = ("up", "--headless", "--replay", str(tape), "--speed", "max", "--until-drained", "--report", str(report))
    done = tickcast(settings, *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs(settings)
    figures: dict[str, Any] = json.loads(report.read_text())
    return figures


def logs(settings: Settings) -> str:
    """Return the end of every role's log, for a failed test's message."""
    files = sorted((settings.state / "logs").glob("*.log"))
    return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)


def messages(settings: Settings, topic: str, kind: type[M]) -> Iterator[M]:
    """Yield every readable message of `topic`."""
    for record in bus.read_all(settings, topic):
        try:
            yield codec.decode(kind, record.value)
        except BadMessage:
            continue
