"""What of tapes the console shows: which there are, and the one that runs. Whoever starts the console knows, and injects it."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Tape(msgspec.Struct, frozen=True):
    """One tape: its event times, microseconds UTC, and how much was traded in each of as many equal parts of that time."""

    name: str
    kind: str
    first_ts_us: int
    last_ts_us: int
    symbols: list[str]
    bytes: int
    volume: list[float] = []


class Tapes(Protocol):
    """Who knows the tapes; called on a thread of its own, and may take seconds."""

    def listed(self) -> list[Tape]:
        """Return the tapes that can be chosen, by name."""

    def running(self) -> Tape | None:
        """Return the tape that runs in this namespace, where one does."""


class NoTapes:
    """Nobody knows any."""

    def listed(self) -> list[Tape]:
        """Return none."""
        return []

    def running(self) -> Tape | None:
        """Return none."""
        return None
