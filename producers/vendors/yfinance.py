"""Yahoo's quotes and news by yfinance, without a key: prices by its WebSocket, or polled where that cannot be had; news polled.

Follows yfinance's documentation (ranaroussi.github.io/yfinance: WebSocket, Ticker.history, Ticker.news) and its `pricing.proto`:
`time` is milliseconds UTC, `day_volume` what was traded since the day's begin. These are quotes, not trades: each new price is
one tick, whose size is what was traded since the one before. They have no ids, and the past cannot be asked for, so what a
broken line misses is missing.

`TICKCAST_YFINANCE_URL=ws://host:port` leads the WebSocket to another server (its option `url`), `TICKCAST_YFINANCE_PROXY` the
rest through a proxy (yfinance's `config.network.proxy`): Yahoo's addresses are fixed in it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import yfinance
from curl_cffi.requests.exceptions import RequestException
from google.protobuf.message import DecodeError
from websockets.exceptions import WebSocketException
from yfinance.exceptions import YFException, YFRateLimitError

from producers.base import Story, Trade
from producers.vendors.base import Ear, Feed, Fresh, lost
from streams.clock import SECOND_US, wall_ts_us
from streams.errors import SourceError, Throttled, UnknownSymbol
from streams.settings import Settings

BEAT_S = 15.0  # as yfinance's asynchronous client does: Yahoo forgets who does not subscribe again
TRIES = 3  # at the WebSocket, before it is polled for a while
POLLED_S = 60.0  # then the WebSocket is tried again
NEWS = 20  # stories of one answer
DIGEST_BITS = 20


class Quotes(Feed):
    """Prices of Yahoo's, whatever it has: stocks, indices, currencies, coins (BTC-USD)."""

    name = "yfinance"

    def __init__(self, settings: Settings) -> None:
        self._symbols = settings.symbol_list
        self._options = {"url": settings.yfinance_url} if settings.yfinance_url else {}
        self._poll_s = settings.poll_s
        self._volumes: dict[str, int] = {}
        self._failed = 0
        self._stop = threading.Event()
        self._socket: Any = None
        self.calendar = "" if any(symbol.endswith(("-USD", "=X", "=F")) for symbol in self._symbols) else "XNYS"
        self.silence_s = settings.stale_s
        _configure(settings)

    def listen(self, ear: Ear) -> None:
        """Listen to the WebSocket; after some vain attempts poll for a minute instead."""
        self._stop.clear()
        if self._failed < TRIES:
            self._failed += 1
            self._stream(ear)
        else:
            self._poll(ear)
            self._failed = 0

    def _stream(self, ear: Ear) -> None:
        self._socket = yfinance.WebSocket(**self._options, verbose=False)
        beating = threading.Thread(target=self._beat, args=(self._socket,), daemon=True, name="yfinance-beat")
        try:
            self._socket.subscribe(list(self._symbols))
            beating.start()
            self._failed = 0
            ear.up()
            self._socket.listen(lambda message: self._take(message, ear))
        except (ValueError, DecodeError) as error:
            ear.garbled(error)  # yfinance reads no more after it
            raise lost(error) from error
        except (OSError, WebSocketException) as error:
            raise lost(error) from error
        finally:
            self._stop.set()
            self._socket.close()

    def _beat(self, socket: Any) -> None:
        """Subscribe again now and then, until the line has ended."""
        while not self._stop.wait(BEAT_S):
            try:
                socket.subscribe(list(self._symbols))
            except (OSError, WebSocketException):
                return

    def hang_up(self) -> None:
        """Close the socket: listening ends with it."""
        self._stop.set()
        if self._socket is not None:
            self._socket.close()

    def _take(self, message: dict[str, Any], ear: Ear) -> None:
        try:
            ear.hear(self._quote(message["id"], int(message["time"]), message))
        except (KeyError, TypeError, ValueError) as error:
            ear.garbled(f"{message}: {error!r}")

    def _quote(self, symbol: str, time_ms: int, message: dict[str, Any]) -> Trade:
        price = float(f"{message['price']:.7g}")  # it is a float of 32 bits on the way
        volume = int(message.get("day_volume", 0))
        before, self._volumes[symbol] = self._volumes.get(symbol), volume
        size = max(0, volume - before) if before is not None else int(message.get("last_size", 0))
        return Trade(time_ms * 1_000, symbol, price, float(size), number(time_ms, price, volume))

    def _poll(self, ear: Ear) -> None:
        until_us = wall_ts_us() + round(POLLED_S * SECOND_US)
        while wall_ts_us() < until_us:
            with translated():
                for symbol in self._symbols:
                    ear.hear(self._polled(symbol))
            ear.up()
            if self._stop.wait(self._poll_s):
                return

    def _polled(self, symbol: str) -> Trade:
        ticker = yfinance.Ticker(symbol)
        ticker.history(period="1d", interval="1m")
        said = ticker.history_metadata
        if "regularMarketPrice" not in said:
            raise UnknownSymbol(f"yahoo has no {symbol}")
        message = {"price": said["regularMarketPrice"], "day_volume": said.get("regularMarketVolume") or 0}
        when = said["regularMarketTime"]
        return self._quote(symbol, round(when.timestamp() if isinstance(when, datetime) else when) * 1_000, message)


class News(Feed):
    """Yahoo's news of each symbol, polled."""

    name = "yfinance-news"
    trades = False

    def __init__(self, settings: Settings) -> None:
        self._symbols = settings.symbol_list
        self._poll_s = settings.poll_s
        self._stop = threading.Event()
        self._fresh = Fresh()
        _configure(settings)

    def listen(self, ear: Ear) -> None:
        """Ask for the newest stories of each symbol, again and again."""
        self._stop.clear()
        while not self._stop.is_set():
            listed: dict[str, Story] = {}
            for symbol in self._symbols:
                with translated():
                    told = yfinance.Ticker(symbol).get_news(count=NEWS)
                for one in told:
                    self._list(listed, symbol, one, ear)
            ear.hear(*self._fresh.of([*listed.values()], wall_ts_us()))
            ear.up()
            self._stop.wait(self._poll_s)

    @staticmethod
    def _list(listed: dict[str, Story], symbol: str, one: dict[str, Any], ear: Ear) -> None:
        """Add an article to `listed`; one that comes with several symbols is about all of them."""
        try:
            said = story(symbol, one)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            ear.garbled(f"{one}: {error!r}")
            return
        before = listed.get(said.id)
        listed[said.id] = said if before is None else replace(before, symbols=(*before.symbols, symbol))

    def hang_up(self) -> None:
        """Stop asking."""
        self._stop.set()


def story(symbol: str, one: dict[str, Any]) -> Story:
    """Return an article of `Ticker.news`, which was asked for by `symbol`."""
    content = one["content"]
    event_ts_us = round(datetime.fromisoformat(content["pubDate"]).astimezone(UTC).timestamp() * SECOND_US)
    url = (content.get("canonicalUrl") or content.get("clickThroughUrl") or {}).get("url", "")
    return Story(event_ts_us, f"yfinance:{one['id']}", (symbol,), content["title"], url)


def number(time_ms: int, price: float, volume: int) -> int:
    """Return the `seq` of a quote: by its time, and equal only for the same quote."""
    digest = int.from_bytes(hashlib.blake2b(f"{price} {volume}".encode(), digest_size=4).digest())
    return time_ms << DIGEST_BITS | digest >> 32 - DIGEST_BITS


def _configure(settings: Settings) -> None:
    yfinance.config.debug.hide_exceptions = False
    if settings.yfinance_proxy:
        yfinance.config.network.proxy = settings.yfinance_proxy


@contextmanager
def translated() -> Iterator[None]:
    """Turn yfinance's errors into ours."""
    try:
        yield
    except YFRateLimitError as error:
        raise Throttled("yahoo answers too many requests", after_s=30.0) from error
    except (YFException, RequestException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise lost(error) from error


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return the feeds that were asked for."""
    if argument:
        raise SourceError("yfinance takes no argument: --symbols names what to follow, as Yahoo writes it")
    return [*([Quotes(settings)] if ticks else []), *([News(settings)] if headlines else [])]
