"""`tickcast bench console`: how long the console takes from the broker to its browsers, what it costs, and whether it grows.

The console runs as it always does. Rows and forecasts of made-up symbols go to the topics at a given rate, each row stamped with
the moment at which it was sent. Browsers are streams of server-sent events in this process; one of them tells how old a row is
when it comes. The drawing that follows in a real browser is not in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import numpy as np
from rich.table import Table

from deploy.bench_engine import cpu_s, memory_mib, own_broker, running_roles
from deploy.local.broker import free_port
from streams import bus
from streams.bus import Outgoing
from streams.clock import MINUTE_US, minute_start_us, wall_ts_us
from streams.messages import Features, Forecast
from streams.settings import Settings

SYMBOLS = tuple(f"S{number}" for number in range(10))
FILL_MINUTES = 450  # of every symbol before anything is measured: more than the page keeps
WARM_UP_S = 3.0
GROWTH = 1.1  # of memory from the middle to the end: what a garbage collector has not yet taken stays below it
P50_MS, P95_MS = 130.0, 330.0  # with 20 ms before (the engine) and behind (drawing), 150 and 350 from tick to pixel


def run(settings: Settings, browsers: int, rate: float, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures; `rate` is rows a second, `say` is told what goes on."""
    with own_broker(msgspec.structs.replace(settings, console_port=free_port())) as own:
        bus.ensure_topics(own)
        say("filling the topics")
        _fill(own)
        with running_roles(own, "console") as [console]:
            say(f"measuring for {seconds:.0f} s")
            return asyncio.run(_measure(own, console.pid, browsers, rate, seconds))


def _fill(own: Settings) -> None:
    start_us = minute_start_us(wall_ts_us()) - FILL_MINUTES * MINUTE_US
    with bus.producing(own) as client:
        for minute in range(FILL_MINUTES):
            for symbol in SYMBOLS:
                at_us = start_us + minute * MINUTE_US
                for record in (row_of(symbol, at_us, at_us + MINUTE_US - 1, 1), *forecasts_of(symbol, at_us + MINUTE_US)):
                    bus.send(client, own, record)


def row_of(symbol: str, minute_ts_us: int, last_event_ts_us: int, revision: int) -> Outgoing:
    """Return a made-up row of `features`."""
    prices: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close", "ma7", "ma21"), 100.0 + revision % 10)
    row = Features(
        minute_ts_us=minute_ts_us,
        symbol=symbol,
        volume=1.0,
        n_ticks=revision,
        bars7=7,
        bars21=21,
        last_event_ts_us=last_event_ts_us,
        revision=revision,
        final=False,
        flat=False,
        **prices,
    )
    return bus.outgoing("features", symbol, row)


def forecasts_of(symbol: str, as_of_ts_us: int) -> list[Outgoing]:
    """Return made-up forecasts of all horizons."""
    return [bus.outgoing("forecasts", symbol, _forecast(symbol, as_of_ts_us, horizon_min)) for horizon_min in (1, 5, 15)]


def _forecast(symbol: str, as_of_ts_us: int, horizon_min: int) -> Forecast:
    return Forecast(
        forecast_id=f"{symbol}:{as_of_ts_us}:{horizon_min}",
        symbol=symbol,
        as_of_ts_us=as_of_ts_us,
        horizon_min=horizon_min,
        target_ts_us=as_of_ts_us + horizon_min * MINUTE_US,
        last_price=100.0,
        mean=100.0,
        quantiles={"0.025": 99.0, "0.1": 99.5, "0.25": 99.8, "0.5": 100.0, "0.75": 100.2, "0.9": 100.5, "0.975": 101.0},
        prob_up=0.5,
        model_id="made-up",
        role="baseline",
        provisional=False,
        features_hash="",
    )


async def _measure(own: Settings, pid: int, browsers: int, rate: float, seconds: float) -> dict[str, Any]:
    ages_ms: list[float] = []
    memory = [memory_mib(pid)]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.console_port}", limits=limits, timeout=60) as client:
        watching = [asyncio.create_task(_watch(client, ages_ms if number == 0 else None)) for number in range(browsers)]
        feeding = asyncio.create_task(asyncio.to_thread(_feed, own, rate, WARM_UP_S + seconds))
        await asyncio.sleep(WARM_UP_S)
        ages_ms.clear()
        cpu, began_s = cpu_s(pid), time.monotonic()
        for _half in range(2):
            await asyncio.sleep(seconds / 2)
            memory.append(memory_mib(pid))
        share = (cpu_s(pid) - cpu) / (time.monotonic() - began_s)
        await feeding
        for task in watching:
            task.cancel()
        left = [error for error in await asyncio.gather(*watching, return_exceptions=True) if isinstance(error, httpx.HTTPError)]
    return judged(ages_ms, memory, share, len(left)) | {"browsers": browsers, "rows_per_s": rate, "seconds": seconds}


async def _watch(client: httpx.AsyncClient, ages_ms: list[float] | None) -> None:
    """Read a stream as a browser does; enter the age of each symbol's price into `ages_ms`, where there is one."""
    async with client.stream("GET", "/v1/stream") as response:
        kind = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kind = line
            elif ages_ms is not None and kind == "event: update" and line.startswith("data: "):
                now_us = wall_ts_us()
                rows = msgspec.json.decode(line[len("data: ") :])["symbols"] if '"symbols"' in line else []
                ages_ms += [(now_us - row["price_ts_us"]) / 1_000 for row in rows if row["bars"]]


def _feed(own: Settings, rate: float, seconds: float) -> None:
    """Send rows of the present minute, in turn of each symbol, each stamped with now."""
    begin_s = time.monotonic()
    with bus.producing(own) as client:
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, begin_s + number / rate - time.monotonic()))
            now_us = wall_ts_us()
            bus.send(client, own, row_of(SYMBOLS[number % len(SYMBOLS)], minute_start_us(now_us), now_us, number + 2))


def judged(ages_ms: list[float], memory_mib: list[float], cpu_share: float, broken: int) -> dict[str, Any]:
    """Return the figures of one run; `memory_mib` at its begin, middle and end, `broken` streams that ended before it."""
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(ages_ms, [50, 95, 99]))
    holds = not broken and p50 <= P50_MS and p95 <= P95_MS and memory_mib[2] <= GROWTH * memory_mib[1]
    ages = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "samples": len(ages_ms)}
    return {"holds": holds, **ages, "memory_mib": memory_mib, "cpu_share": round(cpu_share, 3), "broken_streams": broken}


def table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("from the broker to a browser", "", title=f"{figures['browsers']} browsers, {figures['rows_per_s']:g} rows/s")
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        shown.add_row(name.replace("_", " "), f"{figures[name]:,.0f}")
    shown.add_row("memory MiB, begin, middle, end", ", ".join(f"{size:,.0f}" for size in figures["memory_mib"]))
    shown.add_row("of one core", f"{figures['cpu_share']:.1%}")
    shown.add_row("streams that broke", str(figures["broken_streams"]))
    shown.add_row("holds", "yes" if figures["holds"] else "no")
    return shown
