"""Each vendor's server, and the settings that lead its unmodified client there."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from streams.settings import Secret, Settings
from tests.producers.vendors import alpaca_server, massive_server
from tests.producers.vendors.alpaca_server import Alpaca
from tests.producers.vendors.binance import Binance
from tests.producers.vendors.massive_server import Massive
from tests.producers.vendors.servers import Server
from tests.producers.vendors.yahoo import Yahoo


@dataclass(frozen=True)
class Kind:
    """One vendor.

    Attributes
    ----------
    ticks : str
        What `--ticks` says.
    symbols : tuple[str, ...]
        What its server trades.
    lead : callable
        Returns settings that lead to a server.
    """

    server: Callable[[], Server]
    ticks: str
    symbols: tuple[str, ...]
    lead: Callable[[str], dict[str, object]]

    def settings(self, server: Server, settings: Settings) -> Settings:
        """Return `settings` with the server's address and symbols."""
        return msgspec.structs.replace(settings, symbols=",".join(self.symbols), **self.lead(server.address))


KINDS = {
    "alpaca": Kind(
        Alpaca,
        "alpaca",
        ("AAPL", "MSFT"),
        lambda address: {
            "alpaca_url": address,
            "alpaca_key": Secret(alpaca_server.KEY),
            "alpaca_secret": Secret(alpaca_server.SECRET),
        },
    ),
    "polygon": Kind(
        Massive,
        "polygon",
        ("AAPL", "MSFT"),
        lambda address: {"polygon_url": address, "polygon_key": Secret(massive_server.KEY)},
    ),
    "yfinance": Kind(
        Yahoo,
        "yfinance",
        ("AAPL", "MSFT"),
        # its news go nowhere: no test asks Yahoo
        lambda address: {"yfinance_url": f"ws://{address}/?version=2", "yfinance_proxy": "http://127.0.0.1:9"},
    ),
    "ccxt": Kind(Binance, "ccxt", ("BTC/USDT", "ETH/USDT"), lambda address: {"ccxt_url": address}),
}


@contextmanager
def trading(server: Server, symbols: tuple[str, ...], every_s: float = 0.05) -> Iterator[None]:
    """Let trades happen for the length of a `with` block, from the first line on."""
    over = threading.Event()

    def trade() -> None:
        for number in itertools.count():
            if over.wait(every_s):
                return
            if server.sockets:
                one = server.trade(symbols[number % len(symbols)], price=100 + number % 16 / 8)
                server.tell(one)

    thread = threading.Thread(target=trade, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)
