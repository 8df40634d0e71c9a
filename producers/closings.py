"""From a source's events to messages: when minutes end, and who is late.

Pure and deterministic: the clock is the greatest event time seen, so a tape gives the same messages at every speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from producers.base import Event, Report, SessionEnd, Story, Trade
from streams import codec
from streams.bus import Outgoing, outgoing
from streams.clock import MINUTE_US, minute_start_us
from streams.errors import BadMessage
from streams.messages import Headline, Tick
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class _Last:
    """The newest trade of a symbol by (event_ts_us, seq), which a closing repeats; minutes are closed from `first_us` on."""

    event_ts_us: int
    seq: int
    price: float
    first_us: int


class Closer:
    """Turns events into records for `ticks` and `headlines`, and adds the closings.

    A symbol is open from its first trade that the engine will take to the session's end. When the clock passes the end of a
    minute, one closing goes out for each open symbol, and one to every partition of `headlines`, behind all that belongs
    to the minute. A late trade of a minute before the symbol's first gets the closings that are missing from there on, with
    its own price. A trade that bars leave out (`Trade.excluded`) moves the clock and flows on; it opens nothing, and no
    closing repeats it; nor one of a time ahead of all clocks (`Trade.ahead`), which does not move the clock either.

    Parameters
    ----------
    source : str
        Name for the messages' `source`.
    partitions : int
        How many partitions `headlines` has.
    lateness_min : int
        How late a trade may be: the engine refuses what is later, so no closing may repeat it.
    """

    def __init__(self, source: str, partitions: int, lateness_min: int = Settings().lateness_min) -> None:
        self._source = source
        self._partitions = partitions
        self._lateness_us = lateness_min * MINUTE_US
        self._clock_ts_us = 0
        self._minute_us = 0
        self._open: dict[str, _Last] = {}
        self._open_symbols: frozenset[str] = frozenset()

    @property
    def clock_ts_us(self) -> int:
        """The producer's clock, microseconds UTC of event time."""
        return self._clock_ts_us

    @property
    def open_symbols(self) -> frozenset[str]:
        """The symbols whose minutes are being closed now."""
        return self._open_symbols

    def records(self, event: Event) -> Iterator[Outgoing]:
        """Yield what `event` causes, closings of the minutes that it ends first."""
        if not isinstance(event, SessionEnd | Report) and not getattr(event, "ahead", False):
            self._clock_ts_us = max(self._clock_ts_us, event.event_ts_us)
            yield from self._close_until(minute_start_us(self._clock_ts_us))
        if isinstance(event, Trade):
            yield from self._trade(event)
        elif isinstance(event, Story):
            yield self._story(event)
        elif isinstance(event, SessionEnd):
            yield from self._close_until(minute_start_us(event.event_ts_us) + MINUTE_US)
            self._open.clear()
            self._open_symbols = frozenset()

    def _story(self, event: Story) -> Outgoing:
        headline = Headline(
            event_ts_us=event.event_ts_us,
            clock_ts_us=self._clock_ts_us,
            id=event.id,
            symbols=list(event.symbols),
            text=event.text,
            source=event.source or self._source,
            url=event.url,
        )
        return outgoing("headlines", event.id, headline)

    def _trade(self, event: Trade) -> Iterator[Outgoing]:
        tick = Tick(
            event_ts_us=event.event_ts_us,
            clock_ts_us=self._clock_ts_us,
            symbol=event.symbol,
            price=event.price,
            size=event.size,
            source=event.source or self._source,
            seq=event.seq,
            late=minute_start_us(event.event_ts_us) < self._minute_us,
            excluded=event.excluded,
        )
        record = outgoing("ticks", event.symbol, tick)
        yield record
        unfit = event.excluded or event.ahead or self._clock_ts_us - event.event_ts_us > self._lateness_us
        if not unfit and _keeps_contract(record):
            yield from self._remember(event)

    def _remember(self, trade: Trade) -> Iterator[Outgoing]:
        minute_us = minute_start_us(trade.event_ts_us)
        last = self._open.get(trade.symbol)
        if last is None:
            self._open_symbols |= {trade.symbol}
        closed_us = self._minute_us if last is None else last.first_us
        own = _Last(trade.event_ts_us, trade.seq, trade.price, min(minute_us, closed_us))
        for boundary_us in range(minute_us + MINUTE_US, closed_us + 1, MINUTE_US):
            yield from self._closings(boundary_us, {trade.symbol: own})
        if last is not None and (own.event_ts_us, own.seq) <= (last.event_ts_us, last.seq):
            own = replace(last, first_us=own.first_us)
        self._open[trade.symbol] = own

    def _close_until(self, minute_us: int) -> Iterator[Outgoing]:
        """Yield the closings of all minutes before `minute_us` that are still open."""
        while self._open and self._minute_us < minute_us:
            self._minute_us += MINUTE_US
            yield from self._closings(self._minute_us, self._open)
        self._minute_us = max(self._minute_us, minute_us)

    def _closings(self, boundary_us: int, lasts: Mapping[str, _Last]) -> Iterator[Outgoing]:
        symbols = sorted(lasts)
        for symbol in symbols:
            last = lasts[symbol]
            closing = Tick(
                event_ts_us=last.event_ts_us,
                clock_ts_us=boundary_us,
                symbol=symbol,
                price=last.price,
                size=0,
                source=self._source,
                seq=last.seq,
                closes=True,
            )
            yield outgoing("ticks", symbol, closing)
        for partition in range(self._partitions):
            yield self._headline_closing(boundary_us, partition, symbols)

    def _headline_closing(self, boundary_us: int, partition: int, symbols: list[str]) -> Outgoing:
        closing = Headline(
            event_ts_us=boundary_us - 1,
            clock_ts_us=boundary_us,
            id=f"closing-{self._source}-{boundary_us}-{partition}",
            symbols=symbols,
            text="",
            source=self._source,
            closes=True,
            partitions=self._partitions,
        )
        return outgoing("headlines", closing.id, closing)._replace(partition=partition)


def _keeps_contract(record: Outgoing) -> bool:
    """Return whether the engine will take this tick: what it refuses travels to it, but no closing may repeat it."""
    try:
        codec.decode(Tick, record.value)
    except BadMessage:
        return False
    return True
