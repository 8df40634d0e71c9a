"""`tickcast up`: from options to a plan, and from a finished run to its report."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from deploy import audit, pages, replaying, roles, running, steering
from deploy.ledger import Reader
from deploy.local import jars, supervisor
from deploy.local.processes import GIVES_WAY, LAST, Process
from deploy.local.supervisor import Plan, Supervisor
from deploy.steering import Again, Steering
from producers import catalog
from producers.catalog import Choice
from producers.recorded import RecordedTape
from streams import bus
from streams.errors import SourceError
from streams.settings import Settings

MISSING_EVERY_S = 15.0  # how often a draining run says what it waits for


@dataclass(frozen=True)
class Options:
    """What the user asked of `tickcast up`, beyond the settings."""

    choice: Choice
    arguments: tuple[str, ...]
    """The choice again, as arguments of `tickcast produce`."""
    headless: bool = False
    until_drained: bool = False
    duration_s: float = 0.0
    report: Path | None = None
    open_page: bool = False
    retrain: tuple[str, ...] = ()
    """Arguments of `tickcast retrain`, which then runs as a role; none: nobody trains again."""

    @property
    def bounded(self) -> bool:
        """Whether the run ends by itself: the source then waits until every role is ready."""
        return self.until_drained or self.duration_s > 0


def run(settings: Settings, options: Options, console: Console) -> dict[str, Any] | None:
    """Run everything until it is stopped, drained or out of time; return the report of a bounded run that got there."""
    source = catalog.open_source(options.choice, settings)  # what cannot be read is said before anything starts
    if isinstance(source, RecordedTape):
        raise SourceError("a recording holds what was scored, and brings its models: `tickcast replay DIR` plays it")
    settings = namespaced(pages.with_token(settings), options.choice)
    roles.spark_jars(settings)
    jars.folder(settings, "broker")
    with supervisor.with_broker(settings) as own:
        named = own
        while isinstance(outcome := _noted(named, options, console), Again):
            named = begun_again(named, options, outcome)
            console.print(f"the tape begins again in {named.topic_prefix}", highlight=False)
        return outcome


def _noted(settings: Settings, options: Options, console: Console) -> dict[str, Any] | Again | None:
    """Run once; of a tape with a note for those who steer it."""
    if "replay" not in options.choice.names or options.choice.ticks is None:
        return Run(settings, options, console).run()
    page = 0 if options.headless else settings.console_port
    with running.noted(settings, str(Path(options.choice.ticks[1]).resolve()), page):
        return Run(settings, options, console).run()


def begun_again(settings: Settings, options: Options, again: Again) -> Settings:
    """Return settings of a new namespace whose tape will run as it was told; the old one goes, where it was made for the tape."""
    named = namespaced(msgspec.structs.replace(settings, topic_prefix=""), options.choice)
    if settings.topic_prefix.startswith("replay-"):
        replaying.forget(settings)
    if bus.address_file(settings).exists():
        bus.address_file(named).write_text(f"{named.broker} {named.topic_prefix}")
    bus.ensure_topics(named)
    steering.carry_over(named, again.course)
    return named


def namespaced(settings: Settings, choice: Choice) -> Settings:
    """Return settings whose topics a replay has to itself: its event times must not meet those of a live market."""
    if settings.topic_prefix or "replay" not in choice.names:
        return settings
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return msgspec.structs.replace(settings, topic_prefix=f"replay-{stamp}.")


def plan(settings: Settings, options: Options) -> Plan:
    """Return which roles run and when.

    Unbounded: what every tick goes through starts first, the source and the rest once that runs, and training last. Bounded:
    the source waits until everything is ready, a trained model included.
    """

    def role(name: str, *arguments: str, niceness: int = 0) -> Process:
        return Process(name, settings, arguments, niceness)

    produce = role("produce", *options.arguments)
    console = () if options.headless else (role("console", niceness=GIVES_WAY),)
    steward = () if options.headless else (role("steward", niceness=GIVES_WAY),)
    work = (role("sentiment"), role("score"), role("archive", niceness=GIVES_WAY), *steward)
    train = role("train", "--ensure", niceness=LAST)
    again = ((role("retrain", *options.retrain, niceness=LAST),),) if options.retrain else ()
    if options.bounded:
        return Plan(((role("stream"), role("forecast")), (*work, *console), (train,), *again), held=(produce,))
    return Plan(((role("stream"), role("forecast"), *console), (produce, *work), (train,), *again))


class Run:
    """One run of `tickcast up`."""

    def __init__(self, settings: Settings, options: Options, console: Console) -> None:
        self._settings = settings
        self._options = options
        self._console = console
        self._supervisor = Supervisor(settings, plan(settings, options), console)
        self._steering = Steering(settings)
        self._released_s: float | None = None
        self._reader: Reader | None = None
        self._said_s = 0.0
        self._report: dict[str, Any] | None = None
        self._opened = False
        self._ended = threading.Event()

    def run(self) -> dict[str, Any] | Again | None:
        """Run until the end; return the report, where there is one, or that the tape has to begin again."""
        self._supervisor.install_signals()
        self._greet()
        if not self._options.bounded:
            watching = (self._settings, self._ended, lambda line: self._console.print(line, highlight=False))
            threading.Thread(target=audit.watch, args=watching, daemon=True, name="audit").start()
        try:
            self._supervisor.run(self._each)
        finally:
            self._ended.set()
            self._steering.stop()
            pages.door(self._settings).unlink(missing_ok=True)
        if isinstance(self._steering.verdict, Again):
            return self._steering.verdict
        if self._report is not None and self._options.report is not None:
            self._options.report.parent.mkdir(parents=True, exist_ok=True)
            self._options.report.write_text(json.dumps(self._report, indent=2) + "\n")
        return self._report

    def _greet(self) -> None:
        if not self._options.headless:
            self._console.print(f"the page: {pages.address(self._settings)}", highlight=False, soft_wrap=True)

    def _each(self) -> None:
        self._open_page()
        self._steer()
        if not self._options.bounded:
            return
        if self._released_s is None:
            self._release()
        elif self._options.until_drained:
            self._watch_drain(self._released_s)
        elif time.monotonic() - self._released_s > self._options.duration_s:
            self._finish(self._options.duration_s)

    def _steer(self) -> None:
        self._steering.heard(self._supervisor.statuses.of("produce"))
        self._steering.ended = self._supervisor.statuses.tape is not None
        if self._steering.verdict:
            self._supervisor.stop()

    def _open_page(self) -> None:
        shown = self._supervisor.statuses.of("console")
        if self._options.open_page and not self._opened and shown is not None and shown.state == "ready":
            self._opened = True
            pages.show(self._settings)

    def _release(self) -> None:
        """Start the source once every role is ready and the forecaster serves a trained model."""
        forecaster = self._supervisor.statuses.of("forecast")
        if forecaster is None or not forecaster.detail or not self._supervisor.all_ready():
            return
        self._console.print(f"all roles are ready, {forecaster.detail} is served: the source starts", highlight=False)
        if not self._options.until_drained:
            self._reader = Reader(self._settings, from_end=True)
        self._released_s = time.monotonic()
        self._supervisor.release()

    def _watch_drain(self, released_s: float) -> None:
        if self._supervisor.statuses.tape is None:
            return
        if self._reader is None:
            self._reader = Reader(self._settings)
        missing = self._reader.missing()
        if not missing:
            self._finish(time.monotonic() - released_s)
        elif time.monotonic() - self._said_s > MISSING_EVERY_S:
            self._said_s = time.monotonic()
            self._console.print("draining: " + ", ".join(missing), highlight=False)

    def _finish(self, seconds: float) -> None:
        if self._reader is not None:
            self._report = self._reader.finish(seconds)
        self._supervisor.stop()


def broker_only(settings: Settings, port: int, properties: Path | None) -> None:
    """Run the embedded broker in the foreground until SIGTERM or SIGINT."""
    from deploy.local.broker import Broker  # noqa: PLC0415 - the other roles need none of it

    named = msgspec.structs.replace(settings, broker_port=port)
    broker = Broker(named, settings.home / "broker", properties.read_text() if properties else "")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    broker.run(stop)
