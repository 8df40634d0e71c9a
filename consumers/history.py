"""The recent minutes of one symbol, put in order, so that every final row is forecast once and in minute order.

The engine's tasks work side by side, so the final row of a minute may overtake that of the minute before. A row says in
`bars21` how many bars its last 21 minutes had: while fewer than that are here, a row waits for those it overtook.
"""

from __future__ import annotations

from typing import NamedTuple

from models.forecaster.windows import WINDOW, pack
from streams.bus import Record
from streams.clock import MINUTE_US
from streams.messages import Features

LOOKBACK = 21  # minutes that `bars21` speaks of
OVERTAKEN = 10  # minutes that a tape may run ahead of its last final row: nothing is overtaken by more
KEPT = 2 * WINDOW  # minutes kept behind the newest: a window, and room for late revisions


class Bar(NamedTuple):
    """A row and its packed numbers."""

    row: Features
    raw: bytes


class Arrival(NamedTuple):
    """A row to forecast, and the record that brought it."""

    row: Features
    record: Record


class SymbolHistory:
    """Final rows by minute, the ones that still wait, and drafts of minutes that are not final.

    Its state depends on the final rows put into it and their order alone, so a restart that puts the past in again goes
    on where it was.
    """

    def __init__(self) -> None:
        self._finals: dict[int, Bar] = {}
        self._drafts: dict[int, Bar] = {}
        self._waiting: dict[int, Arrival] = {}
        self._newest = -1
        self._released_to = -1

    def put(self, row: Features, record: Record) -> list[Arrival]:
        """Take a final row; return the rows whose turn has come, oldest first, each once ever.

        A later revision of a minute replaces its numbers in the windows to come and is never returned.
        """
        minute = row.minute_ts_us
        known = self._finals.get(minute)
        if known is None and minute > self._newest - KEPT * MINUTE_US:
            self._waiting[minute] = Arrival(row, record)
        elif known is None or row.revision <= known.row.revision:
            return []
        elif minute in self._waiting:
            self._waiting[minute] = self._waiting[minute]._replace(row=row)
        self._finals[minute] = Bar(row, pack(row))
        self._drafts.pop(minute, None)
        self._advance(minute)
        return self._release()

    def is_done(self, minute: int) -> bool:
        """Return whether :meth:`put` will never return a row of `minute` again."""
        return minute <= self._newest - KEPT * MINUTE_US or (minute in self._finals and minute not in self._waiting)

    def draft(self, row: Features) -> bool:
        """Take a row that is not final; return whether it is the newest known of its symbol."""
        minute = row.minute_ts_us
        known = self._drafts.get(minute)
        if not self.is_ahead(row) or (known is not None and row.revision <= known.row.revision):
            return False
        self._drafts[minute] = Bar(row, pack(row))
        return minute == max(self._drafts)

    def is_ahead(self, row: Features) -> bool:
        """Return whether `row` is of a minute after the newest final one."""
        return row.minute_ts_us > self._newest

    def window(self, minute: int, *, drafts: bool = False) -> list[bytes]:
        """Return the packed numbers of the consecutive minutes that end with `minute`, oldest first, at most 50.

        Minutes that are not final take part only where `drafts` is set.
        """
        numbers: list[bytes] = []
        while len(numbers) < WINDOW:
            bar = self._finals.get(minute) or (self._drafts.get(minute) if drafts else None)
            if bar is None:
                break
            numbers.append(bar.raw)
            minute -= MINUTE_US
        return numbers[::-1]

    def _advance(self, minute: int) -> None:
        if minute <= self._newest:
            return
        self._newest = minute
        oldest = minute - KEPT * MINUTE_US
        for bars in (self._finals, self._drafts):
            for old in [at for at in bars if at <= oldest]:
                del bars[old]

    def _release(self) -> list[Arrival]:
        released: list[Arrival] = []
        for minute in sorted(self._waiting):
            if not self._complete(minute):
                break
            self._released_to = max(self._released_to, minute)
            released.append(self._waiting.pop(minute))
        return released

    def _complete(self, minute: int) -> bool:
        missing = self._missing(minute)
        return missing <= 0 or missing > OVERTAKEN or self._newest - minute >= OVERTAKEN * MINUTE_US

    def _missing(self, minute: int) -> int:
        """Return how many bars before `minute` exist and may still come: none before a row already released."""
        before = range(minute - MINUTE_US, minute - LOOKBACK * MINUTE_US, -MINUTE_US)
        absent = [at for at in before if at not in self._finals]
        present = 1 + len(before) - len(absent)
        return min(self._finals[minute].row.bars21 - present, sum(at > self._released_to for at in absent))
