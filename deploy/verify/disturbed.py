"""A tape as an unreliable feed would bring it: out of order, repeated, late; cut short; with something done on the way.

Deterministic under its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from producers.base import Event, SessionEnd, Source, Trade
from streams.clock import SECOND_US

LATEST_S = 570.0  # half a minute inside the default lateness bound of 10 minutes


@dataclass(frozen=True)
class Disturbance:
    """What happens to trades on their way.

    Attributes
    ----------
    shuffle_s : float
        Every trade is delayed by 0 to this many seconds, each by its own.
    duplicates, late : float
        Share of the trades that come twice, and share that come 1 to 9.5 minutes late.
    """

    shuffle_s: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    seed: int = 1


class Disturbed:
    """A tape with its trades disturbed; stories and session ends stay where they are.

    Parameters
    ----------
    tape : Source
        Not live.
    disturbance : Disturbance
        What to do to it.
    """

    live = False

    def __init__(self, tape: Source, disturbance: Disturbance) -> None:
        self._tape = tape
        self._disturbance = disturbance
        self.name = tape.name

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the tape's events, each session's in the order of their arrival."""
        chance = random.Random(self._disturbance.seed)  # noqa: S311 - reproducible, not secret
        arrivals: list[tuple[int, int, Event]] = []
        for event in self._tape.events(resume_after):
            arrivals += [(at, len(arrivals) + n, event) for n, at in enumerate(self._arrival_us(event, chance))]
            if isinstance(event, SessionEnd):
                yield from self._session(arrivals, event)
                arrivals = []
        yield from (event for _, _, event in sorted(arrivals, key=_place))

    @staticmethod
    def _session(arrivals: list[tuple[int, int, Event]], end: SessionEnd) -> Iterator[Event]:
        yield from (event for _, _, event in sorted(arrivals, key=_place) if event is not end)
        yield end

    def _arrival_us(self, event: Event, chance: random.Random) -> list[int]:
        if not isinstance(event, Trade):
            return [event.event_ts_us]
        wish = self._disturbance
        copies = 1 + (chance.random() < wish.duplicates)
        delays = [chance.uniform(0, wish.shuffle_s) for _ in range(copies)]
        if chance.random() < wish.late:
            delays[0] = chance.uniform(60, LATEST_S)
        return [event.event_ts_us + round(delay * SECOND_US) for delay in delays]


def _place(arrival: tuple[int, int, Event]) -> tuple[int, int]:
    return arrival[:2]


class Limited:
    """The first `n` trades of a tape and the stories up to there, for a quick look."""

    live = False

    def __init__(self, tape: Source, n: int) -> None:
        self.name = f"{tape.name}-{n}"
        self._tape = tape
        self._n = n

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events, and a session end where the tape is cut."""
        last_us = 0
        for left, event in _counted(self._tape.events(resume_after), self._n):
            if left < 0:
                break
            last_us = event.event_ts_us
            yield event
        yield SessionEnd(last_us)


def _counted(events: Iterator[Event], n: int) -> Iterator[tuple[int, Event]]:
    for event in events:
        n -= isinstance(event, Trade)
        yield n, event


class Interrupted:
    """A tape that does something to the engine before some of its events.

    Parameters
    ----------
    actions : dict[int, callable]
        By the number of the event.
    """

    live = False

    def __init__(self, tape: Source, actions: dict[int, Callable[[], None]]) -> None:
        self.name = tape.name
        self._tape = tape
        self._actions = actions

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the tape's events."""
        for number, event in enumerate(self._tape.events(resume_after)):
            if action := self._actions.get(number):
                action()
            yield event
