"""US stocks' trades and news of massive.com, which was polygon.io, by its own client `massive`: TICKCAST_POLYGON_KEY.

Follows massive.com/docs: "Stocks WebSocket: Trades" (`t` is the tape's time in milliseconds UTC, `q` counts a ticker's trades of
the day upwards, with gaps), "Stocks REST: Trades" (the same time in nanoseconds; `correction` is the tape's code), "Conditions",
"News". Corrections and cancels are told by REST alone, so they are seen while a trade is young enough to be asked for again.

`TICKCAST_POLYGON_URL=host:port` leads to another server, by the client's documented options `feed` and `base`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import urllib3
from massive import RESTClient, WebSocketClient
from massive.exceptions import AuthError, BadResponse
from massive.websocket.models import Feed as Address
from websockets.exceptions import WebSocketException

from producers.base import Story, Trade
from producers.vendors.base import AsyncFeed, Ear, Feed, lost
from producers.vendors.polygon_fields import heard, story, told_again
from streams.clock import MINUTE_US, SECOND_US, wall_ts_us
from streams.errors import LineLost, Refused, SourceError, Throttled, UnknownSymbol
from streams.settings import Settings

KEY = "massive refuses TICKCAST_POLYGON_KEY, or its plan does not have this"
UP_S = 10.0  # the client tries to connect for ever, ever more rarely; we do not
NEWS_BACK_US = 10 * MINUTE_US
PAGE = 50_000


class PolygonTrades(AsyncFeed):
    """The trades of US stocks."""

    name = "polygon"
    calendar = "XNYS"

    def __init__(self, settings: Settings) -> None:
        self.silence_s = settings.stale_s
        self._symbols = settings.symbol_list
        self._key = settings.polygon_key.reveal()
        self._at = settings.polygon_url
        self._rest = _rest(settings)
        self._checked = False

    async def converse(self, ear: Ear) -> None:
        """Listen by the client's `connect`."""
        self._check()
        feed: str | Address = self._at or Address.RealTime
        client = WebSocketClient(self._key, feed=feed, raw=True, secure=not self._at, max_reconnects=0)
        client.subscribe(*(f"T.{symbol}" for symbol in self._symbols))
        is_up = asyncio.Event()
        told = iter(self._symbols[1:])  # each subscription is answered by itself

        async def take(frame: str | bytes) -> None:
            for message in _messages(frame, ear):
                if message.get("ev") == "status":
                    _heed(message)
                    if next(told, None) is None and not is_up.is_set():
                        is_up.set()
                        ear.up()
                elif message.get("ev") == "T":
                    _tell(ear, message)

        talking = asyncio.ensure_future(client.connect(take))
        try:
            await asyncio.wait([talking, asyncio.ensure_future(is_up.wait())], timeout=UP_S, return_when=asyncio.FIRST_COMPLETED)
            if not (is_up.is_set() or talking.done()):
                raise LineLost(f"no subscription within {UP_S:g} s")
            await talking
        except AuthError as error:
            raise Refused(f"{KEY} ({error})") from error
        except (WebSocketException, OSError, ValueError, KeyError, IndexError) as error:
            raise lost(error) from error
        finally:
            talking.cancel()
            if client.websocket is not None:
                await client.close()

    def _check(self) -> None:
        """Ask once for each symbol: the socket takes any, and says nothing of those that do not exist."""
        if not self._checked:
            for symbol in self._symbols:
                with translated(f"massive has no {symbol}"):
                    self._rest.get_ticker_details(symbol)
            self._checked = True

    def past(self, since_us: int, until_us: int) -> Sequence[Trade | Story]:
        """Fetch the trades of each symbol; the client turns the pages."""
        with translated():
            return [event for symbol in self._symbols for event in self._asked(symbol, since_us, until_us)]

    def _asked(self, symbol: str, since_us: int, until_us: int) -> Iterator[Trade]:
        span = {"timestamp_gte": since_us * 1_000, "timestamp_lte": until_us * 1_000}
        for one in self._rest.list_trades(symbol, **span, order="asc", sort="timestamp", limit=PAGE):
            yield from told_again(symbol, one)


class PolygonNews(Feed):
    """Headlines with their tickers, polled."""

    name = "polygon-news"
    trades = False

    def __init__(self, settings: Settings) -> None:
        self._symbols = settings.symbol_list
        self._rest = _rest(settings)
        self._poll_s = settings.poll_s
        self._stop = threading.Event()
        self._since_us = 0

    def listen(self, ear: Ear) -> None:
        """Ask for what was published since the last time, and a little before, again and again."""
        self._stop.clear()
        while not self._stop.is_set():
            since_us = (self._since_us or wall_ts_us()) - NEWS_BACK_US
            self._since_us = wall_ts_us()
            for symbol in self._symbols:
                with translated():
                    ear.hear(*self._published(symbol, since_us))
            ear.up()
            self._stop.wait(self._poll_s)

    def _published(self, symbol: str, since_us: int) -> Iterator[Story]:
        since = datetime.fromtimestamp(since_us // SECOND_US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for one in self._rest.list_ticker_news(symbol, published_utc_gte=since, order="asc", sort="published_utc", limit=1_000):
            yield story(one)

    def hang_up(self) -> None:
        """Stop asking."""
        self._stop.set()


def _messages(frame: str | bytes, ear: Ear) -> list[dict[str, Any]]:
    try:
        messages = json.loads(frame)
        return [message for message in messages if isinstance(message, dict)]
    except (ValueError, TypeError) as error:
        ear.garbled(f"{frame!r}: {error}")
        return []


def _heed(message: dict[str, Any]) -> None:
    """Raise what a status means that is not good."""
    status, said = message.get("status"), message.get("message", "")
    if status == "auth_failed" or "not authorized" in said:
        raise Refused(f"{KEY} ({said})")
    if status == "max_connections":
        raise Throttled(f"massive: {said}", after_s=10.0)
    if status not in {"success", "connected", "auth_success"}:
        raise LineLost(f"massive: {status}: {said}")


def _tell(ear: Ear, message: dict[str, Any]) -> None:
    try:
        ear.hear(heard(message))
    except (KeyError, TypeError, ValueError) as error:
        ear.garbled(f"{message}: {error!r}")


def _rest(settings: Settings) -> RESTClient:
    base = {"base": f"http://{settings.polygon_url}"} if settings.polygon_url else {}
    return RESTClient(settings.polygon_key.reveal(), retries=0, **base)


@contextmanager
def translated(unknown: str = "massive does not take this request") -> Iterator[None]:
    """Turn what REST answers into our errors; `unknown` says what a 404 means."""
    try:
        yield
    except AuthError as error:
        raise Refused(f"{KEY} ({error})") from error
    except BadResponse as error:
        said = str(error)
        if "NOT_AUTHORIZED" in said or "Unknown API Key" in said:
            raise Refused(f"{KEY} ({said[:200]})") from error
        raise (UnknownSymbol(f"{unknown} ({said[:200]})") if "NOT_FOUND" in said else lost(error)) from error
    except urllib3.exceptions.MaxRetryError as error:
        raise (Throttled("massive answers 429", 5.0) if "429" in str(error.reason) else lost(error)) from error
    except (urllib3.exceptions.HTTPError, ValueError, TypeError, AttributeError) as error:
        raise lost(error) from error


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return the feeds that were asked for."""
    if argument:
        raise SourceError("polygon takes no argument")
    if not settings.polygon_key:
        raise SourceError("polygon needs TICKCAST_POLYGON_KEY (or TICKCAST_POLYGON_KEY_FILE), from massive.com")
    return [*([PolygonTrades(settings)] if ticks else []), *([PolygonNews(settings)] if headlines else [])]
