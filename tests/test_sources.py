"""Every live source through the whole pipeline: unmodified clients on servers of ours, to forecasts that are scored.

One pipeline, five producers side by side, each with symbols of its own, in real time: forecasts mature from the third
minute on.
"""

from __future__ import annotations

import csv
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy import audit
from deploy.local.processes import Process
from deploy.local.statuses import Statuses
from streams import bus, lake
from streams.clock import wall_ts_us
from streams.messages import DeadLetter, Event, Forecast, Score, Sentiment
from streams.settings import Settings, load
from streams.testing import eventually
from tests.pipeline import logs, messages
from tests.producers.vendors.alpaca_server import Alpaca
from tests.producers.vendors.massive_server import Massive
from tests.producers.vendors.servers import Happened, Server, serving
from tests.producers.vendors.sources import KINDS
from tests.producers.vendors.wire import RSS, Wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EVERY_S = 0.05
SYMBOLS = {
    "alpaca": ("AAPL", "MSFT"),
    "polygon": ("AMZN", "TSLA"),
    "yfinance": ("META", "GOOGL"),
    "ccxt": ("BTC/USDT", "ETH/USDT"),
    "file": ("NVDA",),
}
ROLES = ("stream", "forecast", "score", "sentiment", "archive")


class Market(threading.Thread):
    """Lets trades happen at every vendor, the lines' troubles included, and writes the file."""

    def __init__(self, servers: dict[str, Server], file: Path) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.rows: list[Happened] = []
        self._servers = servers
        self._file = file

    def run(self) -> None:
        for number in itertools.count():
            if self.over.wait(EVERY_S):
                return
            at_us = wall_ts_us()
            for name, server in self._servers.items():
                symbol = SYMBOLS[name][number % 2]
                server.tell(server.trade(symbol, price=100 + number % 16 / 8, size=2, ts_us=at_us))
                if number == 300:
                    server.cut()
            self._write(at_us, 100 + number % 16 / 8)

    def _write(self, at_us: int, price: float) -> None:
        self.rows.append(Happened(at_us, "NVDA", price, 2.0, len(self.rows)))
        with self._file.open("a", newline="") as file:
            csv.writer(file).writerow([at_us, "NVDA", price, 2])


@dataclass
class Run:
    """What went in, and where it went."""

    settings: Settings
    happened: dict[str, list[Happened]]


@pytest.fixture(scope="module")
def run(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run all sources for some three minutes; the roles go on until the tests have looked."""
    home = tmp_path_factory.mktemp("sources")
    config = msgspec.structs.replace(load({}), home=home / "home", broker=broker, topic_prefix="sources.", offline=True)
    config = msgspec.structs.replace(config, checkpoint_s=20, poll_s=0.5, companies=str(home / "names.csv"))
    (home / "names.csv").write_text("symbol,names,not\nBTC/USDT,Bitcoin,\n")
    (home / "ticks.csv").write_text("event_ts_us,symbol,price,size\n")
    bus.ensure_topics(config)
    with ExitStack() as stack:
        servers = {name: kind.server() for name, kind in KINDS.items()}
        wire = Wire()
        for server in (*servers.values(), wire):
            stack.enter_context(serving(server))
        roles = [Process(name, config) for name in ROLES]
        producers = [
            Process(
                "produce", msgspec.structs.replace(own, symbols=",".join(SYMBOLS[name])), ("--ticks", ticks, "--headlines", news)
            )
            for name, own, ticks, news in (
                ("alpaca", KINDS["alpaca"].settings(servers["alpaca"], config), "alpaca", "alpaca"),
                ("polygon", KINDS["polygon"].settings(servers["polygon"], config), "polygon", "polygon"),
                ("yfinance", KINDS["yfinance"].settings(servers["yfinance"], config), "yfinance", "none"),
                ("ccxt", KINDS["ccxt"].settings(servers["ccxt"], config), "ccxt", f"rss:http://{wire.address}/feed"),
                ("file", config, f"file:{home / 'ticks.csv'}", "none"),
            )
        ]
        for role in (*roles, *producers):
            stack.callback(role.wait_stopped)
            stack.callback(role.ask_to_stop)
        _start(config, roles, producers, servers)
        market = Market(servers, home / "ticks.csv")
        market.start()
        _tell_news(servers, wire)
        scored = {symbol for symbols in SYMBOLS.values() for symbol in symbols}
        eventually(lambda: {score.symbol for score in messages(config, "scores", Score)} >= scored, 240, 3)
        market.over.set()
        market.join()
        happened = {name: server.happened for name, server in servers.items()} | {"file": market.rows}
        yield Run(config, happened)


def _start(config: Settings, roles: list[Process], producers: list[Process], servers: dict[str, Server]) -> None:
    for role in (*roles, *producers):
        role.start()
    statuses = Statuses(config)

    def ready() -> bool:
        states = {name: statuses.of(name) for name in ROLES}
        return all(state is not None and state.state == "ready" for state in states.values()) and all(
            server.sockets for server in servers.values()
        )

    try:
        eventually(ready, 240, 0.5)
    except AssertionError as error:
        raise AssertionError(logs(config)) from error
    finally:
        statuses.stop()


def _tell_news(servers: dict[str, Server], wire: Wire) -> None:
    alpaca, massive = servers["alpaca"], servers["polygon"]
    assert isinstance(alpaca, Alpaca)
    assert isinstance(massive, Massive)
    eventually(lambda: alpaca.readers, 60)
    alpaca.write(1, "Apple shares jump after quarterly profit beats estimates", "AAPL")
    massive.write("m1", "Tesla recalls cars, faces heavy loss", "TSLA")
    when = format_datetime(datetime.now(UTC))
    item = f"<title>Bitcoin slides as regulators sue exchange</title><link>http://127.0.0.1/b</link><guid>b</guid><pubDate>{when}</pubDate>"
    wire.body = RSS.format(f"<item>{item}</item>")


def test_every_symbol_of_every_source_has_forecasts_that_are_scored(run: Run) -> None:
    symbols = {symbol for names in SYMBOLS.values() for symbol in names}
    finals = {item.symbol for item in messages(run.settings, "forecasts", Forecast) if not item.provisional}
    scored = Counter(item.symbol for item in messages(run.settings, "scores", Score))
    assert finals == symbols
    assert set(scored) == symbols


def test_headlines_of_three_vendors_have_their_sentiment(run: Run) -> None:
    def told() -> set[str]:
        return {item.symbol for item in messages(run.settings, "sentiment", Sentiment) if not item.closes}

    eventually(lambda: told() >= {"AAPL", "TSLA", "BTC/USDT"}, 60, 1)


def test_the_lake_has_every_tick_that_the_vendors_sent_once(run: Run) -> None:
    def found() -> Counter[Any]:
        rows = lake.read(run.settings, "ticks", lake.archive_root(run.settings))
        return Counter(rows.filter(~rows["closes"]).select("symbol", "event_ts_us", "price").rows()) if rows.height else Counter()

    # what yfinance misses while its line is down is lost: Yahoo cannot be asked
    whole = [one for name, happened in run.happened.items() if name != "yfinance" for one in happened]
    expected: Counter[tuple[object, ...]] = Counter((one.symbol, one.event_ts_us, one.price) for one in whole)
    quotes: Counter[tuple[object, ...]] = Counter((one.symbol, one.event_ts_us, one.price) for one in run.happened["yfinance"])
    with suppress(AssertionError):  # what is missing says more than that something is
        eventually(lambda: found() >= expected, 120, 3)
    assert expected - found() == Counter()
    assert found() - expected <= quotes
    assert (found() - expected).total() > 0.8 * quotes.total()


def test_the_stages_balance_and_nothing_is_dead(run: Run) -> None:
    letters = list(messages(run.settings, "dead_letters", DeadLetter))
    assert [letter.message for letter in letters] == []

    def lines() -> list[audit.Line]:
        return [line for line in audit.balance(run.settings, 30) if not line.balances]

    eventually(lambda: not lines(), 60, 5)


def test_the_alerts_tell_of_the_lines_that_were_cut(run: Run) -> None:
    said = [event.detail for event in messages(run.settings, "events", Event) if event.kind == "alert"]
    for name in ("alpaca", "polygon", "yfinance", "ccxt:binance"):
        assert any(detail.startswith(f"{name}: the line is down") for detail in said), json.dumps(said)
