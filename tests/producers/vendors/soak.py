"""A vendor that misbehaves at random for as long as one likes, and the question at the end: is every trade in the lake, once?

    python -m tests.producers.vendors.soak --source ccxt --minutes 30 --seed 1

Real parts: the vendor's own client in `tickcast produce`, an embedded broker, and the archive that fills the lake. The server
cuts lines, sends halves, repeats and disorder, falls silent, goes away, answers 429, takes trades back; the producer is killed.

A vendor that cannot be asked for the past (Yahoo) owes only what it pushed to a line that was up and stayed so for `SAFE_S`.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from deploy.local import broker as local_broker
from deploy.local.processes import Process
from streams import bus, codec, lake
from streams.messages import DeadLetter
from streams.settings import Settings, load
from streams.testing import eventually
from tests.producers.vendors import sources
from tests.producers.vendors.servers import Happened, Server, serving

RATE = 10.0  # trades a second
CALM_S = 90.0  # at the end: the last that is missing is asked for once a minute
SAFE_S = 5.0  # for what was pushed to be on the topic, whatever befalls its line or its producer after
HALVES = {True: 0.02, False: 0.001}  # by whether the past can be asked for: yfinance gives a line up after one


class Chaos:
    """What befalls a server and its listeners, by a seed."""

    def __init__(self, server: Server, symbols: tuple[str, ...], seed: int, kill: Callable[[], None]) -> None:
        self._server = server
        self._symbols = symbols
        self._rng = random.Random(seed)  # noqa: S311 - a soak is repeatable, not secret
        self._kill = kill
        self._held: list[tuple[float, Happened]] = []
        self._until: dict[str, float] = {}
        self.done: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Let trades happen and things go wrong for so long, then let all be well again."""
        began = time.monotonic()
        next_wrong = began + 5
        while (now := time.monotonic()) - began < seconds:
            self._trade(now)
            if now > next_wrong:
                self._go_wrong(now)
                next_wrong = now + self._rng.uniform(0.5, 10)
            self._mend(now)
            time.sleep(self._rng.expovariate(RATE))
        self._mend(float("inf"))

    def _trade(self, now: float) -> None:
        one = self._server.trade(
            self._rng.choice(self._symbols), price=round(100 + self._rng.gauss(0, 3), 2), size=self._rng.randint(1, 9)
        )
        fate = self._rng.random()
        if fate < 0.05:
            self._held.append((now + self._rng.uniform(0.2, 4), one))
            self.done["told late"] += 1
        elif fate < 0.05 + HALVES[self._server.tells_past]:
            self._server.garble(one)
            self.done["halves"] += 1
        else:
            self._server.tell(*[one] * self._repeats(fate))

    def _repeats(self, fate: float) -> int:
        self.done["repeats"] += fate > 0.95
        return 3 if fate > 0.95 else 1

    def _go_wrong(self, now: float) -> None:
        wrong = self._rng.choices(
            ["cut", "silent", "away", "busy", "kill", *self._server.corrections],
            [6, 2, 2, 3, 0.5, *[4] * len(self._server.corrections)],
        )[0]
        self.done[wrong] += 1
        if wrong == "cut":
            self._server.cut()
        elif wrong == "kill":
            self._server.broken()
            self._kill()
        elif wrong == "busy":
            self._server.busy = self._rng.randint(1, 3)
        elif wrong == "silent":
            self._server.silent = True
            self._until["silent"] = now + self._rng.uniform(1, 12)
        elif wrong == "away":
            self._server.away = True
            self._server.cut()
            self._until["away"] = now + self._rng.uniform(1, 20)
        else:
            self._server.amend(wrong, self._rng.choice(self._server.happened[-200:]))

    def _mend(self, now: float) -> None:
        due = [one for at, one in self._held if at <= now]
        self._held = [(at, one) for at, one in self._held if at > now]
        self._rng.shuffle(due)
        for one in due:
            self._server.tell(one)
        for name in [name for name, until in self._until.items() if until <= now]:
            setattr(self._server, name, False)
            del self._until[name]
            self._server.broken()  # who has just given a silent line up hears no more on it


def audit(server: Server, rows: pl.DataFrame) -> dict[str, Any]:
    """Compare what happened with what the lake has."""
    rows = rows.filter(~pl.col("closes"))
    # what names itself was void when it came: it is the trade all the same
    void = pl.col("excluded").str.ends_with(" " + pl.col("seq").cast(pl.String))
    trades = rows.filter((pl.col("excluded") == "") | void)
    # the size of a quote is what was traded since the last that came
    fields = ("symbol", "event_ts_us", "price", "size") if server.tells_past else ("symbol", "event_ts_us", "price")
    found = Counter(trades.select(fields).rows())
    identities = Counter(trades.select("source", "symbol", "seq").rows())
    happened, owed = (
        Counter(tuple(getattr(one, name) for name in fields) for one in some) for some in (server.happened, due(server))
    )
    notices = rows.filter((pl.col("excluded") != "") & ~void)
    return {
        "happened": happened.total(),
        "owed": owed.total(),
        "in the lake": found.total(),
        "missing": (owed - found).total(),
        "doubled": sum(count - 1 for count in identities.values()),
        "invented": (found - happened).total(),
        "amendments told": len(server.amended),
        "amendments in the lake": notices.select("symbol", "seq").unique().height,
        "amendments doubled": notices.height - notices.select("symbol", "seq").unique().height,
    }


def due(server: Server) -> list[Happened]:
    """Return the trades that must be in the lake."""
    if server.tells_past:
        return server.happened
    breaks = sorted(server.breaks)
    after = (breaks[bisect(breaks, at) :][:1] for at, _ in server.told)
    steady = [one for (at, one), broken in zip(server.told, after, strict=True) if not broken or broken[0] - at > SAFE_S]
    return list(dict.fromkeys(steady))  # some were told three times


def balanced(figures: dict[str, Any]) -> bool:
    """Return whether every trade is there once."""
    wrong = ("missing", "doubled", "invented", "amendments doubled")
    return not any(figures[name] for name in wrong) and figures["amendments told"] == figures["amendments in the lake"]


def run(source: str, minutes: float, seed: int, home: Path) -> dict[str, Any]:
    """Soak `source`, and return the figures."""
    kind = sources.KINDS[source]
    server = kind.server()
    server.ahead_us = random.Random(seed).randint(-3_000_000, 3_000_000)  # noqa: S311 - as above
    with serving(server), local_broker.running(load({}), home / "broker") as running:
        config = msgspec.structs.replace(
            kind.settings(server, load({}, home=home, offline=True, stale_s="6")), broker=running.address
        )
        bus.ensure_topics(config)
        arguments = ("--ticks", kind.ticks, "--headlines", "none")
        roles = [Process("archive", config), Process("produce", config, arguments)]
        try:
            return _soaked(server, config, roles, Chaos(server, kind.symbols, seed, roles[1].kill), minutes)
        finally:
            for role in roles[::-1]:
                role.ask_to_stop()
            for role in roles:
                role.wait_stopped()


def _soaked(server: Server, config: Settings, roles: list[Process], chaos: Chaos, minutes: float) -> dict[str, Any]:
    for role in roles:
        role.start()
    eventually(server.lines, 120)
    began = time.monotonic()
    chaos.run(minutes * 60)
    took_s = time.monotonic() - began

    def whole() -> dict[str, Any] | None:
        rows = lake.read(config, "ticks")
        figures = audit(server, rows) if rows.height else {}
        return figures if figures and balanced(figures) else None

    try:
        figures = eventually(whole, CALM_S, 3) or {}
    except AssertionError:
        figures = audit(server, lake.read(config, "ticks"))
    letters = [codec.decode(DeadLetter, record.value) for record in bus.read_all(config, "dead_letters")]
    why = dict(
        Counter(f"{letter.topic} {letter.message}: {base64.b64decode(letter.value_base64).decode()}" for letter in letters)
    )
    figures |= {
        "dead letters": len(letters),
        "why": dict(list(why.items())[:12]),
        "seconds": round(took_s),
        "lines built": server.connections,
    }
    restarts = roles[1].restarts
    return (
        figures
        | {"clock ahead s": server.ahead_us / 1e6, "producer killed": restarts, "went wrong": dict(chaos.done)}
        | {"holds": balanced(figures) and not letters}
    )


def main() -> None:
    """Parse the command line, soak, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=sorted(sources.KINDS), required=True)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as home:
        figures = run(asked.source, asked.minutes, asked.seed, Path(home))
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if asked.json:
        asked.json.write_text(text + "\n")
    sys.exit(0 if figures["holds"] else 1)


if __name__ == "__main__":
    main()
