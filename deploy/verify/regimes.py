"""A simulated market that changes: what good news did to prices bad news does afterwards, and everything moves more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl

from deploy.verify.markets import START_US
from producers.base import Event, Story, Trade
from producers.market import Market, minutes
from streams.clock import MINUTE_US
from streams.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Change:
    """A market of `total_min` minutes that changes after `turn_min`.

    Parameters
    ----------
    trades_per_min : float
        Of each symbol.
    news_effect : float
        What a headline moves the price in all, in units of a minute's volatility: before the change; as much the other way after.
    wilder : float
        What log returns are multiplied by after the change.
    """

    turn_min: int
    total_min: int
    trades_per_min: float = 5.0
    news_effect: float = 6.0
    wilder: float = 3.0
    seed: int = 1
    symbols: tuple[str, ...] = Settings().symbol_list

    @property
    def turn_us(self) -> int:
        """When it changes."""
        return START_US + self.turn_min * MINUTE_US

    def events(self) -> Iterator[Event]:
        """Yield trades and stories, in order of time; prices go on where they were when the market changes."""
        last: dict[str, float] = {}
        for event in self._of(self.news_effect, 0, self.turn_min):
            if isinstance(event, Trade):
                last[event.symbol] = event.price
            yield event
        yield from self._after(last)

    def _after(self, last: dict[str, float]) -> Iterator[Event]:
        first: dict[str, float] = {}
        for event in self._of(-self.news_effect, self.turn_min, self.total_min):
            if not isinstance(event, Trade):
                yield event
                continue
            began = first.setdefault(event.symbol, event.price)
            price = last.get(event.symbol, began) * math.pow(event.price / began, self.wilder)
            yield replace(event, price=round(price, 2))

    def _of(self, news_effect: float, begin_min: int, end_min: int) -> Iterator[Event]:
        rate = self.trades_per_min * len(self.symbols) / 60
        market = Market(symbols=self.symbols, seed=self.seed, rate=rate, news_effect=news_effect)
        for minute in islice(minutes(market), begin_min, end_min):
            yield from minute.events(START_US.__add__)


def write_tape(happened: Iterable[Event], folder: Path) -> None:
    """Write `happened` as a tape, as `producers.replay` reads it."""
    trades: list[tuple[int, str, float, float]] = []
    stories: list[tuple[int, str, str]] = []
    for event in happened:
        if isinstance(event, Trade):
            trades.append((event.event_ts_us, event.symbol, event.price, event.size))
        elif isinstance(event, Story):
            stories.append((event.event_ts_us, ";".join(event.symbols), event.text))
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(trades, ["event_ts_us", "symbol", "price", "size"], orient="row").write_parquet(folder / "ticks.parquet")
    pl.DataFrame(stories, ["event_ts_us", "symbols", "text"], orient="row").write_parquet(folder / "headlines.parquet")
