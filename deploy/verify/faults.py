"""`tickcast verify faults`: roles killed, stalled, cut off and slowed at random while a tape runs; what comes out is the same.

A tape is replayed undisturbed, then again with `kill -9`, SIGSTOP, a parted network and a slow disk on the way, at places that
the seed decides. All that `said.py` compares must be equal, every dead letter included, and the lake must hold each tick of
the topics once.

Each role reaches the broker by a way of its own (`deploy/local/proxy.py`), which a cut blocks in both directions. strace makes a
disk slow, by delaying each call that opens, renames, syncs or writes; where there is none, nobody's disk becomes slow.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy import replaying
from deploy.local import jars, supervisor
from deploy.local.broker import answers, free_port
from deploy.local.processes import Process
from deploy.local.proxy import Proxy
from deploy.local.supervisor import Supervisor
from deploy.replaying import Wish
from deploy.verify import archived, replayed, said
from deploy.verify.replayed import QUICK_TICKS, Outcome
from producers import tapes
from producers.recorded import RecordedTape
from producers.replay import Span
from producers.run import CLOCK
from producers.tapes import Cut
from streams import bus
from streams.clock import SECOND_US
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually

BROKER = "broker"
ROLES = (BROKER, "stream", "forecast", "score", "archive", "produce", "sentiment")
KILL, STALL, CUT, SLOW = "kills", "stalls", "cuts", "slow disks"
SECONDS = {KILL: (0.0, 0.0), STALL: (1.0, 12.0), CUT: (1.0, 12.0), SLOW: (2.0, 10.0)}
# up to more than the 10 s after which the broker gives a member's partitions to others
SHARES = {KILL: 1.0, STALL: 1 / 3, CUT: 1 / 3, SLOW: 1 / 6}  # how many for each kill; one at least
SLOW_CALLS = {"openat,rename,fsync,fdatasync,pwrite64,ftruncate,unlink,mkdir": 50_000, "write": 2_000}  # microseconds more
PER_KILL_S = 5.0  # the tape takes so long for each: at full speed its producer would be done before it is anybody's turn
LATEST = 0.95  # of the tape: there is something left to do when the last fault comes
BROKER_BACK_S = 90.0


class Fault(NamedTuple):
    """Something done to a role once the tape has come so far (0 to 1); it lasts `seconds`, a kill 0."""

    share: float
    role: str
    seconds: float
    kind: str = KILL


def plan(kills: int, seed: int, roles: Sequence[str]) -> list[Fault]:
    """Return what happens, in its order: every role in turn, in a random order, at random places."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    kinds = [kind for kind in SHARES if kind != SLOW or shutil.which("strace")]
    faults = [
        Fault(chance.uniform(0, LATEST), role, chance.uniform(*SECONDS[kind]), kind)
        for kind in kinds
        for role in _in_turn(roles[1:] if kind == CUT else roles, max(1, round(kills * SHARES[kind])), chance)
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
    span_us : Span
        From when to when the tape goes.
    ways : mapping
        By role its way to the broker.
    """

    broker: Process
    span_us: Span
    faults: list[Fault]
    tell: Callable[[str], None]
    ways: Mapping[str, Proxy] = field(default_factory=dict)
    done: list[Fault] = field(default_factory=list)
    _undo: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def each(self, running: Supervisor) -> None:
        """Do what is due, and end what has lasted for long enough."""
        self._end(time.monotonic())
        share = self._share(running)
        due = [fault for fault in self.faults if fault.share <= share]
        for fault in due:
            process = self.broker if fault.role == BROKER else _of(running, fault.role)
            if process is None or process.finished:
                self.faults.remove(fault)
            elif process.pid:  # else it is down: its turn comes once it is back
                self.faults.remove(fault)
                self._do(fault, process)

    def end_all(self) -> None:
        """End whatever lasts."""
        self._end(float("inf"))

    def _share(self, running: Supervisor) -> float:
        if running.statuses.tape is not None:
            return 1.0
        event = running.statuses.of("produce")
        now_us = event.counts.get(CLOCK, 0) if event else 0
        return (now_us - self.span_us.first_us) / max(1, self.span_us.length_us)

    def _end(self, now_s: float) -> None:
        for until_s, undo in self._undo:
            if until_s <= now_s:
                undo()
        self._undo = [(until_s, undo) for until_s, undo in self._undo if until_s > now_s]

    def _do(self, fault: Fault, process: Process) -> None:
        self.done.append(fault)
        self.tell(f"{fault.role}: {fault.kind}, {fault.seconds:.0f} s")
        if fault.kind == KILL:
            self._kill(process)
            return
        begin = {STALL: _stall, SLOW: _slow}
        undo = self._cut(fault.role) if fault.kind == CUT else begin[fault.kind](family(process.pid))
        self._undo.append((time.monotonic() + fault.seconds, undo))

    def _cut(self, role: str) -> Callable[[], None]:
        self.ways[role].block()
        return self.ways[role].unblock

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


def _stall(pids: Sequence[int]) -> Callable[[], None]:
    _signal(pids, signal.SIGSTOP)
    return lambda: _signal(pids, signal.SIGCONT)


def _slow(pids: Sequence[int]) -> Callable[[], None]:
    """Delay what the processes do with files; return what ends that."""
    injected = [f"--inject={calls}:delay_enter={delay_us}" for calls, delay_us in SLOW_CALLS.items()]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", f"--trace={','.join(SLOW_CALLS)}", *injected]
    tracer = subprocess.Popen(
        [*command, *(f"--attach={pid}" for pid in pids)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def end() -> None:
        tracer.terminate()  # it lets go of them first
        tracer.wait()

    return end


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
    with own_broker(settings, roles(cut)[1:]) as (config, broker, ways):
        known = quick and recorded is not None
        wanted = recorded if known and recorded is not None else replayed.replayed(config, Wish(cut), console).said
        outcome, done, kept = _disturbed(config, broker, ways, cut, plan(kills, seed, roles(cut)), console)
    differing = said.differences(outcome.said, wanted, recording=known)
    by_kind = {kind: dict(Counter(fault.role for fault in done if fault.kind == kind)) for kind in SHARES}
    figures = {
        "seed": seed,
        **by_kind,
        "against": "the recording" if known else "an undisturbed replay",
        "compared": said.counts(outcome.said),
        **said.figures(differing),
        "lake": kept,
        "replay": outcome.report,
        "seconds": round(time.monotonic() - began_s, 1),
    }
    lost = any(kept[name] for name in kept if name.endswith(("missing", "doubled", "mismatches")))
    return figures | {"holds": bool(by_kind[KILL]) and figures["compared"]["forecasts"] > 0 and not differing and not lost}


def roles(cut: Cut) -> list[str]:
    """Return the roles of a replay, the broker first; of a recording nobody scores headlines."""
    recording = isinstance(tapes.cut(cut), RecordedTape)
    return [role for role in ROLES if not (recording and role == "sentiment")]


def _disturbed(  # noqa: PLR0913, PLR0917 - a run is on what, with what, and what is done to it
    settings: Settings, broker: Process, ways: Mapping[str, Proxy], cut: Cut, faults: list[Fault], console: Console
) -> tuple[Outcome, list[Fault], dict[str, int]]:
    span_us = tapes.cut(cut).span_us
    speed = max(1.0, span_us.length_us / SECOND_US / (PER_KILL_S * sum(fault.kind == KILL for fault in faults)))
    chaos = Chaos(broker, span_us, faults, lambda line: console.print(line, highlight=False), ways)
    addresses = {role: f"127.0.0.1:{way.port}" for role, way in ways.items()}
    with replayed.namespace(settings, cut) as own:
        try:
            played = replaying.play(own, Wish(cut, speed=f"{speed:.0f}", each=chaos.each, addresses=addresses), console)
        finally:
            chaos.end_all()
        if played is None:
            raise EnvironmentFault("the replay was stopped before its end: nothing can be compared")
        return Outcome(said.of(bus.read_all(own, *said.TOPICS)), played.report()), chaos.done, archived.figures(own)


@contextmanager
def own_broker(settings: Settings, roles: Sequence[str]) -> Iterator[tuple[Settings, Process, dict[str, Proxy]]]:
    """Lend settings with an embedded broker of this check alone, which may be killed, and a way to it for each of `roles`.

    Its data are removed at the end.
    """
    jars.folder(settings, "broker")
    home = settings.home / "runs" / f"faults-{os.getpid()}"
    home.mkdir(parents=True, exist_ok=True)
    doors, ways = {role: free_port() for role in roles}, {role: free_port() for role in roles}
    (home / "doors.properties").write_text(properties(doors, ways))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        alone = msgspec.structs.replace(settings.unconnected(), home=home, broker_port=0)
        named, process = supervisor.start_broker(alone, "--properties", str((home / "doors.properties").resolve()))
        process.settings = named  # from here on it has its port for good
        stack.callback(process.stop)
        proxies = {role: Proxy(doors[role], ways[role]) for role in roles}
        for proxy in proxies.values():
            stack.callback(proxy.close)
        yield msgspec.structs.replace(settings.unconnected(), broker=named.broker, topic_prefix=""), process, proxies


def properties(doors: Mapping[str, int], ways: Mapping[str, int]) -> str:
    """Return the broker's properties with a listener for each role, at port `doors`, that its clients find at port `ways`."""
    places = {"PLAINTEXT": ("{port}", "{port}"), "CONTROLLER": ("{controller_port}", "")}
    places |= {role.upper(): (str(doors[role]), str(ways[role])) for role in doors}
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, (port, _) in places.items())
    advertised = ",".join(f"{name}://127.0.0.1:{port}" for name, (_, port) in places.items() if port)
    protocols = ",".join(f"{name}:PLAINTEXT" for name in places)
    return (
        f"listeners={listeners}\nadvertised.listeners={advertised}\nlistener.security.protocol.map={protocols}\n"
        "inter.broker.listener.name=PLAINTEXT\n"
    )


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table("role", *SHARES)
    for role in ROLES:
        counts = [figures[kind].get(role, 0) for kind in SHARES]
        if any(counts):
            table.add_row(role, *map(str, counts))
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
