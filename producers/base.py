"""What a source of ticks and headlines is, and the events that it yields. To add one: one file beside this with a `Source`.

A source knows its vendor or file and nothing of Kafka, minutes or closings: `closings.py` derives those, `run.py` sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade at `event_ts_us`. `seq` orders trades of one source with equal times and identifies each.

    Attributes
    ----------
    conditions : str
        The sale conditions that its source reports, as words of `prints.py` separated by spaces.
    excluded : str
        Why bars leave it out, one word of `prints.py`; empty: they take it.
    """

    event_ts_us: int
    symbol: str
    price: float
    size: float
    seq: int
    conditions: str = ""
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """One headline at `event_ts_us`; `id` is the same whenever the same story is read again."""

    event_ts_us: int
    id: str
    symbols: tuple[str, ...]
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Nothing happened, but the source's clock has reached `event_ts_us`, so quiet minutes can be closed."""

    event_ts_us: int


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """No trade comes until the next session; minutes are closed up to the one that holds `event_ts_us`."""

    event_ts_us: int


Event = Trade | Story | Pulse | SessionEnd


class Source(Protocol):
    """Where events come from.

    `events` is called once, on a thread of its own, and may block. Where `live` is true the source paces itself by the
    wall clock and its events' times are near the wall clock; where it is false it is a tape: it yields as fast as it is
    asked, in event-time order, and the runner paces it. `resume_after` is the highest `seq` already in the topic (-1:
    none): a restarted source yields no trade at or below it.
    It raises `streams.errors.SourceError` when it cannot be opened or read.
    """

    @property
    def name(self) -> str:
        """What the source is called in its messages' `source`."""

    @property
    def live(self) -> bool:
        """Whether the source paces itself by the wall clock."""

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events; the iterator ends where the source does."""
