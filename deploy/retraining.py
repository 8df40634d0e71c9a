"""`tickcast retrain --every`: trains again by the clock and after drift, each time in a process of its own.

A training that fails is tried again; one that was due while nothing ran here is made up for once, at the start; two never
overlap (`models/training/train.py` holds a lock besides). What happens is told on `events`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from kafka.errors import KafkaError

from streams import bus, codec, control
from streams.clock import wall_ts_us
from streams.errors import BadMessage, BrokerGone
from streams.messages import Control, Event
from streams.settings import Settings

ROLE = "retrain"
RETRY_S = 120.0
MOST_RETRIES = 3
REST = 0.25  # of the time between two trainings by the clock, in which drift causes none after one
USER_ERROR = 2  # the exit code of what another try will not mend
STATUS_S = 5.0
NICENESS = 10
CLOCK, DRIFT, AGAIN, ORDERED = "by the clock", "after drift", "after a failure", "as ordered"


@dataclass(frozen=True)
class Plan:
    """When, and how.

    Parameters
    ----------
    every_s : float
        Seconds from one training to the next.
    settle_s : float | None
        Seconds from a drift to the training that it causes; None: drift causes none.
    arguments : Sequence[str]
        Of `tickcast retrain`, for each training.
    """

    every_s: float
    settle_s: float | None = None
    arguments: Sequence[str] = ()


class Retrainer:
    """Runs trainings when they are due, one at a time.

    Parameters
    ----------
    start : Callable[[], subprocess.Popen[bytes]]
        Starts a training.
    """

    def __init__(self, settings: Settings, plan: Plan, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._settings = settings
        self._plan = plan
        self._start = start
        self._failures = 0
        self._stop = threading.Event()
        # one worker and at most one run waiting: what comes due while a training runs follows it, once
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._running: subprocess.Popen[bytes] | None = None
        self._book = control.Book("retrain")
        self._ordered: Control | None = None
        self.reporter = bus.StatusReporter(settings, ROLE)

    def run(self, stop: threading.Event) -> None:
        """Train when it is due until `stop` is set."""
        self._scheduler.add_job(
            self._train, "interval", seconds=self._plan.every_s, next_run_time=self._first(), id=CLOCK, args=[CLOCK]
        )
        self._scheduler.start()
        watchers = [
            threading.Thread(target=watch, args=(stop,), name=name, daemon=True)
            for name, watch in (("drift", self._watch), ("control", self._take_orders))
        ]
        for watcher in watchers:
            watcher.start()
        while not stop.wait(STATUS_S):
            self.reporter.say("ready", self._describe())
        self._scheduler.shutdown(wait=False)
        if self._running is not None:
            self._running.terminate()
            self._running.wait()
        for watcher in watchers:
            watcher.join(timeout=5)
        self.reporter.flush()

    def _first(self) -> datetime:
        """Return when the first training is due: at once where one was missed, and a whole interval from now without any past."""
        now = datetime.now(UTC)
        return max(now, (self._last() or now) + timedelta(seconds=self._plan.every_s))

    def _last(self) -> datetime | None:
        """Return when the last training ended, None where there was none."""
        try:
            return datetime.fromtimestamp(_last_file(self._settings).stat().st_mtime, UTC)
        except OSError:
            return None

    def _describe(self) -> str:
        due = [job.next_run_time for job in self._scheduler.get_jobs() if job.next_run_time is not None]
        if self._running is not None:
            return "a training runs"
        return f"the next training is due at {min(due):%Y-%m-%d %H:%M:%S} UTC" if due else ""

    def _watch(self, stop: threading.Event) -> None:
        if self._plan.settle_s is None:
            return
        for batch in bus.follow(self._settings, "events", stop=stop.is_set):
            for record in batch:
                self.see(record.value)

    def see(self, value: bytes | None) -> None:
        """Take a value of `events`; a drift makes a training due, where none is due for an earlier drift."""
        try:
            event = codec.decode(Event, value)
        except BadMessage:  # whoever wrote it is to blame, and nothing can be learnt from it here
            return
        if event.kind == "drift" and self._plan.settle_s is not None and self._scheduler.get_job(DRIFT) is None:
            seconds = max(self._plan.settle_s, self._rest_s())
            self._later(DRIFT, seconds)
            self._tell(f"drift: {event.detail}; a training is due in {seconds:.0f} s")

    def _take_orders(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._follow_orders(stop)
            except (KafkaError, BrokerGone):  # it is on its way back
                stop.wait(STATUS_S)

    def _follow_orders(self, stop: threading.Event) -> None:
        self._book.take(control.decoded(bus.read_all(self._settings, "control")))
        for asked in self._book.begun():
            if asked is self._ordered:
                continue
            self._answer(asked, "refused", "the training was broken off; ask again, it goes on from where it was")
        for records in bus.follow(self._settings, "control", stop=stop.is_set):
            self._book.take(control.decoded(records))
            for asked in self._book.waiting():
                self._order(asked)

    def _order(self, asked: Control) -> None:
        """Let a training begin now, where nobody else's does."""
        if control.is_stale(asked, wall_ts_us()):
            self._answer(asked, "refused", "nobody was there to train in time; ask again")
        elif self._running is not None or self._ordered is not None:
            self._answer(asked, "refused", "a training runs already")
        else:
            self._ordered = asked
            self._answer(asked, "begun", "a training begins; what serves goes on meanwhile")
            self._later(ORDERED, 0.0)

    def _answer(self, asked: Control, state: control.State, said: str) -> None:
        word = control.answer(asked, ROLE, state, said)
        control.send(self._settings, word)
        self._book.take([word])

    def _end_order(self, why: str, code: int) -> None:
        if why == ORDERED and self._ordered is not None:
            asked, self._ordered = self._ordered, None
            said = "the training is done" if code == 0 else f"the training ended with exit code {code}"
            self._answer(asked, "done" if code == 0 else "refused", said)

    def _rest_s(self) -> float:
        """Return for how many seconds yet no drift causes a training: markets that never rest must not train all day."""
        last = self._last()
        return 0.0 if last is None else last.timestamp() + REST * self._plan.every_s - datetime.now(UTC).timestamp()

    def _later(self, why: str, seconds: float) -> None:
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        self._scheduler.add_job(self._train, "date", run_date=due, id=why, args=[why], replace_existing=True)

    def _train(self, why: str) -> None:
        self._tell(f"a training begins, {why}")
        self._running = self._start()
        code = self._running.wait()
        self._running = None
        if code == 0:
            self._failures = 0
            _note(_last_file(self._settings))
            self._tell("the training is done")
        else:
            self._failed(code)
        self._end_order(why, code)

    def _failed(self, code: int) -> None:
        self._failures += 1
        again = code != USER_ERROR and self._failures <= MOST_RETRIES
        if again:
            self._later(AGAIN, RETRY_S)
        then = f"it is tried again in {RETRY_S:.0f} s, and goes on from where it was" if again else "it waits for the next time"
        self._tell(f"a training ended with exit code {code}; {then}; {log_path(self._settings)} says why", "alert")

    def _tell(self, what: str, kind: Any = "status") -> None:
        if kind == "status":
            self.reporter.say("ready", what)
            return
        event = Event(kind=kind, role=ROLE, wall_ts_us=wall_ts_us(), detail=what)
        with bus.producing(self._settings) as client:
            bus.send(client, self._settings, bus.outgoing("events", kind, event))


def log_path(settings: Settings) -> Path:
    """Return the file with the output of the trainings."""
    return settings.state / "logs" / "training.log"


def _last_file(settings: Settings) -> Path:
    return settings.home / "training" / "last"


def _note(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _starter(settings: Settings, arguments: Sequence[str]) -> Callable[[], subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "deploy", "--supervised", "retrain", *arguments]

    def start() -> subprocess.Popen[bytes]:
        log_path(settings).parent.mkdir(parents=True, exist_ok=True)
        with log_path(settings).open("ab") as log:
            variables = settings.inherited()
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables)

    return start


def run(settings: Settings, plan: Plan) -> None:
    """Run the schedule until SIGTERM or SIGINT."""
    bus.ensure_topics(settings)
    os.nice(max(0, NICENESS - os.getpriority(os.PRIO_PROCESS, 0)))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Retrainer(settings, plan, _starter(settings, plan.arguments)).run(stop)
