"""Processes that must not disturb the others: what their niceness is worth."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from deploy.local.processes import lowered, yield_to_others

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


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    return sum(psutil.Process(process.pid).cpu_times()[:2])
