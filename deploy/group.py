"""A group of sentiment workers that a benchmark starts, kills and stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from streams.settings import Settings

STOP_S = 30.0


class Group:
    """Workers of one consumer group, each `tickcast sentiment` in a process of its own; leaving the block ends them all.

    Attributes
    ----------
    kills : int
        How many were killed; each is also a rebalance, once the broker misses it, and another when its successor comes.
    rebalances : int
        How often the group was asked for a rebalance besides: a worker more, or one less.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: list[subprocess.Popen[bytes]] = []
        self.kills = 0
        self.rebalances = 0

    def __enter__(self) -> Group:
        """Return the group, without workers."""
        self._settings.state.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop every worker."""
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self._workers:
            _wait(worker)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        with (self._settings.state / "workers.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "deploy", "sentiment"],
                env=self._settings.inherited(),
                stdout=log,
                stderr=log,
            )
        self._workers.append(worker)
        return worker

    def pids(self) -> set[int]:
        """Return the process ids of the workers that should be at work."""
        return {worker.pid for worker in self._workers}

    def kill(self) -> None:
        """Kill the oldest worker as a machine's failure would, and start another in its place."""
        worker = self._workers.pop(0)
        worker.kill()
        worker.wait()
        self.kills += 1
        self.start()

    def join(self) -> None:
        """Start one more worker: the group's partitions are dealt anew."""
        self.start()
        self.rebalances += 1

    def leave(self) -> None:
        """Stop the newest worker cleanly: the group's partitions are dealt anew."""
        worker = self._workers.pop()
        worker.send_signal(signal.SIGTERM)
        _wait(worker)
        self.rebalances += 1


def _wait(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(STOP_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that process `pid` has used, on all of its threads; NaN where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
