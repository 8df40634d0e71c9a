"""`tickcast verify faults`: processes killed and stalled at random while a tape runs, the broker too; what comes out is the same.

A tape is replayed undisturbed, then again with `kill -9` and SIGSTOP on the way, at places that the seed decides. All that
`said.py` compares must be equal, every dead letter included, and the lake must hold each tick of the topics once.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy import replaying
from deploy.local import jars, supervisor
from deploy.local.broker import answers
from deploy.local.processes import Process
from deploy.local.supervisor import Supervisor
from deploy.replaying import Wish
from deploy.verify import archived, replayed, said
from deploy.verify.replayed import QUICK_TICKS, Outcome
from producers import tapes
from producers.recorded import RecordedTape
from producers.run import CLOCK
from producers.tapes import Cut
from streams import bus
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually

BROKER = "broker"
ROLES = (BROKER, "stream", "forecast", "score", "archive", "produce", "sentiment")
STALL_S = (1.0, 12.0)  # up to more than the 10 s after which the broker gives a member's partitions to others
STALLS_PER_KILL = 1 / 3
LATEST = 0.95  # of the tape: there is something left to do when the last fault comes
BROKER_BACK_S = 90.0


class Fault(NamedTuple):
    """Something done to a role once the tape has come so far (0 to 1); a stall lasts `seconds`, a kill 0."""

    share: float
    role: str
    seconds: float


def plan(kills: int, seed: int, roles: Sequence[str]) -> list[Fault]:
    """Return what happens, in its order: every role in turn, in a random order, at random places."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    stalls = max(1, round(kills * STALLS_PER_KILL))
    faults = [
        Fault(chance.uniform(0, LATEST), role, chance.uniform(*STALL_S) if stalled else 0.0)
        for stalled, count in ((False, kills), (True, stalls))
        for role in _in_turn(roles, count, chance)
    ]
    return sorted(faults)


def _in_turn(roles: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """Return roles in a random order, each once before one comes again, the first of `roles` among the first."""
    first, *others = roles
    rounds = [[first, *chance.sample(others, len(others))] for _ in range(-(-count // len(roles)))]
    return [role for one in rounds for role in one][:count]


@dataclass
class Chaos:
    """Does what is planned while a replay runs; `each` is called several times a second.

    Attributes
    ----------
    broker : Process
        The broker of this replay alone.
    span_us : tuple[int, int]
        From when to when the tape goes.
    """

    broker: Process
    span_us: tuple[int, int]
    faults: list[Fault]
    tell: Callable[[str], None]
    done: list[Fault] = field(default_factory=list)
    _stalled: list[tuple[float, list[int]]] = field(default_factory=list)

    def each(self, running: Supervisor) -> None:
        """Do what is due, and wake what has stalled for long enough."""
        self._wake(time.monotonic())
        share = self._share(running)
        due = [fault for fault in self.faults if fault.share <= share]
        for fault in due:
            process = self.broker if fault.role == BROKER else _of(running, fault.role)
            if process is None or process.finished:
                self.faults.remove(fault)
            elif process.pid:  # else it is down: its turn comes once it is back
                self.faults.remove(fault)
                self._do(fault, process)

    def wake_all(self) -> None:
        """Wake whatever is stalled."""
        self._wake(float("inf"))

    def _share(self, running: Supervisor) -> float:
        if running.statuses.tape is not None:
            return 1.0
        event = running.statuses.of("produce")
        now_us = event.counts.get(CLOCK, 0) if event else 0
        return (now_us - self.span_us[0]) / max(1, self.span_us[1] - self.span_us[0])

    def _wake(self, now_s: float) -> None:
        for until_s, pids in self._stalled:
            if until_s <= now_s:
                _signal(pids, signal.SIGCONT)
        self._stalled = [(until_s, pids) for until_s, pids in self._stalled if until_s > now_s]

    def _do(self, fault: Fault, process: Process) -> None:
        self.done.append(fault)
        if fault.seconds:
            self.tell(f"{fault.role} stalls for {fault.seconds:.0f} s")
            pids = family(process.pid)
            _signal(pids, signal.SIGSTOP)
            self._stalled.append((time.monotonic() + fault.seconds, pids))
        else:
            self.tell(f"{fault.role} is killed")
            self._kill(process)

    def _kill(self, process: Process) -> None:
        _signal(family(process.pid), signal.SIGKILL)  # the broker's Java is in a session of its own
        process.kill()
        if process is self.broker:
            port = int(process.settings.broker.rpartition(":")[2])
            eventually(lambda: process.broken or answers(port), BROKER_BACK_S)
            if process.broken:
                raise EnvironmentFault(f"the broker did not come back: {process.last_line()}")


def _of(running: Supervisor, role: str) -> Process | None:
    return next((process for process in running.plan.processes if process.role == role), None)


def family(pid: int) -> list[int]:
    """Return `pid` and all that it and its children have started, from what Linux tells in /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text(errors="replace").rpartition(")")
            parents.setdefault(int(rest.split()[1]), []).append(int(name.split()[0]))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def run(  # noqa: PLR0913 - what to check, how hard, and where to say so
    settings: Settings, tape: Path, console: Console, *, kills: int, seed: int, quick: bool
) -> dict[str, Any]:
    """Replay `tape` with and without faults; return the figures, `holds` among them."""
    began_s = time.monotonic()
    recorded = replayed.recorded_outputs(tape)
    cut = Cut(source=str(tape.resolve()), ticks=QUICK_TICKS if quick and recorded is None else 0)
    with own_broker(settings) as (config, broker):
        known = quick and recorded is not None
        wanted = recorded if known and recorded is not None else replayed.replayed(config, Wish(cut), console).said
        outcome, done, kept = _disturbed(config, broker, cut, plan(kills, seed, roles(cut)), console)
    differing = said.differences(outcome.said, wanted, recording=known)
    by_role = Counter(fault.role for fault in done if not fault.seconds)
    figures = {
        "seed": seed,
        "kills": dict(by_role),
        "stalls": dict(Counter(fault.role for fault in done if fault.seconds)),
        "against": "the recording" if known else "an undisturbed replay",
        "compared": said.counts(outcome.said),
        **said.figures(differing),
        "lake": kept,
        "replay": outcome.report,
        "seconds": round(time.monotonic() - began_s, 1),
    }
    lost = any(kept[name] for name in kept if name.endswith(("missing", "doubled", "mismatches")))
    return figures | {"holds": bool(by_role) and figures["compared"]["forecasts"] > 0 and not differing and not lost}


def roles(cut: Cut) -> list[str]:
    """Return the roles of a replay, the broker first; of a recording nobody scores headlines."""
    recording = isinstance(tapes.cut(cut), RecordedTape)
    return [role for role in ROLES if not (recording and role == "sentiment")]


def _disturbed(
    settings: Settings, broker: Process, cut: Cut, faults: list[Fault], console: Console
) -> tuple[Outcome, list[Fault], dict[str, int]]:
    span_us = tapes.cut(cut).span_us  # type: ignore[attr-defined] # every tape has one
    chaos = Chaos(broker, span_us, faults, lambda line: console.print(line, highlight=False))
    with replayed.namespace(settings, cut) as own:
        try:
            played = replaying.play(own, Wish(cut, each=chaos.each), console)
        finally:
            chaos.wake_all()
        if played is None:
            raise EnvironmentFault("the replay was stopped before its end: nothing can be compared")
        return Outcome(said.of(bus.read_all(own, *said.TOPICS)), played.report()), chaos.done, archived.figures(own)


@contextmanager
def own_broker(settings: Settings) -> Iterator[tuple[Settings, Process]]:
    """Lend settings with an embedded broker of this check alone, which may be killed; its data are removed at the end."""
    jars.folder(settings, "broker")
    home = settings.home / "runs" / f"faults-{os.getpid()}"
    home.mkdir(parents=True, exist_ok=True)
    named, process = supervisor.start_broker(msgspec.structs.replace(settings.unconnected(), home=home, broker_port=0))
    process.settings = named  # from here on it has its port for good
    try:
        yield msgspec.structs.replace(settings.unconnected(), broker=named.broker, topic_prefix=""), process
    finally:
        process.stop()
        shutil.rmtree(home, ignore_errors=True)


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table("role", "kills", "stalls")
    for role in ROLES:
        if role in figures["kills"] or role in figures["stalls"]:
            table.add_row(role, str(figures["kills"].get(role, 0)), str(figures["stalls"].get(role, 0)))
    compared = ", ".join(f"{count:,} {topic}" for topic, count in figures["compared"].items())
    lake = ", ".join(f"{name} {count:,}" for name, count in figures["lake"].items())
    lines = [
        f"against {figures['against']}: {compared}",
        f"{figures['differing']:,} differ",
        lake,
        *map(escape, figures["named"][:5]),
    ]
    table.caption = "\n".join(lines)
    table.caption_justify = "left"
    return table
