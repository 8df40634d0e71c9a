"""One role as an operating-system process: started, watched, restarted with back-off, stopped, its output in one log file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from streams.settings import Settings

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 30.0
USER_ERROR = 2
STOP_TIMEOUT_S = 20.0
GIVES_WAY = 5  # niceness of what keeps and shows what others make: a quarter of a core that another wants too
LAST = 10  # niceness of training: a tenth
AUTOGROUP_TRIES, AUTOGROUP_PAUSE_S = 5, 0.1  # Linux lets a user lower one session in a tenth of a second
# What a role does not need cannot be read out of its environment, nor out of what it has started.
SECRETS_OF = {
    "produce": ("alpaca_key", "alpaca_secret", "polygon_key"),
    "console": ("console_token",),
    "steward": ("console_token",),  # the page of a replay that it starts asks for the same
}


@dataclass
class Process:
    """A role and its current process.

    Attributes
    ----------
    role : str
        Name of the command, as in `stream`.
    arguments : tuple[str, ...]
        Further arguments of that command.
    niceness : int
        How far it comes after others that want the same core: none of what makes forecasts, :data:`GIVES_WAY`, :data:`LAST`.
    """

    role: str
    settings: Settings
    arguments: tuple[str, ...] = ()
    niceness: int = 0
    restarts: int = 0
    finished: bool = False
    handle: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    _retry_s: float = field(default=0.0, repr=False)

    @property
    def log_path(self) -> Path:
        """Where the process's output goes."""
        return self.settings.state / "logs" / f"{self.role}.log"

    @property
    def pid(self) -> int:
        """The process id, 0 where none runs."""
        return self.handle.pid if self.handle is not None and self.handle.poll() is None else 0

    def start(self) -> None:
        """Start the role with the secrets that it needs; its output is appended to its log."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        command = lowered([sys.executable, "-m", "deploy", "--supervised", self.role, *self.arguments], self.niceness)
        variables = self.settings.keeping(SECRETS_OF.get(self.role, ())).inherited() | {"PYTHONUNBUFFERED": "1"}
        with self.log_path.open("ab") as log:
            # a session of its own: Ctrl-C goes to the supervisor alone, which stops the roles in order
            self.handle = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, start_new_session=True
            )
        if self.niceness:
            yield_to_others(self.handle.pid, self.niceness)
        self.started_s = time.monotonic()

    def tend(self) -> str | None:
        """Restart the role where it died and its back-off is over; return a sentence where something happened."""
        if self.handle is None or self.finished or (code := self.handle.poll()) is None:
            return None
        if code == 0:
            self.finished = True
            return f"{self.role} is done"
        if not self._retry_s:
            pause = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2**self.restarts)
            self._retry_s = time.monotonic() + pause
            return f"{self.role} died (exit code {code}); again in {pause:.0f} s; {self.log_path} says why"
        if time.monotonic() < self._retry_s:
            return None
        self._retry_s, self.restarts = 0.0, self.restarts + 1
        self.start()
        return f"{self.role} started again"

    @property
    def broken(self) -> bool:
        """Whether the process has ended, well or not."""
        return self.handle is not None and self.handle.poll() is not None

    @property
    def condition(self) -> str:
        """How the process is, in a word, where it has not said so itself."""
        if self.handle is None:
            return "waiting"
        return "starting" if self.pid else "done" if self.finished else "died"

    @property
    def refused(self) -> bool:
        """Whether the role ended because of something that only a person can mend."""
        return self.handle is not None and self.handle.poll() == USER_ERROR

    def last_line(self) -> str:
        """Return the last line of the log."""
        lines = self.log_path.read_text(errors="replace").strip().splitlines() if self.log_path.exists() else []
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """Kill the process (-9) with all that it has started, and start it again, as if it had died."""
        if self.handle is not None:
            with suppress(ProcessLookupError):  # it has died of itself
                os.killpg(self.handle.pid, signal.SIGKILL)
            self.handle.wait()
        self.restarts += 1
        self.start()

    def stop(self) -> None:
        """Stop the process and wait until it has ended."""
        self.ask_to_stop()
        self.wait_stopped()

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process, where it runs."""
        if self.pid and self.handle is not None:
            self.handle.terminate()

    def wait_stopped(self) -> None:
        """Wait until the process has ended; kill it where it does not within `STOP_TIMEOUT_S`."""
        if self.handle is None:
            return
        try:
            self.handle.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.handle.kill()
            self.handle.wait()


def lowered(command: list[str], niceness: int) -> list[str]:
    """Return `command` with a niceness, which counts among all processes where Linux has no autogroups."""
    return ["nice", "-n", str(niceness), *command] if niceness else command


def yield_to_others(pid: int, niceness: int) -> None:
    """Let the session of `pid` come after all others where they compete for a core, as `nice` alone would not.

    Linux shares the cores between sessions first (autogroups, where they are switched on), and each of our processes has its own:
    within one, niceness only counts among its threads. Elsewhere there is nothing to do.
    """
    group = Path(f"/proc/{pid}/autogroup")
    for _ in range(AUTOGROUP_TRIES):
        try:
            group.write_text(str(niceness))
        except BlockingIOError:
            time.sleep(AUTOGROUP_PAUSE_S)
        except OSError:  # no autogroups here, or the process has ended already
            return
        else:
            return
