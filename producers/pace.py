"""How fast a tape runs: by its own clock, times a speed, but never faster than the pipeline makes rows final."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from streams import bus, codec
from streams.clock import MINUTE_US, SECOND_US, minute_start_us
from streams.errors import BadMessage
from streams.messages import Features
from streams.settings import Settings

PATIENCE_MS = 20  # that rows wait for company before the tape hears of them
MAX_AHEAD_US = 10 * MINUTE_US
FLEETING = 240.0  # speed: a minute is over in a quarter of a second, before anybody reads of it
HOLE_S = 120.0  # longer than the engine needs to come back from a kill
MAX_NAP_S = 0.5  # how long a stop may have to wait


class Pace(Protocol):
    """Called before each event is sent; blocks until it may be."""

    def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
        """Block until an event at `clock_ts_us` may go out; return whether its minute passes too fast to be looked at."""


class Unpaced:
    """A live source paces itself."""

    def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
        """Return False, at once."""
        return False


@dataclass(frozen=True)
class Course:
    """How a tape is to run.

    Attributes
    ----------
    speed : float
        Seconds of the tape in a second, above 0; infinite: as fast as it can.
    until_us : int
        What the tape's clock has to reach first, at once and even while it is held: the place that was sought.
    """

    speed: float
    paused: bool = False
    until_us: int = 0

    def rushes(self, clock_ts_us: int) -> bool:
        """Return whether an event at `clock_ts_us` waits for no clock."""
        return clock_ts_us < self.until_us or (self.speed == inf and not self.paused)

    def is_fleeting(self, clock_ts_us: int) -> bool:
        """Return whether the minute of an event at `clock_ts_us` passes too fast to be looked at."""
        # what is not final yet at the place that was sought is looked at there
        sought = clock_ts_us < self.until_us - MAX_AHEAD_US
        return sought or (self.speed >= FLEETING and not self.paused)

    def nap_s(self, place_us: float, clock_ts_us: int) -> float:
        """Return for how long an event at `clock_ts_us` has to wait where the tape is at `place_us`; 0: it may go."""
        if self.rushes(clock_ts_us):
            return 0.0
        left_us = clock_ts_us - place_us
        if self.paused:
            return MAX_NAP_S
        return left_us / SECOND_US / self.speed if left_us >= 1 else 0.0  # less than that is rounding


class AtSpeed:
    """The tape's clock times a speed; time in which no symbol is open is skipped, not waited for.

    Parameters
    ----------
    course : Course or callable
        How the tape is to run, or what says so anew in every nap before the event at a clock, microseconds UTC.
    stopped : callable
        Ends a wait early once it returns true.
    """

    def __init__(
        self,
        course: Course | Callable[[int], Course],
        stopped: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._course = (lambda _clock_ts_us: course) if isinstance(course, Course) else course
        self._stopped = stopped
        self._sleep = sleep
        self._now = now
        self._looked_s = 0.0
        self._speed: float | None = None  # at the last look
        self._place_us: float | None = None  # where the tape would be, had nothing but its course held it up

    def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
        """Sleep until the tape's clock, sped up, reaches `clock_ts_us`, and while it is held."""
        if self._place_us is None or not open_symbols:
            self._place_us, self._looked_s = clock_ts_us, self._now()
        while (nap_s := self._look(self._place_us, clock_ts_us)) > 0 and not self._stopped():
            self._sleep(min(nap_s, MAX_NAP_S))
        return self._course(clock_ts_us).is_fleeting(clock_ts_us)

    def _look(self, place_us: float, clock_ts_us: int) -> float:
        """Move the tape's place by the time since the last look; return how long the event has to wait from there."""
        course, now_s = self._course(clock_ts_us), self._now()
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        if course.speed != self._speed:  # what was missed at another speed is not made up for at this one
            self._speed, place_us = course.speed, min(place_us, clock_ts_us)
        if course.rushes(clock_ts_us):
            place_us = max(place_us, clock_ts_us)
        elif not course.paused:
            place_us += passed_s * course.speed * SECOND_US
        self._place_us = place_us
        return course.nap_s(place_us, clock_ts_us)


class Slowest:
    """As slow as the slowest of `paces`."""

    def __init__(self, *paces: Pace) -> None:
        self._paces = paces

    def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
        """Block until the event may go out by every pace; by all of them its minute is too fast, or it is not."""
        return all([pace.wait(clock_ts_us, open_symbols) for pace in self._paces])


class BehindFinals:
    """As fast as possible, but at most `MAX_AHEAD_US` ahead of the oldest minute of any open symbol that is not final.

    It follows `features` on a thread of its own. So neither lateness nor memory of any stage depends on the speed. A minute that
    does not become final for `HOLE_S` while later ones are is not waited for any more.

    Parameters
    ----------
    stopped : callable
        Ends a wait early, and the thread, once it returns true.
    """

    def __init__(self, settings: Settings, stopped: Callable[[], bool] = lambda: False) -> None:
        self._finals: defaultdict[str, set[int]] = defaultdict(set)
        self._next_us: dict[str, int] = {}  # of each open symbol the oldest minute that is not final
        self._passed: tuple[int, frozenset[str]] = (-1, frozenset())
        self._stopped = stopped
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._follow, args=(settings,), daemon=True, name="finals").start()

    def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
        """Block while `clock_ts_us` is too far ahead of the final rows."""
        minute_us = minute_start_us(clock_ts_us)
        if self._passed == (minute_us, open_symbols):
            return True
        with self._changed:
            self._open(minute_us, open_symbols)
            while not self._changed.wait_for(lambda: self._may_go(minute_us), HOLE_S):
                self._pass_over_holes()
        if self._failure is not None:
            raise self._failure
        self._passed = (minute_us, open_symbols)
        return True

    def _open(self, minute_us: int, symbols: frozenset[str]) -> None:
        self._next_us = {symbol: self._next_us.get(symbol, minute_us) for symbol in symbols}
        for symbol, finals in self._finals.items():
            oldest = self._next_us.get(symbol, minute_us - MAX_AHEAD_US)
            self._finals[symbol] = {minute for minute in finals if minute >= oldest}
            self._advance(symbol)

    def _advance(self, symbol: str) -> None:
        if (at := self._next_us.get(symbol)) is None:
            return
        finals = self._finals[symbol]
        while at in finals:
            finals.remove(at)
            at += MINUTE_US
        self._next_us[symbol] = at

    def _pass_over_holes(self) -> None:
        for symbol, at in self._next_us.items():
            self._next_us[symbol] = min((minute for minute in self._finals[symbol] if minute > at), default=at)
        for symbol in self._next_us:
            self._advance(symbol)

    def _may_go(self, minute_us: int) -> bool:
        ended = self._failure is not None or self._stopped()
        slowest_us = min(self._next_us.values(), default=minute_us)
        return ended or minute_us - slowest_us <= MAX_AHEAD_US

    def _follow(self, settings: Settings) -> None:
        try:
            for records in bus.follow(settings, "features", stop=self._stopped, patience_ms=PATIENCE_MS):
                self._take(records)
        except Exception as error:  # a thread's end: raised again where somebody waits
            self._failure = error
        finally:
            with self._changed:
                self._changed.notify_all()

    def _take(self, records: list[bus.Record]) -> None:
        finals = [row for record in records if b'"final":true' in (record.value or b"") and (row := _row(record))]
        with self._changed:
            for row in finals:
                self._finals[row.symbol].add(row.minute_ts_us)
                self._advance(row.symbol)
            self._changed.notify_all()  # also after nothing came: a waiter may have been told to stop


def _row(record: bus.Record) -> Features | None:
    try:
        return codec.decode(Features, record.value)
    except BadMessage:
        return None  # the forecaster dead-letters it


def course_of(speed: str) -> Course:
    """Return what the words of `--speed` mean: a number above 0, or max.

    Raises
    ------
    ValueError
        They are neither.
    """
    if speed == "max":
        return Course(inf)
    if not 0 < float(speed) < inf:
        raise ValueError(f"a speed is a number above 0, or max, not {speed[:40]!r}")
    return Course(float(speed))


def pace_of(live: bool, course: Callable[[int], Course], settings: Settings, stopped: Callable[[], bool]) -> Pace:
    """Return the pace for a source that runs as `course` says; `stopped` ends its waits."""
    return Unpaced() if live else Slowest(AtSpeed(course, stopped), BehindFinals(settings, stopped))
