"""US stocks' trades and news of alpaca.markets, by its own client alpaca-py: TICKCAST_ALPACA_KEY and TICKCAST_ALPACA_SECRET.

Follows docs.alpaca.markets: "Real-time Stock Data" (trades `t`, corrections `c`, cancels `x`, error codes), "Real-time News",
"Historical trades" (`u`: canceled, incorrect, corrected), "News articles". Times are nanoseconds UTC of the exchange. A trade's
id is unique to its symbol, exchange and day, so `seq` is made of them; conditions are those of the consolidated tapes.

alpaca-py builds broken lines again by itself; here any trouble of which it tells its log ends the conversation instead, so that
the gap is known. `TICKCAST_ALPACA_URL=host:port` leads to another server, by the client's documented `url_override`.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.data.enums import DataFeed
from alpaca.data.historical import NewsClient, StockHistoricalDataClient
from alpaca.data.live import NewsDataStream, StockDataStream
from alpaca.data.requests import NewsRequest, StockLatestTradeRequest, StockTradesRequest
from requests import RequestException
from websockets.legacy.client import WebSocketClientProtocol

from producers.base import Story, Trade
from producers.vendors.alpaca_fields import hear, moment, story, told_again
from producers.vendors.base import Ear, Eavesdropper, Feed, lost
from streams.errors import LineLost, Refused, SourceError, Throttled
from streams.settings import Settings

LOG = "alpaca.data.live.websocket"
ANSWER_S = 15.0  # the client itself waits for ever, and the clock of the source with it
KEY = "alpaca refuses TICKCAST_ALPACA_KEY and TICKCAST_ALPACA_SECRET, or TICKCAST_ALPACA_FEED needs a subscription"
# "Streaming Market Data", errors: what a person must mend, and what only takes time
REFUSING = {401: KEY, 402: KEY, 405: "alpaca's plan has fewer symbols; name fewer with --symbols", 409: KEY}
LATER = {406: "alpaca allows one connection, and another is open"}


Rest = TypeVar("Rest", bound=RESTClient)


def impatient(rest: Rest) -> Rest:
    """Return the client, which will wait for no answer longer than `ANSWER_S`: it has no option for that."""
    session = rest._session  # noqa: SLF001
    session.request = partial(session.request, timeout=ANSWER_S)
    return rest


class _Alpaca(Feed):
    """What trades and news have in common: one stream, whose log tells how it is."""

    def __init__(self, settings: Settings) -> None:
        self._symbols = settings.symbol_list
        self._keys = settings.alpaca_key.reveal(), settings.alpaca_secret.reveal()
        self._at = settings.alpaca_url
        self._protocol: WebSocketClientProtocol | None = None
        self._stream: Any = None
        self._why: Exception | None = None

    @abstractmethod
    def _made(self, options: dict[str, Any], ear: Ear) -> Any:
        """Return the stream, subscribed."""

    def listen(self, ear: Ear) -> None:
        """Run the client's stream until it tells of trouble."""
        self._why = None
        self._check()
        options = {
            "raw_data": True,
            "websocket_params": {"create_protocol": self._protocol_of, "max_queue": 1024, "close_timeout": 1},
        }
        self._stream = self._made(options, ear)
        with Eavesdropper(LOG, lambda line: self._said(line, ear)):
            self._stream.run()
        self._protocol = None
        raise self._why or LineLost("the stream has ended")

    def _protocol_of(self, **options: Any) -> WebSocketClientProtocol:
        self._protocol = WebSocketClientProtocol(**options)
        return self._protocol

    def _said(self, line: str, ear: Ear) -> None:
        coded = re.match(r"error: (.*) \((\d+)\)", line)
        if line.startswith("subscribed to"):
            ear.up()
        elif "Unpack failed" in line or "unpack" in line:
            ear.garbled(line)
        elif coded and int(coded[2]) in REFUSING:
            self._end(Refused(f"{REFUSING[int(coded[2])]} ({coded[1]})"))
        elif re.search("auth failed|insufficient subscription|not authenticated", line):
            self._end(Refused(f"{KEY} ({line.rpartition(': ')[2]})"))
        elif "connection limit exceeded" in line:
            self._end(Throttled(LATER[406], after_s=10.0))
        elif coded or "restarting connection" in line or "error during" in line:
            self._end(LineLost(line))

    def _end(self, why: Exception) -> None:
        self._why = self._why or why
        asyncio.ensure_future(self._closed(self._stream, self._protocol))  # noqa: RUF006 - it ends with the stream's loop

    @staticmethod
    async def _closed(stream: Any, protocol: WebSocketClientProtocol | None) -> None:
        """Stop the stream, and close its socket, which it may be waiting for."""
        await stream.stop_ws()
        if protocol is not None:
            await protocol.close()

    def hang_up(self) -> None:
        """Stop the stream from another thread."""
        stream, protocol = self._stream, self._protocol
        if protocol is not None and protocol.loop.is_running():
            asyncio.run_coroutine_threadsafe(self._closed(stream, protocol), protocol.loop)

    def _check(self) -> None:
        """Ask once, where a stream would not say what is wrong."""


class AlpacaTrades(_Alpaca):
    """The trades of US stocks, with what is taken back of them."""

    name = "alpaca"
    calendar = "XNYS"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.silence_s = settings.stale_s
        self._feed = DataFeed(settings.alpaca_feed)
        url = f"http://{self._at}" if self._at else None
        self._rest = impatient(StockHistoricalDataClient(*self._keys, raw_data=True, url_override=url))
        self._checked = False

    def _check(self) -> None:
        if not self._checked:
            with translated():
                self._rest.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=list(self._symbols), feed=self._feed))
            self._checked = True

    def _made(self, options: dict[str, Any], ear: Ear) -> Any:
        url = f"ws://{self._at}/v2/{self._feed.value}" if self._at else None
        stream = StockDataStream(*self._keys, feed=self._feed, url_override=url, **options)

        async def take(message: dict[str, Any]) -> None:
            hear(ear, message)

        stream.register_trade_corrections(take)
        stream.register_trade_cancels(take)
        stream.subscribe_trades(take, *self._symbols)
        return stream

    def past(self, since_us: int, until_us: int) -> Sequence[Trade | Story]:
        """Fetch the trades of all symbols, page by page as the client does."""
        span = {"start": moment(since_us), "end": moment(until_us)}
        asked = StockTradesRequest(symbol_or_symbols=list(self._symbols), feed=self._feed, **span)
        with translated():
            told = self._rest.get_stock_trades(asked)
            return [event for symbol, trades in told.items() for one in trades or () for event in told_again(symbol, one)]


class AlpacaNews(_Alpaca):
    """Headlines with their symbols."""

    name = "alpaca-news"
    trades = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        url = f"http://{self._at}" if self._at else None
        self._rest = impatient(NewsClient(*self._keys, raw_data=True, url_override=url))

    def _made(self, options: dict[str, Any], ear: Ear) -> Any:
        stream = NewsDataStream(*self._keys, url_override=f"ws://{self._at}/v1beta1/news" if self._at else None, **options)

        async def take(message: dict[str, Any]) -> None:
            try:
                ear.hear(story(message))
            except (KeyError, TypeError, ValueError) as error:
                ear.garbled(f"{message}: {error!r}")

        stream.subscribe_news(take, *self._symbols)
        return stream

    def past(self, since_us: int, until_us: int) -> Sequence[Trade | Story]:
        """Fetch the stories that were written between."""
        asked = NewsRequest(start=moment(since_us), end=moment(until_us), symbols=",".join(self._symbols))
        with translated():
            return [story(one) for one in self._rest.get_news(asked)["news"]]


@contextmanager
def translated() -> Iterator[None]:
    """Turn what REST answers into our errors."""
    try:
        yield
    except APIError as error:
        status = error.status_code
        if status in {401, 403}:
            raise Refused(f"{KEY} ({status})") from error
        if status in {400, 404, 422}:
            raise Refused(f"alpaca does not take this request: {str(error)[:200]}") from error
        raise (Throttled(f"alpaca answers {status}", 5.0) if status == 429 else lost(error)) from error
    except (RequestException, ValueError, KeyError, TypeError) as error:
        raise lost(error) from error


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return the feeds that were asked for."""
    if argument:
        raise SourceError("alpaca takes no argument: TICKCAST_ALPACA_FEED chooses iex or sip")
    if not (settings.alpaca_key and settings.alpaca_secret):
        raise SourceError("alpaca needs TICKCAST_ALPACA_KEY and TICKCAST_ALPACA_SECRET (or …_FILE), from alpaca.markets")
    return [*([AlpacaTrades(settings)] if ticks else []), *([AlpacaNews(settings)] if headlines else [])]
