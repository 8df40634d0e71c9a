"""One line to a vendor on threads of its own: built again whenever it breaks, later each time, and silent ones torn down.

What it hears goes into one queue with the time at which it came; `live.py` decides what that means.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_exponential_jitter

from producers.base import Story, Trade
from producers.vendors.base import Feed
from streams.clock import wall_ts_us
from streams.errors import LineLost, Refused, SourceError, Throttled

log = logging.getLogger(__name__)

STEADY_S = 10.0  # a line that lived so long was a good one: the next attempt is the first again
REFUSED_AGAIN_S = 60.0  # a key that was good may be good again, once somebody has paid
END_S = 5.0  # for a thread to end in

Kind = Literal["up", "down", "heard", "garbled", "refused", "failed", "past", "no past"]


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a line says.

    Attributes
    ----------
    came_us : int
        The wall clock when it came.
    events : sequence
        What was heard, or found in the past.
    error : Exception or None
        Why the line is down, was refused, or has no past to tell.
    span_us : tuple[int, int]
        Which past was asked for.
    """

    line: Line
    kind: Kind
    came_us: int
    events: Sequence[Trade | Story] = ()
    error: Exception | None = None
    span_us: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long a line waits to be built again: `first_s`, doubled each time up to `longest_s`, and up to `first_s` by chance."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def jittered(self) -> wait_exponential_jitter:
        """Return it for tenacity."""
        return wait_exponential_jitter(multiplier=self.first_s, max=self.longest_s, jitter=self.first_s)


class Line:
    """Keeps one feed listening. It is the feed's :class:`~producers.vendors.base.Ear`.

    Parameters
    ----------
    feed : Feed
        What listens.
    said : queue.SimpleQueue
        Where what is heard goes.
    back_off : BackOff
        How it waits between attempts.
    """

    def __init__(
        self,
        feed: Feed,
        said: queue.SimpleQueue[Said],
        back_off: BackOff | None = None,
        clock: Callable[[], int] = wall_ts_us,
    ) -> None:
        self.feed = feed
        self._said = said
        self._clock = clock
        self._jittered = (back_off or BackOff()).jittered()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"line-{feed.name}")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix=f"past-{feed.name}")
        self._up_s = 0.0
        self._was_up = False

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up for good."""
        self._stop.set()
        self._asking.shutdown(wait=False, cancel_futures=True)
        deadline_s = time.monotonic() + END_S
        while self._thread.is_alive() and time.monotonic() < deadline_s:
            self.hang_up()  # again, where it was just about to listen
            self._thread.join(timeout=0.2)

    def hang_up(self) -> None:
        """End this conversation; the next begins by itself."""
        try:
            self.feed.hang_up()
        except Exception as error:  # whatever a vendor's client makes of being closed: the line is given up anyway
            log.debug("%s could not be closed: %s", self.feed.name, error)

    def ask(self, since_us: int, until_us: int) -> None:
        """Ask for the past; the answer comes as `past`, or `no past`."""
        self._asking.submit(self._ask, since_us, until_us)

    def up(self) -> None:
        """Say that the subscription is taken."""
        self._up_s = time.monotonic()
        self._was_up = True
        self._say("up")

    def hear(self, *events: Trade | Story) -> None:
        """Say what came."""
        self._say("heard", events=events)

    def garbled(self, what: object) -> None:
        """Say that something came that cannot be read."""
        self._say("garbled", error=ValueError(str(what)[:200]))

    def _say(
        self,
        kind: Kind,
        events: Sequence[Trade | Story] = (),
        error: Exception | None = None,
        span_us: tuple[int, int] = (0, 0),
    ) -> None:
        self._said.put(Said(self, kind, self._clock(), events, error, span_us))

    def _run(self) -> None:
        retrying = Retrying(
            wait=self._wait_s,
            retry=retry_if_exception_type((LineLost, Refused)),
            sleep=sleep_using_event(self._stop),
            stop=stop_when_event_set(self._stop),
            reraise=True,
        )
        try:
            retrying(self._listen)
        except Exception as error:  # the thread's end: raised again where the events are taken
            if not self._stop.is_set():
                self._say("failed", error=error)

    def _listen(self) -> None:
        self._up_s = 0.0
        try:
            self.feed.listen(self)
        except LineLost as error:
            self._end("down", error)
        except Refused as error:
            if not self._was_up:
                raise SourceError(str(error)) from error
            self._end("refused", error)
        else:
            self._end("down", LineLost("the vendor has ended it"))

    def _end(self, kind: Kind, error: Exception) -> None:
        self._say(kind, error=error)
        raise error

    def _wait_s(self, state: RetryCallState) -> float:
        if self._up_s and time.monotonic() - self._up_s > STEADY_S:
            state.attempt_number = 1
        error = state.outcome and state.outcome.exception()
        if isinstance(error, Refused):
            return REFUSED_AGAIN_S
        least_s = error.after_s if isinstance(error, Throttled) else 0.0
        return max(least_s, self._jittered(state))

    def _ask(self, since_us: int, until_us: int) -> None:
        span = (since_us, until_us)
        try:
            self._say("past", events=self.feed.past(since_us, until_us), span_us=span)
        except (LineLost, Refused) as error:
            self._say("no past", error=error, span_us=span)
        except Exception as error:  # a thread's end: said, and raised where the events are taken
            self._say("failed", error=error)
