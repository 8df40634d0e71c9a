"""`tickcast bench outlook`: how long `POST /v1/outlook/{symbol}` takes over HTTP once prices and headlines are at hand.

The console with the outlook alone runs as a process of its own, as it always does. Each stock is asked for once before anything
is timed: after that its prices are fetched and its headlines scored, and a request makes the matrix, asks all networks with and
without dropout, and sends the answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl
from rich.table import Table

from deploy.local.broker import free_port
from deploy.local.processes import Process
from models.studies import daily_files
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually

P95_MS = 300.0
READY_S = 120.0
FIRST_S = 240.0  # of a stock: libraries, weights and its headlines have to be read
DAYS = 520
HEADLINES = 60  # of each stock and month
STOCKS = 6
WORDS = ("profit rises", "shares fall", "names a new chairman", "cuts its forecast", "beats expectations", "opens an office")


def run(settings: Settings, requests: int, data: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures; `say` is told what goes on.

    Raises
    ------
    EnvironmentFault
        The console does not come up, or answers with an error.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = data or made_up(Path(made))
        symbols = sorted(path.stem for path in (folder / daily_files.US).glob("*.csv"))[:STOCKS]
        own = msgspec.structs.replace(
            settings, home=Path(made) / "home", outlook=str(folder), sentiment="minilm", console_port=free_port()
        )
        say("starting the console")
        with _console(own) as client:
            say(f"first answers of {len(symbols)} stocks")
            first_ms = [_timed(client, symbol, FIRST_S) for symbol in symbols]
            say(f"timing {requests} requests")
            spans_ms = [_timed(client, symbols[number % len(symbols)]) for number in range(requests)]
    return judged(spans_ms, first_ms)


def judged(spans_ms: list[float], first_ms: list[float]) -> dict[str, Any]:
    """Return the figures of the warm requests `spans_ms`, and how long the first of each stock took."""
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(spans_ms, [50, 95, 99]))
    first = [round(value) for value in first_ms]
    return {"holds": p95 <= P95_MS, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "requests": len(spans_ms), "first_ms": first}


def table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("POST /v1/outlook, warm", "", title=f"{figures['requests']} requests, one after another")
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        shown.add_row(name.replace("_", " "), f"{figures[name]:,.1f}")
    shown.add_row("first answer of each stock, ms", ", ".join(f"{value:,}" for value in figures["first_ms"]))
    shown.add_row(f"p95 within {P95_MS:.0f} ms", "yes" if figures["holds"] else "no")
    return shown


def made_up(folder: Path) -> Path:
    """Fill `folder` with closes and headlines of stocks that do not exist, to the day before yesterday; return it."""
    chance = np.random.default_rng(7)
    days = [date.today() - timedelta(days=number) for number in range(DAYS, 1, -1)]  # noqa: DTZ011 - any days do
    (folder / daily_files.US).mkdir(parents=True)
    for number in range(STOCKS):
        close = 100 * np.exp(np.cumsum(chance.normal(0, 0.02, len(days))))
        rows = pl.DataFrame({"date": days, "close": close, "high": close, "low": close, "open": close, "vol": 1.0})
        rows.write_csv(folder / daily_files.US / f"S{number}.csv")
    _made_up_news(folder, days, chance)
    return folder


def _made_up_news(folder: Path, days: list[date], chance: np.random.Generator) -> None:
    count = STOCKS * HEADLINES * DAYS // 30
    symbols = [f"S{number}" for number in chance.integers(0, STOCKS, count)]
    told = [
        f"{symbol} {WORDS[word]}, report {number}"
        for number, (symbol, word) in enumerate(zip(symbols, chance.integers(0, len(WORDS), count), strict=True))
    ]
    times = [f"{days[place]}T12:{place % 60:02d}Z" for place in chance.integers(0, len(days), count)]
    (folder / "headlines").mkdir()
    pl.DataFrame({"time_utc": times, "symbols": symbols, "title": told}).write_csv(folder / "headlines" / "made_up.csv")


@contextmanager
def _console(own: Settings) -> Iterator[httpx.Client]:
    """Run the console and yield a client of it, once it answers."""
    console = Process("console", own, ("--outlook-only",))
    console.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{own.console_port}", timeout=READY_S) as client:
            eventually(lambda: _answers(client), READY_S)
            yield client
    finally:
        console.stop()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _timed(client: httpx.Client, symbol: str, patience_s: float = 0.0) -> float:
    """Return how long an answer takes; one that the console gives up is asked for again within `patience_s`, as it says."""
    begin_s = time.perf_counter()
    answer = client.post(f"/v1/outlook/{symbol}")
    while answer.status_code == httpx.codes.GATEWAY_TIMEOUT and time.perf_counter() - begin_s < patience_s:
        answer = client.post(f"/v1/outlook/{symbol}")
    if answer.status_code != 200:
        raise EnvironmentFault(f"the console answers {answer.status_code}: {answer.text}")
    return 1e3 * (time.perf_counter() - begin_s)
