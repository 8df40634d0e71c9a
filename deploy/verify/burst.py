"""`tickcast verify burst`: the whole pipeline at a steady rate, a minute of twenty times as much, and the way back.

It must drain without loss, its memory must not grow, and while it is behind people must see forecasts of the newest prices, never
an older one behind a newer one. Latencies are differences of the broker's time stamps; what is lost is what the audit misses.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from deploy import audit, bench_engine, growth
from deploy.bench_feed import Feeding
from producers.base import Event, Trade
from producers.market import Market
from producers.simulated import Simulated
from streams import bus
from streams.clock import SECOND_US, wall_ts_us
from streams.settings import Settings

TIMES = 20
WARM_UP_S = 60.0
STEADY_S = 40.0
AFTER_S = 60.0
DRAINED_S = 60.0  # behind the burst's end: then its last tick must have reached the forecasts
ROLES = ("stream", "sentiment", "forecast", "score", "archive")
ALL_MIN = 60.0
CHECKPOINT_S = 30
STALE_US = SECOND_US  # ticks and sentiment reach the engine by two ways: by less a row of the one may overtake one of the other
STAGES = {"features": "rows of features", "forecasts": "provisional forecasts"}


class Bursting:
    """A simulated market of which one trade in :data:`TIMES` is told, and while it is `loud` every one."""

    live = True
    name = "simulated"

    def __init__(self, market: Market, loud: threading.Event) -> None:
        self._market = Simulated(market)
        self._loud = loud

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events."""
        for event in self._market.events(resume_after):
            if not isinstance(event, Trade) or event.seq % TIMES == 0 or self._loud.is_set():
                yield event


class Span(NamedTuple):
    """When the burst began and ended, wall clock, microseconds; it was steady before."""

    steady_us: int
    begin_us: int
    end_us: int

    def phase(self, ingest_us: int) -> str:
        """Return in which phase a tick came; empty: while it warmed up."""
        if ingest_us >= self.begin_us:
            return "burst" if ingest_us < self.end_us else "after"
        return "steady" if ingest_us >= self.steady_us else ""


class Seen:
    """How old what came was, by phase of its newest tick, and how often an older one came behind a newer one."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._newest: dict[bytes, int] = {}
        self.latency_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.out_of_turn = 0
        self.caught_up_s = math.inf

    def take(self, key: bytes, ingest_us: int, came_ms: int) -> None:
        """Take a row or a forecast of the symbol `key`, whose newest tick came at `ingest_us`."""
        self.out_of_turn += ingest_us < self._newest.get(key, 0) - STALE_US
        self._newest[key] = max(ingest_us, self._newest.get(key, 0))
        phase = self._span.phase(ingest_us)
        self.latency_ms[phase].append(came_ms - ingest_us / 1_000)
        if phase == "after":
            self.caught_up_s = min(self.caught_up_s, (came_ms * 1_000 - self._span.end_us) / 1e6)

    def figures(self) -> dict[str, Any]:
        """Return percentiles by phase, and when the first tick behind the burst was through."""
        phases = {name: self.latency_ms[name] for name in ("steady", "burst", "after")}
        levels = {
            name: {"n": len(some)} | {f"p{level}": round(float(np.percentile(some, level)), 1) for level in (50, 90, 99) if some}
            for name, some in phases.items()
        }
        caught_up_s = round(self.caught_up_s, 1) if math.isfinite(self.caught_up_s) else None
        return {"latency_ms": levels, "out_of_turn": self.out_of_turn, "caught_up_s": caught_up_s}


def run(settings: Settings, rate: float, seconds: float, console: Console) -> dict[str, Any]:
    """Return the figures of a burst of `seconds` at :data:`TIMES` times `rate` ticks a second; `holds` among them."""
    with bench_engine.own_broker(settings) as named:
        own = msgspec.structs.replace(named, topic_prefix="burst.", checkpoint_s=CHECKPOINT_S, sentiment="minilm", offline=True)
        bus.ensure_topics(own)
        with bench_engine.running_roles(own, *ROLES) as roles, telling(own, rate) as loud:
            _wait(WARM_UP_S, "warming up", console)
            with growth.watched(roles) as sizes:
                span = _burst(loud, seconds, console)
            lines = audit.settled(own, ALL_MIN)
        seen = {stage: _seen(own, stage, span) for stage in STAGES}
    return claimed(
        {
            "rate": rate,
            "times": TIMES,
            "seconds": seconds,
            "balance": {line.stage: line.counts() for line in lines},
            "stages": seen,
            "memory_mib": growth.parts(sizes),
        }
    )


@contextmanager
def telling(settings: Settings, rate: float) -> Iterator[threading.Event]:
    """Tell the market for the length of a `with` block, `rate` ticks a second; twenty times as many while the event is set."""
    loud, stop = threading.Event(), threading.Event()
    source = Bursting(Market(symbols=settings.symbol_list, rate=rate * TIMES), loud)
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
        fed = pool.submit(Feeding(settings, source, stop).run)
        try:
            yield loud
        finally:
            stop.set()
            fed.result()


def _burst(loud: threading.Event, seconds: float, console: Console) -> Span:
    steady_us = wall_ts_us()
    _wait(STEADY_S, "steady", console)
    begin_us = wall_ts_us()
    loud.set()
    _wait(seconds, f"{TIMES} times as much", console)
    loud.clear()
    end_us = wall_ts_us()
    _wait(AFTER_S, "steady again", console)
    return Span(steady_us, begin_us, end_us)


def _wait(seconds: float, what: str, console: Console) -> None:
    with console.status(f"{what}: {seconds:.0f} s"):
        time.sleep(seconds)


def _seen(settings: Settings, topic: str, span: Span) -> dict[str, Any]:
    seen = Seen(span)
    for record in bus.read_all(settings, topic):
        ingest = record.header(bus.INGEST_HEADER)
        if ingest and (topic == "features" or b'"provisional":true' in (record.value or b"")):
            seen.take(record.key or b"", int(ingest), record.timestamp_ms)
    return seen.figures()


def claimed(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with what holds of the claims."""
    lost = sum(counts["missing"] + counts["doubled"] for counts in figures["balance"].values())
    through = [stage["caught_up_s"] for stage in figures["stages"].values()]
    drained = all(after_s is not None and after_s <= DRAINED_S for after_s in through)
    newest = figures["stages"]["forecasts"]["out_of_turn"] == 0 < figures["stages"]["forecasts"]["latency_ms"]["burst"]["n"]
    told = figures["balance"]["stream"]["in"] > 0
    flat = growth.is_flat(figures["memory_mib"])
    verdicts = {"lost": lost, "drained": drained, "newest_first": newest, "flat": flat}
    return figures | verdicts | {"holds": told and not lost and drained and newest and flat}


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table("from the tick to", "steady: p50, p99 ms", "burst", "after", "caught up after", "out of turn")
    for stage, what in STAGES.items():
        seen = figures["stages"][stage]
        phases = seen["latency_ms"].values()
        levels = [f"{one['p50']:,.0f}, {one['p99']:,.0f} ({one['n']:,})" if one["n"] else "-" for one in phases]
        table.add_row(what, *levels, f"{seen['caught_up_s']} s", str(seen["out_of_turn"]) if stage == "forecasts" else "")
    memory = (f"{role} {', '.join(f'{size:,.0f}' for size in sizes)} MiB" for role, sizes in figures["memory_mib"].items())
    taken = figures["balance"]["stream"]["in"]
    table.caption = "\n".join((f"{taken:,} trades, {figures['lost']:,} things missing or doubled in any stage", *memory))
    table.caption_justify = "left"
    return table
