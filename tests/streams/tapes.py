"""Streams of ticks and sentiment for tests of the feature engine, with closings of their own making, and what they mean.

The clock of a tape is the time at which a trade arrives, so a trade may be late by any amount; a minute is closed when
the clock passes its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from streams import codec
from streams.messages import Message, Sentiment, Tick

MINUTE = 60_000_000
PARTITIONS = 2
TRADES = {"symbol": pl.String, "event_ts_us": pl.Int64, "seq": pl.Int64, "price": pl.Float64, "size": pl.Float64}
SCORES = {"symbol": pl.String, "event_ts_us": pl.Int64, "score": pl.Float64}
SESSIONS = {"symbol": pl.String, "start_us": pl.Int64, "end_us": pl.Int64}


@dataclass(frozen=True)
class Print:
    """One trade at `event_ts_us` that arrives at `event_ts_us + delay_us`."""

    event_ts_us: int
    price: float
    size: float
    seq: int
    delay_us: int = 0

    @property
    def arrival_us(self) -> int:
        return self.event_ts_us + self.delay_us

    @property
    def order(self) -> tuple[int, int]:
        return self.event_ts_us, self.seq


@dataclass(frozen=True)
class Tape:
    """One symbol's sessions (prints each, and when it ends) and scores (event time and score)."""

    symbol: str
    sessions: Sequence[tuple[Sequence[Print], int]]
    scores: Sequence[tuple[int, float]] = ()
    unheard: frozenset[int] = field(default_factory=frozenset)  # minutes with one headline closing missing, by number

    def ticks(self) -> list[Tick]:
        """Return the messages of `ticks` in the order of their arrival."""
        return [tick for prints, end_us in self.sessions for tick in self._session(prints, end_us)]

    def _session(self, prints: Sequence[Print], end_us: int) -> Iterator[Tick]:
        seen: list[Print] = []
        for trade in sorted(prints, key=lambda one: (one.arrival_us, one.seq)):
            yield from self._closings(seen, trade.arrival_us)
            seen.append(trade)
            late = trade.event_ts_us // MINUTE < trade.arrival_us // MINUTE
            yield self._tick(trade, trade.arrival_us, size=trade.size, late=late)
        yield from self._closings(seen, (end_us // MINUTE + 1) * MINUTE)

    def _closings(self, seen: list[Print], until_us: int) -> Iterator[Tick]:
        """Yield the closings from the newest arrival's minute up to the minute that ends at or before `until_us`."""
        if seen:
            last = max(seen, key=lambda one: one.order)
            for boundary in range((seen[-1].arrival_us // MINUTE + 1) * MINUTE, until_us // MINUTE * MINUTE + 1, MINUTE):
                yield self._tick(last, boundary, size=0, closes=True)

    def _tick(self, trade: Print, clock_ts_us: int, *, size: float, late: bool = False, closes: bool = False) -> Tick:
        return Tick(
            event_ts_us=trade.event_ts_us,
            clock_ts_us=clock_ts_us,
            symbol=self.symbol,
            price=trade.price,
            size=size,
            source="tape",
            seq=trade.seq,
            late=late,
            closes=closes,
        )

    def sentiment(self) -> list[Sentiment]:
        """Return the messages of `sentiment`: each score, and for each closed minute the closings of all partitions."""
        scores = [scored(self.symbol, at_us, score, f"h{number}") for number, (at_us, score) in enumerate(self.scores)]
        boundaries = sorted({tick.clock_ts_us for tick in self.ticks() if tick.closes})
        closings = [
            heard(self.symbol, boundary, partition)
            for number, boundary in enumerate(boundaries)
            for partition in range(PARTITIONS - (number in self.unheard))
        ]
        return scores + closings

    def final_minutes(self) -> set[tuple[str, int]]:
        """Return symbol and start of the minutes whose closings are all there."""
        closings = [message.clock_ts_us for message in self.sentiment() if message.closes]
        return {(self.symbol, clock - MINUTE) for clock in set(closings) if closings.count(clock) == PARTITIONS}


def scored(symbol: str, event_ts_us: int, score: float, headline_id: str) -> Sentiment:
    """Return the sentiment of a headline."""
    return Sentiment(
        event_ts_us=event_ts_us,
        clock_ts_us=event_ts_us,
        headline_id=headline_id,
        symbol=symbol,
        model_id="test",
        p_positive=max(score, 0.0),
        p_negative=max(-score, 0.0),
        p_neutral=1 - abs(score),
        score=score,
    )


def heard(symbol: str, boundary_us: int, partition: int, partitions: int = PARTITIONS) -> Sentiment:
    """Return the forwarded closing of one partition of `headlines`."""
    return Sentiment(
        event_ts_us=boundary_us - 1,
        clock_ts_us=boundary_us,
        headline_id=f"closing-{partition}-{boundary_us}",
        symbol=symbol,
        model_id="test",
        closes=True,
        partition=partition,
        partitions=partitions,
    )


def facts(tapes: Iterable[Tape]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return trades, scores and sessions as the truth wants them: what happened, not what was sent."""
    every = list(tapes)
    trades = [
        (tape.symbol, one.event_ts_us, one.seq, one.price, one.size)
        for tape in every
        for prints, _ in tape.sessions
        for one in prints
    ]
    scores = [(tape.symbol, at_us, score) for tape in every for at_us, score in tape.scores]
    spans = [(tape.symbol, min(one.event_ts_us for one in prints), end_us) for tape in every for prints, end_us in tape.sessions]
    return (
        pl.DataFrame(trades, schema=TRADES, orient="row"),
        pl.DataFrame(scores, schema=SCORES, orient="row"),
        pl.DataFrame(spans, schema=SESSIONS, orient="row"),
    )


def values(messages: Iterable[Message]) -> list[bytes]:
    """Return the messages as bytes."""
    return [codec.encode(message) for message in messages]
