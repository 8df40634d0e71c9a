"""Crypto exchanges' public trades by ccxt's WebSockets: `ccxt` is Binance, `ccxt:kraken` another of ccxt's exchanges.

Follows docs.ccxt.com (watchTrades, fetchTrades, the trade structure: `timestamp` is milliseconds UTC, `id` the exchange's own).
Binance is asked for aggregate trades on both ways, because their ids are without gaps and the same on both (Binance's "Aggregate
Trade Streams" and "Compressed/Aggregate trades list"); other exchanges are taken as they are.

No key is needed. `TICKCAST_CCXT_URL=host:port` leads to another server, where each of the exchange's hosts is a folder; it sets
`exchange.urls`, as ccxt documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import ccxt
import ccxt.pro

from producers.base import Story, Trade
from producers.vendors.base import AsyncFeed, Ear, Feed, lost, seq_of
from streams.errors import Refused, SourceError, Throttled, UnknownSymbol
from streams.settings import Settings

DEFAULT = "binance"
MOST = 1_000  # trades in one answer
# What an exchange needs so that trades have the same ids on both ways, and whether they count 1, 2, 3.
WAYS: dict[str, tuple[dict[str, Any], bool]] = {"binance": ({"name": "aggTrade"}, True)}
REFUSED = (ccxt.AuthenticationError, ccxt.PermissionDenied, ccxt.AccountNotEnabled, ccxt.BadSymbol, ccxt.NotSupported)
LOOK_S = 0.02


class CcxtFeed(AsyncFeed):
    """The trades of one exchange.

    Parameters
    ----------
    exchange : str
        As ccxt calls it.
    symbols : sequence of str
        As ccxt calls them: BTC/USDT.
    url : str
        host:port of another server; empty: the exchange's own.
    """

    def __init__(self, exchange: str, symbols: Sequence[str], url: str = "", silence_s: float = 60.0) -> None:
        self.name = f"ccxt:{exchange}"
        self.silence_s = silence_s
        self._id = exchange
        self._symbols = symbols
        self._url = url
        self._how, self.contiguous = WAYS.get(exchange, ({}, False))
        self._rest = self._made(ccxt)
        if not (self._rest.has["fetchTrades"] and self._made(ccxt.pro).has.get("watchTrades")):
            raise SourceError(f"{exchange} does not stream trades through ccxt; binance, kraken and coinbase do")

    def _made(self, library: Any) -> Any:
        options: dict[str, Any] = {"enableRateLimit": True}
        if self._id == DEFAULT and not any(":" in symbol for symbol in self._symbols):
            options["options"] = {"fetchMarkets": {"types": ["spot"]}}
        made = getattr(library, self._id)(options)
        if self._url:
            made.urls["api"] = redirected(made.urls["api"], self._url)
        return made

    async def converse(self, ear: Ear) -> None:
        """Watch each symbol; ccxt tells of a broken line by an error."""
        with translated():
            self._load()
            exchange = self._made(ccxt.pro)
            exchange.set_markets(self._rest.markets, self._rest.currencies)
            watching = [asyncio.ensure_future(self._watch(exchange, symbol, ear)) for symbol in self._symbols]
            greeting = asyncio.ensure_future(self._greet(exchange, ear))
            try:
                await asyncio.gather(greeting, *watching)
            finally:
                for task in (greeting, *watching):
                    task.cancel()
                await asyncio.gather(greeting, *watching, return_exceptions=True)
                await exchange.close()

    async def _watch(self, exchange: Any, symbol: str, ear: Ear) -> None:
        while True:  # the answers are what is new since the last one
            for one in await exchange.watch_trades(symbol, None, None, self._how):
                hear(ear, one)

    async def _greet(self, exchange: Any, ear: Ear) -> None:
        """Say that the line is up once every socket is: ccxt says nothing before the first trade."""
        while not exchange.clients or not all(client.connected.done() for client in exchange.clients.values()):
            await asyncio.sleep(LOOK_S)
        ear.up()

    def _load(self) -> None:
        if not self._rest.markets:
            self._rest.load_markets()
        if unknown := [symbol for symbol in self._symbols if symbol not in self._rest.markets]:
            raise UnknownSymbol(f"{self._id} has no {', '.join(unknown)}; give its own, as in --symbols BTC/USDT,ETH/USDT")

    def past(self, since_us: int, until_us: int) -> Sequence[Trade | Story]:
        """Fetch the trades of each symbol, a page at a time."""
        found: list[Trade] = []
        with translated():
            for symbol in self._symbols:
                for one in self._pages(symbol, since_us // 1_000, -(-until_us // 1_000)):
                    found.append(trade(one))
        return found

    def _pages(self, symbol: str, since_ms: int, until_ms: int) -> Iterator[dict[str, Any]]:
        while since_ms <= until_ms:
            page = self._rest.fetch_trades(symbol, since_ms, MOST, {"until": until_ms})
            yield from page
            last_ms = max((one["timestamp"] for one in page), default=until_ms)
            if len(page) < MOST or last_ms >= until_ms:
                return
            since_ms = max(last_ms, since_ms + 1)  # the last millisecond may have more: repeats are known


def hear(ear: Ear, one: dict[str, Any]) -> None:
    """Say one trade, or that it is none."""
    try:
        ear.hear(trade(one))
    except (KeyError, TypeError, ValueError) as error:
        ear.garbled(f"{one}: {error!r}")


def trade(one: dict[str, Any]) -> Trade:
    """Return a trade of ccxt's structure."""
    event_ts_us = int(one["timestamp"]) * 1_000
    price, size = float(one["price"]), float(one["amount"])
    seq = seq_of(one["id"]) if one.get("id") else seq_of(event_ts_us, price, size, one.get("side"))
    return Trade(event_ts_us, one["symbol"], price, size, seq)


def redirected(address: Any, to: str) -> Any:
    """Return ccxt's addresses with `to` for their host, which becomes the first folder of the path.

    >>> redirected({"ws": "wss://stream.example.com:9443/ws"}, "127.0.0.1:80")
    {'ws': 'ws://127.0.0.1:80/stream.example.com/ws'}
    """
    if isinstance(address, dict):
        return {name: redirected(one, to) for name, one in address.items()}
    parts = urlsplit(address)
    scheme = parts.scheme.replace("wss", "ws").replace("https", "http")
    return f"{scheme}://{to}/{parts.hostname}{parts.path}"


@contextmanager
def translated() -> Iterator[None]:
    """Turn ccxt's errors into ours."""
    try:
        yield
    except REFUSED as error:
        raise Refused(_said(error)) from error
    except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
        raise Throttled(_said(error), after_s=5.0) from error
    except ccxt.BaseError as error:
        raise lost(error) from error


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return the feed of `ccxt:EXCHANGE`."""
    exchange = argument or DEFAULT
    if exchange not in ccxt.pro.exchanges:
        raise SourceError(f"ccxt streams no exchange {exchange!r}; it streams {', '.join(ccxt.pro.exchanges[:8])} and others")
    return [CcxtFeed(exchange, settings.symbol_list, settings.ccxt_url, settings.stale_s)]
