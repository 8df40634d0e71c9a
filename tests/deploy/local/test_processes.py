"""Processes that must not disturb the others: what their niceness is worth."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from deploy.local.processes import Process, lowered, yield_to_others
from streams import settings
from streams.testing import eventually

SPIN = "while True: pass"


def test_a_session_that_yields_gets_what_another_leaves() -> None:
    commands = [lowered([sys.executable, "-c", SPIN], niceness) for niceness in (10, 0)]
    spinning = [subprocess.Popen(command, start_new_session=True) for command in commands]
    try:
        for one in spinning:
            os.sched_setaffinity(one.pid, {0})
        yield_to_others(spinning[0].pid, 10)
        before = [_cpu_s(one) for one in spinning]
        time.sleep(2)
        behind, ahead = (_cpu_s(one) - start for one, start in zip(spinning, before, strict=True))
    finally:
        for one in spinning:
            one.kill()
            one.wait()
    assert ahead > 3 * behind


def test_a_process_that_has_ended_yields_no_more() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    yield_to_others(ended.pid, 10)


@pytest.mark.parametrize(
    ("role", "needs"),
    [
        ("produce", {"ALPACA_KEY", "ALPACA_SECRET", "POLYGON_KEY"}),
        ("console", {"CONSOLE_TOKEN"}),
        ("steward", {"CONSOLE_TOKEN"}),
        ("forecast", set()),
    ],
)
def test_a_role_finds_the_secrets_that_it_needs_in_its_environment_and_no_other(
    role: str, needs: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {f"TICKCAST_{name.upper()}": f"secret {name}" for name in settings.SECRETS}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    process = Process(role, settings.load(variables, home=tmp_path))
    process.start()
    try:
        found = eventually(partial(_environment, process.pid))
    finally:
        process.stop()
    assert {name for name in variables if "secret" in found[name]} == {f"TICKCAST_{name}" for name in needs}


def _environment(pid: int) -> dict[str, str]:
    """Return the environment of a process, nothing until it has one of its own: it comes a moment after its program."""
    found = psutil.Process(pid).environ()
    return found if "TICKCAST_HOME" in found else {}


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    return sum(psutil.Process(process.pid).cpu_times()[:2])
