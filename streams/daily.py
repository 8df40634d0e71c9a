"""What the monthly outlook asks of the world: daily closes and headlines of one stock. An interface: `deploy` says who answers.

Implementations are producers' (`producers/daily_files.py`, `producers/daily_yahoo.py`); the console is given one.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, Protocol


class Close(NamedTuple):
    """A day's last price, adjusted for splits and dividends."""

    day: date
    price: float


class Story(NamedTuple):
    """A headline of one stock."""

    event_ts_us: int
    title: str
    url: str = ""


class DailyFeed(Protocol):
    """A feed; called from several threads at once, may block for as long as its own time-outs allow.

    Both methods raise :class:`streams.errors.LineLost` where the feed may answer in a moment, its `Throttled` where it wants to
    be left alone, :class:`streams.errors.SourceError` where what it says is damaged or refused, and `UnknownSymbol` where it has
    never heard of the symbol. They return all or raise: never a part.
    """

    name: str
    """What people call it."""

    def closes(self, symbol: str) -> list[Close]:
        """Return the closes of at least the last half year, by day, each day once, all above 0."""

    def stories(self, symbol: str) -> list[Story]:
        """Return the headlines that the feed has of the same time, by time; may be none."""
