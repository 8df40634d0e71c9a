"""What a vendor's file provides: a feed, which listens on a line until it breaks, and can ask for what was missed.

A feed knows its vendor's protocol and nothing else. It builds the line once and says what it hears; that a line breaks is
normal, and everything about it (when to connect again, what is missing, what came twice, what the clock is) is `live.py`'s.
docs/add-a-source.md goes through one step by step.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from producers.base import Story, Trade
from streams.clock import MINUTE_US
from streams.errors import LineLost

log = logging.getLogger(__name__)

DAY_US, NEW_YORK_US = 24 * 60 * MINUTE_US, 5 * 60 * MINUTE_US
NUMBER_BITS = 50
OLD_US = 10 * MINUTE_US
PLAIN_IDS = 1 << 62  # vendors' own numbers are below it, what is made of other ids is above: they never meet


class Ear(Protocol):
    """Where a feed says what it hears. No method blocks, and each may be called from any thread."""

    def up(self) -> None:
        """Say that the vendor has taken the subscription: from now on everything is heard."""

    def hear(self, *events: Trade | Story) -> None:
        """Say that these came, in this order."""

    def garbled(self, what: object) -> None:
        """Say that something came that cannot be read; it is asked for again where the vendor can be asked."""


class Feed(ABC):
    """One line to one vendor, for trades or for headlines.

    Attributes
    ----------
    name : str
        What the line is called in its messages' `source`.
    trades : bool
        Whether it is a line of trades; else of headlines.
    silence_s : float or None
        How long it may be silent while its market is open; None: it may be silent for ever.
    calendar : str
        The market's name in `exchange_calendars`, as XNYS; empty: never closed.
    contiguous : bool
        Whether a symbol's trades have the numbers 1, 2, 3: one that is missing is then seen at once.
    """

    name: str
    trades: bool = True
    silence_s: float | None = None
    calendar: str = ""
    contiguous: bool = False

    @abstractmethod
    def listen(self, ear: Ear) -> None:
        """Connect, subscribe, and say what is heard, until the line breaks or :meth:`hang_up` is called. Blocks; called again.

        Raises
        ------
        LineLost
            The line broke. Returning says the same.
        Refused
            The vendor does not give what is asked for; a person must act.
        """

    @abstractmethod
    def hang_up(self) -> None:
        """End :meth:`listen`, from another thread; without effect where nobody listens."""

    def past(self, since_us: int, until_us: int) -> Sequence[Trade | Story]:
        """Return what happened from `since_us` up to `until_us`, in any order, repeats allowed. Blocks.

        The default is for vendors that cannot be asked: nothing.

        Raises
        ------
        LineLost
            It could not be had now.
        """
        return ()


class AsyncFeed(Feed):
    """A feed whose client is asynchronous: write :meth:`converse`."""

    _hang_up: Callable[[], object] | None = None

    @abstractmethod
    async def converse(self, ear: Ear) -> None:
        """As :meth:`Feed.listen`; it is cancelled to hang up."""

    def listen(self, ear: Ear) -> None:
        """Run :meth:`converse` on an event loop of its own."""
        asyncio.run(self._listen(ear))

    async def _listen(self, ear: Ear) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(self.converse(ear))
        died: list[Exception] = []

        def end(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if "handle" in context:  # a callback of the client: whatever read the socket does so no more
                died.append(context.get("exception") or LineLost(context["message"]))
                task.cancel()
            else:
                log.debug("%s: %s", self.name, context["message"])

        loop.set_exception_handler(end)
        self._hang_up = _canceller(loop, task)
        try:
            await asyncio.wait([task])
            if died:
                raise lost(died[0])
            if not task.cancelled() and (error := task.exception()):
                raise error
        finally:
            self._hang_up = None
            task.cancel()

    def hang_up(self) -> None:
        """Cancel :meth:`converse`."""
        if self._hang_up is not None:
            self._hang_up()


def _canceller(loop: asyncio.AbstractEventLoop, task: asyncio.Future[Any]) -> Callable[[], object]:
    def cancel() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    return cancel


def seq_of(number: object, *more: object) -> int:
    """Return the `seq` of a trade by its vendor's id: the id itself where it is a plain number, else a digest of all.

    >>> seq_of("158410082"), seq_of("a-1") == seq_of("a-1"), seq_of("a-1") >= PLAIN_IDS
    (158410082, True, True)
    """
    text = str(number)
    if not more and text.isascii() and text.isdigit() and int(text) < PLAIN_IDS:
        return int(text)
    digest = hashlib.blake2b("\n".join(map(str, (number, *more))).encode(), digest_size=8).digest()
    return PLAIN_IDS | int.from_bytes(digest) >> 2


def number_of_day(event_ts_us: int, number: int) -> int:
    """Return the `seq` of a trade whose vendor counts, or gives ids, anew each day: the day, then the number.

    Days begin at 5:00 UTC, midnight of New York's winter: no session of a US market has two.

    >>> number_of_day(5 * 3_600_000_000, 7) > number_of_day(5 * 3_600_000_000 - 1, 8)
    True
    """
    day = (event_ts_us - NEW_YORK_US) // DAY_US
    return day % 4_096 << NUMBER_BITS | number % (1 << NUMBER_BITS)


def notice(word: Literal["cancels", "corrects"], earlier_seq: int, said: Trade) -> Trade:
    """Return what tells that a vendor takes back, or reports anew, an earlier trade.

    `said` has the time of the telling, and the price and size that are taken back, or the new ones. Bars leave it out.
    """
    what = f"{word} {earlier_seq}"
    return replace(said, seq=seq_of(what, said.price, said.size), excluded=what)


class Fresh:
    """Which stories are new, where a vendor lists its newest ones each time it is asked.

    At the first look what is older than ten minutes is left out. What shows up later than that could not be known
    before, so it has the time at which it was seen.
    """

    def __init__(self) -> None:
        self._known: frozenset[str] | None = None  # None: not looked yet

    def of(self, listed: Sequence[Story], now_us: int) -> list[Story]:
        """Return what is new of `listed`, oldest first."""
        before, self._known = self._known, frozenset(story.id for story in listed)
        if before is None:
            fresh = [story for story in listed if now_us - story.event_ts_us < OLD_US]
        else:
            fresh = [story for story in listed if story.id not in before]
        dated = [replace(story, event_ts_us=now_us) if now_us - story.event_ts_us > OLD_US else story for story in fresh]
        return sorted(dated, key=lambda story: story.event_ts_us)


class Eavesdropper(logging.Handler):
    """Hands on what a client says in its log on this thread, where it says it nowhere else."""

    def __init__(self, logger: str, take: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._logger = logging.getLogger(logger)
        self._take = take
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on one line."""
        if record.thread == self._thread:
            self._take(record.getMessage())

    def __enter__(self) -> Eavesdropper:
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False  # what matters of it is told as an alert
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)


def lost(error: Exception) -> LineLost:
    """Return `error` as a broken line, told by its kind and first line."""
    lines = str(error).strip().splitlines() or [""]
    return LineLost(f"{type(error).__name__}: {lines[0][:200]}")
