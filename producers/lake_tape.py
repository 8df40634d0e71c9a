"""The lake as a tape: its ticks and headlines again, one day in memory at a time.

Closings are made anew, repeats are left out, and headlines are scored again. Bars are no ticks: what files of OHLCV brought is
not replayed.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from producers.base import Event, SessionEnd, Story, Trade
from producers.replay import SESSION_GAP_US, Span
from streams import lake
from streams.clock import SECOND_US
from streams.errors import SourceError

ALL = Span(0, 0)
DAY_US = 86_400 * SECOND_US
TRADE = ("event_ts_us", "clock_ts_us", "symbol", "price", "size", "excluded")
STORY = ("event_ts_us", "clock_ts_us", "id", "symbols", "text", "url")


class LakeTape:
    """The ticks and headlines of a lake, or of some days of it.

    Parameters
    ----------
    root : Path
        The lake's folder, which holds ticks/date=….
    span_us : Span
        Days outside of it are not read; 0 and 0: all.

    Raises
    ------
    SourceError
        The lake has no ticks.
    """

    live = False

    def __init__(self, root: Path, span_us: Span = ALL) -> None:
        self._root = root
        self._wanted_us = span_us
        days = self._days("ticks")
        if not days:
            raise SourceError(f"the lake {root} has no ticks{' of that time' if span_us != ALL else ''}; `tickcast lake list`")
        files = [str(path.relative_to(root)) for day in days for path in self._files("ticks", day)]
        self.name = f"replay:lake-{days[0]}-{hashlib.sha256(' '.join(files).encode()).hexdigest()[:8]}"
        self.span_us = Span(_start_us(days[0]), _start_us(days[-1]) + DAY_US)

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield trades, stories and session ends by the time at which they had come."""
        merged = heapq.merge(self._trades(resume_after), self._stories(), key=lambda pair: pair[0])
        return (event for _, event in merged)

    def _trades(self, resume_after: int) -> Iterator[tuple[int, Event]]:
        clock, seq = 0, -1
        for day in self._days("ticks"):
            for event_ts_us, clock_us, symbol, price, size, excluded in self._ticks(day).iter_rows():
                if clock and clock_us - clock > SESSION_GAP_US:
                    yield clock, SessionEnd(clock)
                clock, seq = max(clock, clock_us), seq + 1
                if seq > resume_after:
                    yield clock, Trade(event_ts_us, symbol, price, size, seq, excluded=excluded)
        if clock:
            yield clock, SessionEnd(clock)

    def _stories(self) -> Iterator[tuple[int, Event]]:
        clock = 0
        for day in self._days("headlines"):
            rows = lake.load("headlines", self._files("headlines", day)).filter(~pl.col("closes"))
            for event_ts_us, clock_us, name, symbols, text, url in rows.sort("clock_ts_us", "id").select(STORY).iter_rows():
                clock = max(clock, clock_us)
                yield clock, Story(event_ts_us, name, tuple(symbols), text, url)

    def _ticks(self, day: str) -> pl.DataFrame:
        rows = lake.load("ticks", self._files("ticks", day)).filter(~pl.col("closes"))
        order = ("clock_ts_us", "event_ts_us", "source", "seq", "symbol")
        return rows.sort(order).unique(("source", "seq", "symbol"), keep="first", maintain_order=True).select(TRADE)

    def _days(self, topic: str) -> list[str]:
        days = sorted(path.name.partition("=")[2] for path in (self._root / topic).glob("date=*"))
        return [day for day in days if self._wanted_us == ALL or self._touches(day)]

    def _touches(self, day: str) -> bool:
        return _start_us(day) < self._wanted_us.last_us and _start_us(day) + DAY_US > self._wanted_us.first_us

    def _files(self, topic: str, day: str) -> list[Path]:
        return sorted((self._root / topic / f"date={day}").rglob("*.parquet"))


def _start_us(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)) // timedelta(microseconds=1)
