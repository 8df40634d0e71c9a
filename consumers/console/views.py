"""Everything the page shows, in memory: records in, :class:`Page` out. Knows nothing of Kafka, threads or HTTP.

The parts are `market.py`, `news.py` and `health.py`. All of them are bounded; what breaks the contract is counted and
skipped, for the stage that should have used it writes the dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from consumers.console.flowing import Flow
from consumers.console.health import HealthRow, HealthView, Mode
from consumers.console.kept import Kept
from consumers.console.market import Bar, MarketView, SymbolRow
from consumers.console.news import HeadlineRow, NewsView
from consumers.console.orders import OrderRow, OrdersView
from streams import codec
from streams.bus import Record
from streams.clock import SECOND_US
from streams.errors import BadMessage
from streams.messages import Control, DeadLetter, Event, Features, Forecast, Headline, ModelAnnouncement, Score, Sentiment

TOPICS = ("features", "forecasts", "scores", "sentiment", "headlines", "events", "dead_letters", "models", "control")
MAX_SYMBOLS_PER_UPDATE = 200


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a browser gets: everything in a snapshot, what changed in an update.

    `clock_ts_us` is the event time of the stream, `now_us` the server's wall clock. `health` and `flow` are None where they
    are not due.
    """

    now_us: int
    caught_up: bool
    clock_ts_us: int = 0
    mode: Mode = ""
    source: str = ""
    symbols: list[SymbolRow] = []
    headlines: list[HeadlineRow] = []
    health: HealthRow | None = None
    flow: Flow | None = None
    orders: list[OrderRow] = []


class Views:
    """The state of the page. Not safe for threads: whoever owns it locks."""

    def __init__(self) -> None:
        self.caught_up = False
        self.malformed = 0
        self.market = MarketView()
        self.news = NewsView()
        self.kept = Kept()
        self.orders = OrdersView()
        self._health = HealthView()
        self._clock_ts_us = 0
        self._clock_at_ms = 0
        self._health_at_us = 0
        self._take: dict[str, Callable[[Record], None]] = {
            "features": self._features,
            "forecasts": self._forecast,
            "scores": self._score,
            "sentiment": lambda record: self.news.add_sentiment(codec.decode(Sentiment, record.value)),
            "headlines": lambda record: self.news.add_headline(codec.decode(Headline, record.value)),
            "events": self._event,
            "dead_letters": self._letter,
            "models": lambda record: self.kept.add_announcement(codec.decode(ModelAnnouncement, record.value)),
            "control": lambda record: self.orders.add(codec.decode(Control, record.value)),
        }

    def apply(self, records: Sequence[Record]) -> None:
        """Take records of :data:`TOPICS`, in the order in which they came."""
        for record in records:
            try:
                self._take[record.topic](record)
            except BadMessage:
                self.malformed += 1

    def _features(self, record: Record) -> None:
        row = codec.decode(Features, record.value)
        if record.timestamp_ms >= self._clock_at_ms:
            self._clock_at_ms, self._clock_ts_us = record.timestamp_ms, row.last_event_ts_us
        self._health.tick_to_feature.add(record)
        self._health.tick_rate.add(row, record.timestamp_ms * 1_000)
        self.kept.add_features(row)
        if view := self.market.touch(row.symbol):
            view.add_features(row)

    def _forecast(self, record: Record) -> None:
        forecast = codec.decode(Forecast, record.value)
        self._health.tick_to_forecast.add(record)
        if not forecast.provisional:
            self.kept.forecasts.put(forecast)
        if view := self.market.touch(forecast.symbol):
            view.add_forecast(forecast)

    def _score(self, record: Record) -> None:
        score = codec.decode(Score, record.value)
        self.kept.scores.put(score)
        if view := self.market.touch(score.symbol):
            view.add_score(score)

    def _event(self, record: Record) -> None:
        event = codec.decode(Event, record.value)
        self._health.add_event(event)
        self.kept.add_event(event)

    def _letter(self, record: Record) -> None:
        letter = codec.decode(DeadLetter, record.value)
        self._health.add_letter(letter, record.offset)
        self.kept.add_letter(letter, record.offset)

    @property
    def origin(self) -> tuple[Mode, str]:
        """What kind of source feeds the pipeline, and its name."""
        return self._health.mode, self._health.source

    def bars(self, symbol: str) -> list[Bar] | None:
        """Return the bars of `symbol`, oldest first, or None where it is unknown."""
        return self.market.bars(symbol)

    def health(self, now_us: int) -> HealthRow:
        """Return how the machinery is at `now_us`, wall clock."""
        return self._health.snapshot(now_us, self.malformed, self.market.left_out)

    def snapshot(self, now_us: int) -> Page:
        """Return everything but the bars."""
        page = self._page(now_us, self.market.snapshot(), self.news.snapshot(), self.health(now_us))
        return msgspec.structs.replace(page, orders=self.orders.snapshot())

    def changes(self, now_us: int) -> Page | None:
        """Return what changed since the last call, health once a second; None where there is nothing to say."""
        due = now_us - self._health_at_us >= SECOND_US
        if due:
            self._health_at_us = now_us
        symbols, headlines = self.market.changes(MAX_SYMBOLS_PER_UPDATE), self.news.changes()
        orders = self.orders.changes()
        if not (due or symbols or headlines or orders):
            return None
        page = self._page(now_us, symbols, headlines, self.health(now_us) if due else None)
        return msgspec.structs.replace(page, orders=orders)

    def _page(self, now_us: int, symbols: list[SymbolRow], headlines: list[HeadlineRow], health: HealthRow | None) -> Page:
        return Page(
            now_us=now_us,
            caught_up=self.caught_up,
            clock_ts_us=self._clock_ts_us,
            mode=self._health.mode,
            source=self._health.source,
            symbols=symbols,
            headlines=headlines,
            health=health,
        )
