"""The simulated market as a source: live, mapped onto the wall clock, and as a tape of past sessions to learn from.

What happens is `market.py`'s; here it only gets its times. The live market and the history never share a path.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from producers.base import Event, Pulse
from producers.market import SESSION_MIN, Market, minutes
from streams.clock import MINUTE_US, SECOND_US, minute_start_us, wall_ts_us

OPEN = timedelta(hours=13, minutes=30)  # New York's 9:30 in summer, UTC
PULSE_DELAY_US = 1_000  # behind the minute's boundary
MAX_BEHIND_US = 2 * SECOND_US  # a machine that slept, or a reader too slow: go on from now, as a live feed would
MAX_NAP_S = 1.0  # the wall clock may be set while we sleep


class Simulated:
    """A market that runs by itself. It can fail in nothing but its parameters.

    Trade k of a market is the same (symbol, price, size) in every run, whatever the clock and however often it is restarted;
    its event time is the wall time at which it was due. A second passes with at least one event, and each minute
    boundary is followed by a :class:`~producers.base.Pulse`, so that quiet minutes close on time.

    Parameters
    ----------
    market : Market
        What happens.
    clock : callable
        Returns the wall clock, microseconds UTC.
    sleep : callable
        Blocks for some seconds.

    Examples
    --------
    >>> events = Simulated(Market(seed=7, rate=100.0)).events(resume_after=41)
    >>> next(event for event in events if hasattr(event, "seq")).seq
    42
    """

    name = "simulated"
    live = True

    def __init__(
        self,
        market: Market | None = None,
        *,
        clock: Callable[[], int] = wall_ts_us,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.market = market or Market()
        self._clock = clock
        self._sleep = sleep

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events as they fall due, for ever, from the trade after `resume_after` on."""
        place = _Placement(self._clock)
        last_us = self._clock()
        for minute in minutes(self.market):
            if minute.last_seq < resume_after:
                continue
            for event in minute.events(place, resume_after):
                yield from self._pulses(max(last_us, self._clock() - MAX_BEHIND_US), event.event_ts_us)
                self._wait(event.event_ts_us)
                yield event
                last_us = event.event_ts_us

    def history(self, days: int, end_ts_us: int, ticks_per_minute: float = 4.0) -> Iterator[Event]:
        """Yield the last `days` whole sessions (13:30 to 20:00 UTC, weekdays) before `end_ts_us`, as fast as asked.

        The laws are this market's, the path is another. `ticks_per_minute` is for each symbol, on average.
        """
        opens = session_opens_us(days, end_ts_us)
        for minute in minutes(self.past(ticks_per_minute)):
            if minute.session == len(opens):
                return
            shift_us = opens[minute.session] + minute.session_minute * MINUTE_US - minute.start_us
            yield from minute.events(shift_us.__add__)

    def past(self, ticks_per_minute: float = 4.0) -> Market:
        """Return the market whose sessions :meth:`history` tells; :func:`producers.market.tones` has its hidden tones."""
        rate = ticks_per_minute * len(self.market.symbols) / 60
        return replace(self.market, path="history", rate=rate, session_min=SESSION_MIN)

    def _pulses(self, last_us: int, until_us: int) -> Iterator[Pulse]:
        while (last_us := next_pulse_us(last_us)) < until_us:
            self._wait(last_us)
            yield Pulse(last_us)

    def _wait(self, due_us: int) -> None:
        while (left_us := due_us - self._clock()) > 0:
            self._sleep(min(MAX_NAP_S, left_us / SECOND_US))


class _Placement:
    """Maps offsets onto the wall clock: the first is now, the others follow; rises as long as the clock does."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._shift_us: int | None = None

    def __call__(self, offset_us: int) -> int:
        now_us = self._clock()
        if self._shift_us is None or now_us - self._shift_us - offset_us > MAX_BEHIND_US:
            self._shift_us = now_us - offset_us
        return self._shift_us + offset_us


def next_pulse_us(last_us: int) -> int:
    """Return when the clock must next be heard if nothing comes after `last_us`."""
    boundary_us = minute_start_us(last_us - PULSE_DELAY_US) + MINUTE_US + PULSE_DELAY_US
    return min(last_us + SECOND_US, boundary_us)


def session_opens_us(days: int, end_ts_us: int) -> list[int]:
    """Return when the last `days` weekday sessions that closed by `end_ts_us` opened, oldest first."""
    latest_open = datetime.fromtimestamp(end_ts_us / SECOND_US, UTC) - timedelta(minutes=SESSION_MIN)
    day = (latest_open - OPEN).replace(hour=0, minute=0, second=0, microsecond=0)
    opens: list[int] = []
    while len(opens) < days:
        if day.weekday() < 5:
            opens.append(int((day + OPEN).timestamp()) * SECOND_US)
        day -= timedelta(days=1)
    return opens[::-1]
