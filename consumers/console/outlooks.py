"""Outlooks on demand: fetched, scored and computed once for all who ask at the same time, and remembered for a while.

Whoever asks for a stock that is being computed waits for that computation (single flight). What the feed told is kept for
`FRESH_S`, so that an answer from it needs no feed; what fails is not kept, and nothing is kept in part.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from consumers.console.guard import Buckets
from models.outlook.outlook import Outlook, Outlooker
from streams.daily import Close, DailyFeed, Story
from streams.errors import LineLost, Throttled, TickcastError

FRESH_S = 900.0  # a day's close changes once a day, headlines by the minute
PAUSES_S = (0.5, 1.5)  # before the second and the third question to a feed that may be well again
AT_ONCE = 4  # stocks that are fetched side by side
KEPT = 64  # stocks that are remembered
PER_S, BURST = 0.5, 20.0  # questions to the feed: it belongs to others

T = TypeVar("T")


class Busy(TickcastError):
    """The feed was asked too often; ask again after `wait_s` seconds."""

    retriable = True

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many stocks were asked for; come again later")
        self.wait_s = wait_s


class Told(NamedTuple):
    """What a feed told of a stock, and when (seconds of the clock)."""

    at_s: float
    closes: list[Close]
    stories: list[Story]


class Newest(Generic[T]):
    """What was put in last, of each stock one, of at most :data:`KEPT` stocks."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, T] = OrderedDict()

    def get(self, symbol: str) -> T | None:
        """Return what is kept of `symbol`."""
        return self._kept.get(symbol)

    def put(self, symbol: str, value: T) -> None:
        """Keep `value`; forget what was put in longest ago."""
        self._kept.pop(symbol, None)
        self._kept[symbol] = value
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)


class Outlooks:
    """The outlooks of one feed.

    Parameters
    ----------
    feed : DailyFeed
        Where prices and headlines come from.
    load : Callable[[], Outlooker]
        Called once, at the first question or at :meth:`warm`: it loads networks.
    symbols : tuple[str, ...]
        Stocks to offer; others may be asked for too.
    clock, pause : callable
        Seconds, and waiting for some.
    today : Callable[[], date]
        The day on which somebody asks.
    """

    def __init__(  # noqa: PLR0913 - the clocks are for tests
        self,
        feed: DailyFeed,
        load: Callable[[], Outlooker],
        symbols: tuple[str, ...] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self.feed = feed
        self.symbols = symbols
        self._load = load
        self._outlooker: Outlooker | None = None
        self._clock, self._pause, self._today = clock, pause, today
        self._buckets = Buckets(PER_S, BURST)
        self._pool = ThreadPoolExecutor(AT_ONCE, "outlook")
        self._flights: dict[str, Future[Outlook]] = {}
        self._told: Newest[Told] = Newest()
        self._made: Newest[Outlook] = Newest()
        self._lock = Lock()  # of the tables above, held for moments
        self._thinking = Lock()  # of the models, which serve one thread at a time

    def newest(self, symbol: str) -> Outlook | None:
        """Return the outlook that was computed last, if one was."""
        with self._lock:
            return self._made.get(symbol)

    def start(self, symbol: str) -> Future[Outlook]:
        """Return the computation of `symbol`: the one that runs, else a new one.

        Its result may be a LineLost, a SourceError, a ModelError or an EnvironmentFault.

        Raises
        ------
        Busy
            It would ask the feed, which was asked too often.
        """
        with self._lock:
            flight = self._flights.get(symbol)
            if flight is None:
                self._admit(symbol)
                flight = self._flights[symbol] = self._pool.submit(self._fly, symbol)
            return flight

    def warm(self) -> Future[object]:
        """Begin to load the models, so that the first who asks need not wait for it."""
        return self._pool.submit(self._thinker)

    def close(self) -> None:
        """Begin no other computation; those that run end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _admit(self, symbol: str) -> None:
        if self._fresh(symbol) is None and (wait_s := self._buckets.take(self.feed.name, self._clock())):
            raise Busy(wait_s)

    def _fresh(self, symbol: str) -> Told | None:
        told = self._told.get(symbol)
        return told if told is not None and self._clock() - told.at_s <= FRESH_S else None

    def _fly(self, symbol: str) -> Outlook:
        try:
            return self._computed(symbol)
        finally:
            with self._lock:
                del self._flights[symbol]

    def _computed(self, symbol: str) -> Outlook:
        with self._lock:
            told = self._fresh(symbol)
        told = told or self._asked(symbol)
        outlooker = self._thinker()
        with self._thinking:
            made = outlooker.outlook(symbol, self.feed.name, told.closes, told.stories, self._today())
        with self._lock:
            self._told.put(symbol, told)
            self._made.put(symbol, made)
        return made

    def _thinker(self) -> Outlooker:
        with self._thinking:
            if self._outlooker is None:
                self._outlooker = self._load()
            return self._outlooker

    def _asked(self, symbol: str) -> Told:
        closes = self._patiently(lambda: self.feed.closes(symbol))
        return Told(self._clock(), closes, self._patiently(lambda: self.feed.stories(symbol)))

    def _patiently(self, ask: Callable[[], T]) -> T:
        for pause_s in PAUSES_S:
            try:
                return ask()
            except Throttled:  # it has just said that it wants to be left alone
                raise
            except LineLost:
                self._pause(pause_s)
        return ask()
