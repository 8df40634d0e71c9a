"""`tickcast up`: every role as a process, in a good order, restarted when it dies, stopped together."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.local.broker import answers, free_port
from deploy.local.processes import Process
from deploy.local.statuses import Statuses
from streams import bus
from streams.errors import EnvironmentFault, UserError
from streams.settings import Settings
from streams.testing import eventually

ROUND_S = 0.25
BROKER_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Plan:
    """Which roles run, and when: a phase starts when every role of the phases before it is ready; `held` waits to be released."""

    phases: tuple[tuple[Process, ...], ...]
    held: tuple[Process, ...] = ()

    @property
    def processes(self) -> tuple[Process, ...]:
        """All of them, in order."""
        return tuple(process for phase in self.phases for process in phase) + self.held


class Supervisor:
    """Runs a plan until it is stopped.

    Parameters
    ----------
    settings : Settings
        `broker` names the broker that runs; an embedded one is started before, by :func:`with_broker`.
    plan : Plan
        The roles.
    console : rich.console.Console
        Where the table, and a line for whatever happens, go.

    Attributes
    ----------
    note : str
        A line below the table.
    """

    def __init__(self, settings: Settings, plan: Plan, console: Console) -> None:
        self.settings = settings
        self.plan = plan
        self._console = console
        self._stop = threading.Event()
        self._announced: set[str] = set()
        self._started_s = time.monotonic()
        bus.ensure_topics(settings)
        self.statuses = Statuses(settings)
        self.note = ""

    def install_signals(self) -> None:
        """Let Ctrl-C and SIGTERM stop everything cleanly."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())

    def stop(self) -> None:
        """Ask :meth:`run` to end."""
        self._stop.set()

    def run(self, each: Callable[[], None] = lambda: None) -> None:
        """Start the plan and tend it until it is stopped; `each` is called in every round."""
        try:
            with self._display() as draw:
                while not self._stop.wait(ROUND_S):
                    self._start_due()
                    self._tend()
                    each()
                    draw()
        finally:
            self._shut_down()

    @contextmanager
    def _display(self) -> Iterator[Callable[[], None]]:
        if not self._console.is_terminal:
            yield lambda: None
            return
        with Live(self.table(), console=self._console, refresh_per_second=2) as live:
            yield lambda: live.update(self.table())

    def ready(self, process: Process) -> bool:
        """Return whether this very process has said that it is ready, or has done its work."""
        event = self.statuses.of(process.role, process.pid)
        return process.finished or (bool(process.pid) and event is not None and event.state == "ready")

    def all_ready(self) -> bool:
        """Return whether every role but the held ones is ready."""
        return all(self.ready(process) for phase in self.plan.phases for process in phase)

    def release(self) -> None:
        """Start the held roles."""
        for process in self.plan.held:
            process.start()

    def _start_due(self) -> None:
        for phase in self.plan.phases:
            for process in phase:
                if process.handle is None:
                    process.start()
            if not all(self.ready(process) for process in phase):
                return

    def _tend(self) -> None:
        for process in self.plan.processes:
            if process.refused:
                raise UserError(f"{process.role}: {process.last_line()}")
            if sentence := process.tend():
                self._say(sentence)
            elif process.role not in self._announced and process.pid and self.ready(process):
                self._announced.add(process.role)
                self._say(f"{process.role} is ready ({time.monotonic() - self._started_s:.0f} s)")

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False)

    def _shut_down(self) -> None:
        """Stop all roles: the producer first, so that nothing new comes, then the others together."""
        producing = [process for process in self.plan.processes if process.role == "produce"]
        others = [process for process in self.plan.processes if process.role != "produce"]
        for group in (producing, others):
            for process in group:
                process.ask_to_stop()
            for process in group:
                process.wait_stopped()
        self.statuses.stop()

    def table(self) -> Table:
        """Return the status of all roles as one table."""
        title = f"tickcast · logs in {self.settings.state / 'logs'} · Ctrl-C stops"
        table = Table(title=title, title_justify="left", caption=self.note or None, caption_justify="left")
        for column in ("role", "state", "pid", "restarts", "detail", "counts"):
            table.add_column(column, justify="right" if column in {"pid", "restarts"} else "left")
        for process in self.plan.processes:
            table.add_row(*self._row(process))
        return table

    def _row(self, process: Process) -> tuple[str, ...]:
        event = self.statuses.of(process.role, process.pid) if process.pid else None
        counts = {} if event is None else {name: count for name, count in event.counts.items() if name != "pid"}
        return (
            process.role,
            process.condition if event is None else event.state or process.condition,
            str(process.pid or "-"),
            str(process.restarts),
            "" if event is None else event.detail,
            " ".join(f"{name} {count:,}" for name, count in counts.items()),
        )


def start_broker(settings: Settings, *arguments: str) -> tuple[Settings, Process]:
    """Start the embedded broker as a process and wait until it answers; return settings that name it, and the process.

    `arguments` are further ones of `tickcast broker`.

    Raises
    ------
    EnvironmentFault
        It does not come up; the sentence is the broker's own.
    """
    port = settings.broker_port or free_port()
    if answers(port):
        raise EnvironmentFault(f"port {port} is taken; set TICKCAST_BROKER_PORT to another one, or 0 for a free one")
    process = Process("broker", settings, ("--port", str(port), *arguments))
    process.start()
    eventually(lambda: process.broken or answers(port), BROKER_TIMEOUT_S)
    if process.broken:
        raise EnvironmentFault(process.last_line())
    named = msgspec.structs.replace(settings, broker=f"127.0.0.1:{port}")
    bus.address_file(settings).write_text(f"{named.broker} {named.topic_prefix}")
    return named, process


@contextmanager
def with_broker(settings: Settings) -> Iterator[Settings]:
    """Yield settings that name a broker: the one that is set, or an embedded one for the length of the `with` block."""
    if settings.broker:
        yield settings
        return
    named, process = start_broker(settings)
    try:
        yield named
    finally:
        process.stop()
        bus.address_file(settings).unlink(missing_ok=True)
