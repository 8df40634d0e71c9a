"""Runs a live source beside a test, and keeps what it yields."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from producers.base import Event, Pulse, Report, Story, Told, Trade
from producers.line import BackOff
from producers.live import Live
from producers.vendors.base import Feed
from streams.testing import eventually
from tests.producers.vendors.servers import Happened

QUICK = BackOff(0.05, 0.4)
SECOND_US = 1_000_000


class Listening:
    """A live source on a thread of its own."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.events: list[Event] = []
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        events = self.live.events()
        try:
            for event in events:
                self.events.append(event)
                if self._stop.is_set():
                    break
            events.close()  # type: ignore[attr-defined]
        except Exception as error:  # a thread's end: the test looks at it
            self.error = error

    @property
    def trades(self) -> list[Trade]:
        return [event for event in list(self.events) if isinstance(event, Trade)]

    @property
    def stories(self) -> list[Story]:
        return [event for event in list(self.events) if isinstance(event, Story)]

    @property
    def alerts(self) -> list[str]:
        return [event.detail for event in list(self.events) if isinstance(event, Report) and event.detail]

    @property
    def pulses(self) -> list[Pulse]:
        return [event for event in list(self.events) if isinstance(event, Pulse)]

    @property
    def counts(self) -> Counter[str]:
        """The newest counts."""
        reports = [event for event in list(self.events) if isinstance(event, Report)]
        return Counter(dict(reports[-1].counts)) if reports else Counter()

    def up(self, lines: int = 1) -> Listening:
        """Wait until so many lines are up."""
        eventually(lambda: self.error or self.counts["up"] >= lines, 20, 0.02)
        if self.error:
            raise self.error
        return self

    def until(self, probe: Callable[[], Any], timeout_s: float = 20.0) -> None:
        """Wait for `probe`; a source that failed fails the test."""
        eventually(lambda: self.error or probe(), timeout_s, 0.02)
        if self.error:
            raise self.error

    def has(self, happened: Sequence[Happened], timeout_s: float = 20.0) -> None:
        """Wait until exactly `happened` has come, each once, field by field."""
        expected = sorted(map(as_fields, happened))
        self.until(lambda: len([one for one in self.trades if not one.excluded]) >= len(happened), timeout_s)
        assert sorted(fields(one) for one in self.trades if not one.excluded) == expected

    def failed(self) -> Exception:
        """Wait until the source has failed, and return of what."""
        return eventually(lambda: self.error, 20, 0.02)  # type: ignore[return-value]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=15)
        assert not self._thread.is_alive(), "the source does not stop"


def as_fields(one: Happened) -> tuple[object, ...]:
    return one.event_ts_us, one.symbol, one.price, one.size


def fields(one: Trade) -> tuple[object, ...]:
    return one.event_ts_us, one.symbol, one.price, one.size


@contextmanager
def listening(*feeds: Feed, told: Sequence[Told] = (), reconcile_us: int = 60 * SECOND_US, **options: Any) -> Iterator[Listening]:
    """Listen for the length of a `with` block."""
    live = Live(feeds, back_off=QUICK, reconcile_us=reconcile_us, **options)
    live.remember(told)
    running = Listening(live)
    running.start()
    try:
        yield running
    finally:
        running.stop()
