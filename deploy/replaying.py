"""A tape through the whole pipeline in a namespace of its own, to its end: `tickcast replay`, and what `tickcast verify` replays.

Topics, consumer groups, checkpoints, logs and lake are the namespace's (docs/adr/0004); of what else there is, only models are
read. Nothing is trained. Beside a running `tickcast up` it uses that one's broker.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from kafka.admin import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError, KafkaError
from rich.console import Console

from deploy import drained, pages, repeated, roles, running, steering
from deploy.local import jars, supervisor
from deploy.local.broker import free_port
from deploy.local.processes import GIVES_WAY, Process
from deploy.local.supervisor import Plan, Supervisor
from deploy.steering import Again, Steering
from models import registry
from models.forecaster.recurrent_recipe import NAME
from producers import tapes
from producers.lake_tape import DAY_US
from producers.pace import Course
from producers.recorded import RecordedTape
from producers.run import CLOCK
from producers.tapes import Cut
from streams import bus
from streams.bus import Outgoing
from streams.clock import SECOND_US, iso
from streams.errors import BrokerGone, EnvironmentFault, TickcastError
from streams.settings import Settings
from streams.testing import eventually
from streams.topics import TOPICS

CHECKPOINT_S = 10  # the engine says at its checkpoints how far it is
LONG_CHECKPOINT_S = 30  # of a tape of days: each costs it a second or more, and at the end one is waited for
LOOK_S = 1.0
SAY_EVERY_S = 15.0
FORGET_S = 20.0  # a broker that is so long without its topic of groups is not well
STUCK_S = 180.0  # nothing moves for so long behind the tape's end: something is lost


@dataclass(frozen=True)
class Wish:
    """What to replay, and how.

    Attributes
    ----------
    page : bool
        Whether the web page runs beside.
    port : int
        Of the page; 0: a free one.
    stay : bool
        Whether all goes on at the tape's end, until it is stopped or sought back.
    course : Course or None
        How the tape runs, where it was steered before it began again; None: at `speed`.
    each : callable
        Called several times a second with the supervisor, once the source runs.
    addresses : mapping
        Where a role finds the broker, of roles that find it elsewhere than everybody.
    """

    cut: Cut
    speed: str = "max"
    page: bool = False
    port: int = 0
    stay: bool = False
    course: Course | None = None
    each: Callable[[Supervisor], None] = field(default=lambda _: None)
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Played:
    """A replay that has come to its end."""

    settings: Settings
    seconds: float
    """From the source's start until all was through."""
    models: tuple[str, ...]
    records: dict[str, int]

    def report(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {
            "namespace": self.settings.topic_prefix,
            "seconds": round(self.seconds, 1),
            "ticks_per_s": round(self.records["ticks"] / max(self.seconds, 0.1)),
            "models": list(self.models),
            "records": self.records,
        }


@contextmanager
def with_broker(settings: Settings) -> Iterator[Settings]:
    """Lend settings with a broker: the one that is set or runs from this home, else one for the length of the block."""
    jars.java(settings)
    try:
        found = bus.find_broker(settings)
    except EnvironmentFault:
        jars.folder(settings, "broker")
        with supervisor.with_broker(settings) as named:
            yield named
        return
    yield msgspec.structs.replace(found, topic_prefix=settings.topic_prefix)


def namespaced(settings: Settings, cut: Cut, name: str = "replay", port: int = 0, *, hurried: bool = False) -> Settings:
    """Return settings of a namespace that nobody has used yet, with the partitions that a recording needs.

    Where it is `hurried`, the engine looks for repeats only of a recording, which may hold some.
    """
    tape = tapes.cut(cut)
    often_s = CHECKPOINT_S if tape.span_us.length_us <= DAY_US else LONG_CHECKPOINT_S
    partitions = tape.recording.manifest.partitions if isinstance(tape, RecordedTape) else settings.partitions
    return msgspec.structs.replace(
        settings,
        topic_prefix=f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.",
        partitions=partitions,
        archive="",
        repeats=settings.repeats and (isinstance(tape, RecordedTape) or not hurried),
        checkpoint_s=min(settings.checkpoint_s, often_s),
        console_port=port or free_port(),
    )


def play(settings: Settings, wish: Wish, console: Console) -> Played | None:
    """Replay in the namespace of `settings` until everything is through; None where it was stopped before.

    Raises
    ------
    EnvironmentFault
        Nothing moved any more although not all was through, or the tape was sought back.
    """
    played = steered(settings, wish, console)
    if isinstance(played, Again):
        why = "something came twice" if played.repeated else "the tape was sought back on the way"
        raise EnvironmentFault(f"{why}: this run compares, and does not begin again")
    return played


def steered(settings: Settings, wish: Wish, console: Console) -> Played | Again | None:
    """Do as :func:`play`, but return what to begin again with where the tape was sought back."""
    roles.spark_jars(settings)
    bus.ensure_topics(settings)
    tape = tapes.cut(wish.cut)
    models = announce(settings, tape)
    if wish.course is not None:
        steering.carry_over(settings, wish.course)
    return _Run(settings, wish, tape, models, console).run()


def whole(config: Settings, wish: Wish, console: Console) -> Played | None:
    """Do as :func:`play`, in a new namespace, and in another one as often as the tape is sought back.

    A tape of files at full speed repeats nothing, so nobody looks for repeats on the way. Where there was one all the same, which
    is found out at the end, it is played again with an engine that does.
    """
    looking = False
    while True:
        base = msgspec.structs.replace(config, repeats=config.repeats or looking)
        own = namespaced(base, wish.cut, port=wish.port, hurried=wish.speed == "max" and not looking)
        with running.noted(own, wish.cut.source, own.console_port if wish.page else 0):
            played = steered(own, wish, console)
        if not isinstance(played, Again):
            return played
        forget(own)
        looking |= played.repeated
        wish = replace(wish, course=played.course, port=own.console_port)


def announce(settings: Settings, tape: object) -> tuple[str, ...]:
    """Announce who forecasts from the tape's beginning on: of a recording who did, else this home's champion; return ids."""
    if isinstance(tape, RecordedTape):
        said = [Outgoing("models", record.key or b"", record.value or b"") for record in tape.announcements()]
        with bus.producing(settings) as client:
            bus.send_all(client, settings, said)
        return tuple(dict.fromkeys(msgspec.json.decode(one.value)["model_id"] for one in said))
    champion = registry.champion(settings, NAME)
    if champion is None:
        return ()
    with bus.producing(settings) as client:
        registry.announce(settings, champion.announcement(promoted=True, reason="replay"), client)
    return (champion.card.model_id,)


def plan(settings: Settings, wish: Wish, tape: object) -> Plan:
    """Return which roles run; the source waits until all others are ready."""

    def role(name: str, *arguments: str, niceness: int = 0) -> Process:
        own = msgspec.structs.replace(settings, broker=wish.addresses.get(name, settings.broker))
        return Process(name, own, arguments, niceness)

    part = settings.state / "cut.json"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(msgspec.json.encode(wish.cut))
    work = [role("score"), role("archive", niceness=GIVES_WAY)]
    work += [] if isinstance(tape, RecordedTape) else [role("sentiment")]
    work += [role("console", niceness=GIVES_WAY)] if wish.page else []
    produce = role("produce", "--replay", str(part.resolve()), "--speed", wish.speed)
    return Plan(((role("stream"), role("forecast")), tuple(work)), held=(produce,))


def stages(tape: object) -> Sequence[drained.Stage]:
    """Return who reads what in a replay of `tape`: what was recorded of sentiment is not scored again."""
    return [stage for stage in drained.FLOW if not (isinstance(tape, RecordedTape) and stage is drained.SENTIMENT)]


class _Run:
    """One replay."""

    def __init__(self, settings: Settings, wish: Wish, tape: Any, models: tuple[str, ...], console: Console) -> None:
        self._settings = settings
        self._wish = wish
        self._tape = tape
        self._models = models
        self._console = console
        self._supervisor = Supervisor(settings, plan(settings, wish, tape), console)
        self._steering = Steering(settings)
        self._released_s = 0.0
        self._looked_s = self._said_s = time.monotonic()
        self._left: tuple[dict[str, dict[str, int]], float] = ({}, 0.0)
        self._played: Played | None = None

    def run(self) -> Played | Again | None:
        self._supervisor.install_signals()
        if self._wish.page:
            self._console.print(f"the page: {pages.address(self._settings)}", highlight=False, soft_wrap=True)
        try:
            self._supervisor.run(self._each)
        finally:
            self._steering.stop()
        return self._steering.verdict if isinstance(self._steering.verdict, Again) else self._played

    def _each(self) -> None:
        if not self._released_s:
            if self._supervisor.all_ready():
                self._released_s = time.monotonic()
                self._supervisor.release()
            return
        self._wish.each(self._supervisor)
        self._steering.heard(self._supervisor.statuses.of("produce"))
        self._steering.ended = self._supervisor.statuses.tape is not None
        if self._steering.verdict:
            self._supervisor.stop()
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            self._look()

    def _look(self) -> None:
        if self._played is not None:
            return
        if self._supervisor.statuses.tape is None:
            self._tell(self._progress())
            return
        try:
            left = drained.behind(self._settings, stages(self._tape))
        except (KafkaError, BrokerGone):
            return  # it is on its way back
        if not left:
            self._finish()
            return
        self._tell(f"draining: {drained.in_words(left)}")
        if left != self._left[0]:
            self._left = left, time.monotonic()
        elif time.monotonic() - self._left[1] > STUCK_S:
            raise EnvironmentFault(f"the tape has ended, but nothing moves: {drained.in_words(left)}; {self._logs} says why")

    @property
    def _logs(self) -> Path:
        return self._settings.state / "logs"

    def _tell(self, line: str) -> None:
        self._supervisor.note = line
        if not self._console.is_terminal and time.monotonic() - self._said_s >= SAY_EVERY_S:
            self._said_s = time.monotonic()
            self._console.print(line, highlight=False)

    def _progress(self) -> str:
        said = self._supervisor.statuses.of("produce")
        now_us = said.counts.get(CLOCK, 0) if said else 0
        first_us, last_us = self._tape.span_us
        if not now_us or last_us <= first_us:
            return "the source starts"
        share = min(1.0, max(0.0, (now_us - first_us) / (last_us - first_us)))
        spent_s = time.monotonic() - self._released_s
        left = f", about {spent_s / share - spent_s:,.0f} s left" if share > 0 else ""
        return f"{iso(now_us - now_us % SECOND_US)}: {share:.0%} of the tape{left}"

    def _finish(self) -> None:
        if not (self._settings.repeats or isinstance(self._tape, RecordedTape)) and repeated.has_repeats(
            self._settings, self._tape.name
        ):
            self._console.print("something came twice: the tape begins again, with an engine that looks for it", highlight=False)
            self._steering.begin_again(self._tape.span_us.last_us)
            return
        self._played = Played(self._settings, time.monotonic() - self._released_s, self._models, _records(self._settings))
        if self._wish.stay:
            self._tell("all is through; `tickcast control seek` goes back, `tickcast control stop` or Ctrl-C ends it")
        else:
            self._supervisor.stop()


def _records(settings: Settings) -> dict[str, int]:
    with closing(bus.consumer(settings)) as client:
        return {name: sum(client.end_offsets(bus.partitions_of(client, settings, name)).values()) for name in TOPICS}


def _without(admin: KafkaAdminClient, groups: list[str]) -> bool:
    """Delete groups, those that never were too; return whether it was possible: a new broker makes their topic first."""
    try:
        admin.delete_groups(groups)
    except CoordinatorNotAvailableError:
        return False
    return True


def forget(settings: Settings) -> None:
    """Remove the topics, groups and folder of the namespace of `settings`; refused for the live one, which has no prefix."""
    if not settings.topic_prefix:
        raise TickcastError("only a namespace with a prefix is removed")
    with closing(bus.admin(settings)) as admin:
        present = set(admin.list_topics())
        admin.delete_topics([name for name in map(settings.topic, TOPICS) if name in present])
        groups = [settings.topic(stage.role) for stage in drained.FLOW]
        eventually(lambda: _without(admin, groups), FORGET_S)
    shutil.rmtree(settings.state, ignore_errors=True)
