"""Simulated markets to feature rows by the product's own way: closings, the sentiment model, and the one feature plan.

All markets go through Spark in one batch, told apart by what is appended to their symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import msgspec
import polars as pl

from consumers.sentiment import SentimentHandler, unchanging
from deploy import first_model
from models.sentiment.base import load
from producers.base import Event, SessionEnd, Story, Trade
from producers.closings import Closer
from producers.market import Market, minutes
from streams.bus import Outgoing
from streams.clock import MINUTE_US
from streams.settings import Settings

START_US = 1_735_689_600_000_000  # 2025-01-01 UTC; any minute would do
MARK = "@"


def events(market: Market, n_minutes: int) -> Iterator[Event]:
    """Yield the first `n_minutes` of `market`, from `START_US` on."""
    for minute in islice(minutes(market), n_minutes):
        yield from minute.events(START_US.__add__)
    yield SessionEnd(START_US + n_minutes * MINUTE_US - 1)


def rows(settings: Settings, markets: Mapping[str, Iterable[Event]]) -> dict[str, pl.DataFrame]:
    """Return the final feature rows of each market, by symbol and minute, as the lake would hold them.

    Parameters
    ----------
    markets : Mapping[str, Iterable[Event]]
        A short name for each, and what happens in it.
    """
    own = msgspec.structs.replace(settings, partitions=1)  # each partition of `headlines` has closings of its own
    records = [record for name, happened in markets.items() for record in _records(name, happened)]
    headlines = first_model.as_records((record for record in records if record.topic == "headlines"), own)
    sentiment = first_model.scored(SentimentHandler(unchanging(load(own))), headlines)
    ticks = [record for record in records if record.topic == "ticks"]
    found = first_model.batch_features(own, ticks, sentiment).sort("symbol", "minute_ts_us")
    return {name: _of(found, name) for name in markets}


def _records(name: str, happened: Iterable[Event]) -> Iterator[Outgoing]:
    closer = Closer(f"simulated-{name}", partitions=1)
    for event in happened:
        yield from closer.records(_marked(event, name))


def _marked(event: Event, name: str) -> Event:
    if isinstance(event, Trade):
        return replace(event, symbol=f"{event.symbol}{MARK}{name}")
    if isinstance(event, Story):
        return replace(event, symbols=tuple(f"{symbol}{MARK}{name}" for symbol in event.symbols))
    return event


def _of(found: pl.DataFrame, name: str) -> pl.DataFrame:
    own = found.filter(pl.col("symbol").str.ends_with(MARK + name))
    return own.with_columns(pl.col("symbol").str.strip_suffix(MARK + name))
