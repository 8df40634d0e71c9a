"""The recent minutes of one symbol, so that every final row is forecast once.

The engine makes a symbol's rows final in the order of their minutes (`streams/repeats.py`): none waits for another here.
"""

from __future__ import annotations

from typing import NamedTuple

from models.forecaster.windows import WINDOW, pack
from streams.clock import MINUTE_US
from streams.messages import Features

KEPT = 2 * WINDOW  # minutes kept behind the newest: a window, and room for late revisions


class Bar(NamedTuple):
    """A row and its packed numbers."""

    row: Features
    raw: bytes


class SymbolHistory:
    """Final rows by minute, and drafts of minutes that are not final.

    Its state depends on the final rows put into it and their order alone, so a restart that puts the past in again goes
    on where it was.
    """

    def __init__(self) -> None:
        self._finals: dict[int, Bar] = {}
        self._drafts: dict[int, Bar] = {}
        self._newest = -1

    def put(self, row: Features) -> bool:
        """Take a final row; return whether it is to be forecast, which is once ever.

        A later revision of a minute replaces its numbers in the windows to come and is not forecast.
        """
        minute = row.minute_ts_us
        known = self._finals.get(minute)
        is_new = not self.is_done(minute)
        if is_new or (known is not None and row.revision > known.row.revision):
            self._finals[minute] = Bar(row, pack(row))
            self._drafts.pop(minute, None)
            self._advance(minute)
        return is_new

    def is_done(self, minute: int) -> bool:
        """Return whether :meth:`put` will never again say of a row of `minute` that it is to be forecast."""
        return minute in self._finals or minute <= self._newest - KEPT * MINUTE_US

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
