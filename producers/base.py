"""What a source of ticks and headlines is, and the events that it yields. To add one: one file beside this with a `Source`.

A source knows its vendor or file and nothing of Kafka, minutes or closings: `closings.py` derives those, `run.py` sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade at `event_ts_us`. `seq` orders trades of one source with equal times and identifies each.

    Attributes
    ----------
    conditions : str
        The sale conditions that its source reports, as words of `prints.py` separated by spaces.
    excluded : str
        Why bars leave it out, one word of `prints.py`; empty: they take it. `cancels SEQ` and `corrects SEQ` tell what became
        of an earlier trade of the same source and symbol.
    source : str
        Which line it came by, where a source has several; empty: the source's own name.
    ahead : bool
        Its time is beyond what its source's clock can be: it does not move the producer's clock, and the engine refuses it.
    """

    event_ts_us: int
    symbol: str
    price: float
    size: float
    seq: int
    conditions: str = ""
    excluded: str = ""
    source: str = ""
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """One headline at `event_ts_us`; `id` is the same whenever the same story is read again. `source` is as a trade's."""

    event_ts_us: int
    id: str
    symbols: tuple[str, ...]
    text: str
    url: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Nothing happened, but the source's clock has reached `event_ts_us`, so quiet minutes can be closed."""

    event_ts_us: int


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """No trade comes until the next session; minutes are closed up to the one that holds `event_ts_us`."""

    event_ts_us: int


@dataclass(frozen=True, slots=True)
class Report:
    """How a live source's lines are. `counts` go into the producer's status; a `detail` is an alert for the operator.

    `event_ts_us` is when it was told; it moves no clock.
    """

    event_ts_us: int
    counts: Mapping[str, int]
    detail: str = ""


Event = Trade | Story | Pulse | SessionEnd | Report


@dataclass(frozen=True, slots=True)
class Told:
    """One trade or story of a source that the topics have already, by the line that it came by."""

    source: str
    event_ts_us: int
    symbol: str = ""
    seq: int = -1
    id: str = ""
    text: str = ""


@runtime_checkable
class Remembering(Protocol):
    """A live source that wants to know, before it starts, what the topics have of it: its vendors repeat on demand."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The names by which its trades and stories are in the topics."""

    def remember(self, told: Iterable[Told]) -> None:
        """Take in what its predecessors have sent lately, so that it is not sent again and what is missing is asked for."""


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
