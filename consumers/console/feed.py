"""Between the topics and the browsers: one thread reads into the views, one task turns their changes into numbered frames.

The thread and the event loop meet in :class:`Feed`, under its lock. Every browser reads the same frames; one that is new,
or that was away for longer than the frames kept, gets a snapshot first.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec

from consumers.console.flowing import Flow
from consumers.console.health import HealthRow
from consumers.console.market import Bar
from consumers.console.views import TOPICS, Page, Views
from streams import bus
from streams.bus import Record
from streams.clock import wall_ts_us
from streams.settings import Settings

FRAME_S = 0.1  # a tenth of a second is what a tick may take to the page
QUIET_S = 0.5  # after so long without records, look whether health is due
FRAMES_KEPT = 300  # half a minute of frames: a browser that reconnects within it loses nothing
BACKLOG = 100_000  # records of each partition that a restart reads again: seconds of reading, more bars than are shown

T = TypeVar("T")


class Frame(NamedTuple):
    """One server-sent event."""

    kind: str
    id: str
    data: str


class Feed:
    """The views, locked, and the frames made of them.

    Methods without `async` may be called from any thread; the frames belong to the event loop.
    """

    def __init__(self) -> None:
        self.browsers = 0
        self.flow = Flow()
        self._views = Views()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._boot = wall_ts_us()
        self._number = 0
        self._frames: deque[tuple[int, Frame]] = deque(maxlen=FRAMES_KEPT)
        # set when the next frame is there, and then replaced: unlike a condition, it has no lock that a browser which
        # leaves while it waits could keep
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped.is_set()

    @property
    def caught_up(self) -> bool:
        """Whether what the topics held at the start has been read."""
        return self._views.caught_up

    def stop(self) -> None:
        """Make the reading thread end, and the streams with their next frame."""
        self._stopped.set()
        self._wake()

    def apply(self, records: Sequence[Record], caught_up: bool) -> None:
        """Take `records`."""
        with self._lock:
            self._views.apply(records)
            self._views.caught_up = caught_up
        if records:
            self._wake()

    def _wake(self) -> None:
        """Let :meth:`pump` look now; before it runs, and after its loop has ended, nobody is to be woken."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._arrived.set)

    def wait(self, seconds: float) -> None:
        """Return after so long, or once stopped."""
        self._stopped.wait(seconds)

    def ask(self, question: Callable[[Views], T]) -> T:
        """Return what `question` answers of the views; nobody changes them meanwhile."""
        with self._lock:
            return question(self._views)

    def snapshot(self) -> Page:
        """Return everything but the bars."""
        with self._lock:
            return self._with_flow(self._views.snapshot(wall_ts_us()))

    def bars(self, symbol: str) -> list[Bar] | None:
        """Return the bars of `symbol`, oldest first, or None where it is unknown."""
        with self._lock:
            return self._views.bars(symbol)

    def health(self) -> HealthRow:
        """Return how the machinery is now."""
        with self._lock:
            return self._views.health(wall_ts_us())

    async def pump(self) -> None:
        """Turn changes into frames as they come, one in :data:`FRAME_S` at most, until stopped."""
        self._loop = asyncio.get_running_loop()
        while not self.stopped:
            self._arrived.clear()
            with self._lock:
                page = self._views.changes(wall_ts_us())
            if page is not None:
                self._append(self._with_flow(page))
            await asyncio.sleep(FRAME_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), QUIET_S)
        self._news.set()

    def _with_flow(self, page: Page) -> Page:
        return page if page.health is None else msgspec.structs.replace(page, flow=self.flow)

    def _append(self, page: Page) -> None:
        self._number += 1
        self._frames.append((self._number, self._frame("update", page)))
        self._news.set()
        self._news = asyncio.Event()

    def _frame(self, kind: str, page: Page) -> Frame:
        return Frame(kind, f"{self._boot}-{self._number}", msgspec.json.encode(page).decode())

    async def stream(self, last_id: str) -> AsyncIterator[Frame]:
        """Yield the frames after the one with `last_id`; a snapshot first where that one is unknown or too old."""
        boot, _, after = last_id.partition("-")
        number = int(after) if boot == str(self._boot) and after.isdecimal() else -1
        self.browsers += 1
        try:
            while not self.stopped:
                if not self._kept(number):
                    number = self._number
                    yield self._frame("snapshot", self.snapshot())
                for at, frame in await self._after(number):
                    yield frame
                    number = at
        finally:
            self.browsers -= 1

    def _kept(self, number: int) -> bool:
        oldest = self._frames[0][0] if self._frames else self._number + 1
        return oldest - 1 <= number <= self._number

    async def _after(self, number: int) -> list[tuple[int, Frame]]:
        while self._number <= number and not self.stopped:
            await self._news.wait()
        return [(at, frame) for at, frame in self._frames if at > number]


def read(settings: Settings, feed: Feed) -> None:
    """Read the topics into `feed` until it is stopped; a restart rebuilds the views from the newest part of them."""
    missing = _backlog(settings)
    patience_ms = round(1_000 * FRAME_S)
    for records in bus.follow(settings, *TOPICS, stop=lambda: feed.stopped, last=BACKLOG, patience_ms=patience_ms):
        if missing:
            read_to = {(record.topic, record.partition): record.offset for record in records}
            missing = {place: end for place, end in missing.items() if read_to.get(place, -1) < end - 1}
        feed.apply(records, caught_up=not missing)


def _backlog(settings: Settings) -> dict[tuple[str, int], int]:
    """Return the end of each (topic, partition) that holds anything now."""
    client = bus.consumer(settings)
    try:
        places = bus.partitions_of(client, settings, *TOPICS)
        start, end = client.beginning_offsets(places), client.end_offsets(places)
        return {(settings.bare_topic(at.topic), at.partition): end[at] for at in places if start[at] < end[at]}
    finally:
        client.close()
