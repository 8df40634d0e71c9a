"""`tickcast bench page`: from a tick to a pixel of a real Chromium, how soon the page is there, and whether it grows.

The first part runs everything on the simulated market, whose trades are stamped with the moment at which they happen: a price's
age when it is on the screen is all of the way, the producer's and the browser's part included. The second sends made-up rows of
many market minutes to the console, a minute a second, once the page has all the bars that it keeps, and looks at the memory of
the console and of the page.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from consumers.console.market import MAX_BARS
from deploy.bench_console import forecasts_of, row_of
from deploy.bench_engine import memory_mib, own_broker, running_roles
from deploy.local.broker import free_port
from deploy.local.processes import Process
from streams import bus
from streams.clock import MINUTE_US, SECOND_US, minute_start_us, wall_ts_us
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually

PROBE = Path(__file__).with_name("bench_page.js")
ROLES = ("stream", "forecast", "sentiment", "score", "archive", "console", "steward")
LOADS = 5  # of the page, from a warm server
SETTLE_S = 20.0  # after the first price: what has just started is still at it
P50_MS, P95_MS, READY_MS = 150.0, 350.0, 1_500.0
GROWTH = 1.1  # from the middle to the end
LEAST_MINUTES = 8
ROWS_PER_MINUTE = 20  # of each symbol
SYMBOLS = tuple(f"S{number}" for number in range(6))


def run(settings: Settings, rate: float, seconds: float, minutes: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of both parts; a part of no length is left out."""
    figures: dict[str, Any] = {}
    with own_broker(msgspec.structs.replace(settings, console_port=free_port())) as own:
        bus.ensure_topics(own)
        if seconds:
            figures["pixels"] = _pixels(own, rate, seconds, say)
        if minutes:
            grown = msgspec.structs.replace(own, topic_prefix="grown.", console_port=free_port())
            bus.ensure_topics(grown)
            figures["growth"] = _growth(grown, minutes, say)
    return figures | {"holds": bool(figures) and all(part["holds"] for part in figures.values())}


@contextmanager
def _chromium() -> Iterator[Any]:
    """Lend a real Chromium.

    Raises
    ------
    EnvironmentFault
        It is not on this machine, or what drives it is not.
    """
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the development dependencies
    except ImportError as error:
        raise EnvironmentFault("the page is measured by Playwright: `make install` brings it") from error
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise EnvironmentFault("no Chromium is here; install the package `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu", "--no-first-run"])
        try:
            yield browser
        finally:
            browser.close()


def _open(browser: Any, own: Settings) -> Any:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script(path=PROBE)
    page.goto(f"http://127.0.0.1:{own.console_port}/")
    _await_ready(page, 120)
    return page


def _await_ready(page: Any, timeout_s: float) -> None:
    """Wait until the probe says that the page is there; asked from outside, for the page's own policy forbids it to evaluate."""
    eventually(lambda: page.evaluate("window.tickcastReady_ms"), timeout_s, 0.1)


def _pixels(own: Settings, rate: float, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    say("starting everything")
    producer = Process("produce", own, ("--source", "simulated", "--rate", str(rate)))
    with running_roles(own, *ROLES), _chromium() as browser:
        producer.start()
        try:
            page = _open(browser, own)
            page.wait_for_timeout(SETTLE_S * 1_000)
            ready_ms = [_loaded(page) for _ in range(LOADS)]
            say(f"measuring for {seconds:.0f} s")
            page.evaluate("tickcastAges()")
            page.wait_for_timeout(seconds * 1_000)
            ages_ms = page.evaluate("tickcastAges()")
        finally:
            producer.stop()
    if not ages_ms:
        raise EnvironmentFault("no price came to the page while it was measured")
    return pixels(ages_ms, ready_ms) | {"rate": rate, "seconds": seconds}


def _loaded(page: Any) -> float:
    """Return how long the page takes to be there, from the begin of its loading."""
    page.reload()
    _await_ready(page, 60)
    return float(page.evaluate("window.tickcastReady_ms"))


def pixels(ages_ms: list[float], ready_ms: list[float]) -> dict[str, Any]:
    """Return the figures of the first part."""
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(ages_ms, [50, 95, 99]))
    slowest = round(max(ready_ms), 1)
    holds = p50 <= P50_MS and p95 <= P95_MS and slowest <= READY_MS
    return {"holds": holds, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "samples": len(ages_ms), "ready_ms": slowest}


def _growth(own: Settings, minutes: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"sending {minutes} market minutes, one a second")
    with running_roles(own, "console") as [console], _chromium() as browser:
        start_us = minute_start_us(wall_ts_us()) - minutes * MINUTE_US
        sizes: list[dict[str, float]] = []
        with closing(bus.producer(own)) as client:
            _send(client, own, start_us - MAX_BARS * MINUTE_US)
            client.flush()
            page = _open(browser, own)
            _fill(client, own, start_us)
            marks = {minutes // 4, minutes // 2, minutes - 1}
            began_s = time.monotonic()
            for minute in range(minutes):
                _send(client, own, start_us + minute * MINUTE_US)
                page.wait_for_timeout(max(0.0, began_s + minute + 1 - time.monotonic()) * 1_000)
                if minute in marks:
                    sizes.append({"console_mib": memory_mib(console.pid), "page_mib": _heap_mib(page)})
    return growth(sizes) | {"minutes": minutes}


def _fill(client: Any, own: Settings, end_us: int) -> None:
    """Send as many minutes before `end_us` as the page keeps bars: until it has them all it grows, and shall."""
    for back in range(MAX_BARS - 1, 0, -1):
        for symbol in SYMBOLS:
            minute_us = end_us - back * MINUTE_US
            bus.send(client, own, row_of(symbol, minute_us, minute_us + MINUTE_US - SECOND_US, ROWS_PER_MINUTE))
    client.flush()


def _send(client: Any, own: Settings, minute_us: int) -> None:
    """Send a minute of every symbol: rows on the way to the last, and the forecasts made from that."""
    for revision in range(1, ROWS_PER_MINUTE + 1):
        at_us = minute_us + revision * MINUTE_US // ROWS_PER_MINUTE - SECOND_US
        for symbol in SYMBOLS:
            bus.send(client, own, row_of(symbol, minute_us, at_us, revision))
    for symbol in SYMBOLS:
        for record in forecasts_of(symbol, minute_us + MINUTE_US):
            bus.send(client, own, record)


def _heap_mib(page: Any) -> float:
    """Return what the page's objects take once their garbage is collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return round(float(metrics["JSHeapUsedSize"]) / 2**20, 1)


def growth(sizes: list[dict[str, float]]) -> dict[str, Any]:
    """Return the figures of the second part: sizes at a quarter, the middle and the end."""
    _, middle, end = sizes
    holds = all(end[name] <= GROWTH * middle[name] for name in middle)
    return {"holds": holds} | {name: [size[name] for size in sizes] for name in middle}


def table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("the page in Chromium", "")
    if found := figures.get("pixels"):
        shown.add_row(f"tick to pixel, {found['rate']:g} ticks/s, everything running: p50", f"{found['p50_ms']:,.0f} ms")
        shown.add_row("p95, p99", f"{found['p95_ms']:,.0f}, {found['p99_ms']:,.0f} ms of {found['samples']:,}")
        shown.add_row(f"there after, slowest of {LOADS}", f"{found['ready_ms']:,.0f} ms")
    if grown := figures.get("growth"):
        for name, words in (("console_mib", "console"), ("page_mib", "page's objects")):
            sizes = ", ".join(f"{size:,.0f}" for size in grown[name])
            shown.add_row(f"{words} after a quarter, half and all of {grown['minutes']} market minutes", f"{sizes} MiB")
    shown.add_row("holds", "yes" if figures["holds"] else "no")
    return shown
