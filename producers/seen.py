"""What a live source has sent already: repeats are known by their numbers, and numbers that are missing are noticed."""

from __future__ import annotations

from collections import defaultdict

from producers.base import Trade
from streams.clock import MINUTE_US

GENERATION_US = 20 * MINUTE_US  # of event time: what came within one to two of these is known
MOST_MISSING = 100_000  # a hole of more numbers is no hole: the vendor has begun to count anew

Key = tuple[str, str, int]
"""Line, symbol and seq."""


class Seen:
    """Which trades were sent, of the last 20 to 40 minutes of event time.

    While nothing comes nothing is forgotten, so that what is asked for after a gap is still known on its near side.

    Examples
    --------
    >>> seen, trade = Seen(), Trade(1, "BTC/USDT", 9.0, 1.0, seq=7, source="ccxt")
    >>> seen.is_new(trade), seen.is_new(trade)
    (True, False)
    """

    def __init__(self) -> None:
        self._young: set[Key] = set()
        self._old: set[Key] = set()
        self._newest_us = 0
        self._begun_us = 0

    def is_new(self, trade: Trade) -> bool:
        """Return whether `trade` comes for the first time, and remember it."""
        return self.add((trade.source, trade.symbol, trade.seq), trade.event_ts_us)

    def add(self, key: Key, event_ts_us: int) -> bool:
        """Remember `key`; return whether it was unknown."""
        if key in self._young or key in self._old:
            return False
        self._newest_us = max(self._newest_us, event_ts_us)
        if self._newest_us - self._begun_us > GENERATION_US:
            self._begun_us = self._newest_us
            self._old, self._young = self._young, set()
        self._young.add(key)
        return True


class Numbers:
    """Which numbers of each symbol's trades are missing, where a vendor counts 1, 2, 3.

    Examples
    --------
    >>> numbers = Numbers()
    >>> for seq in (1, 2, 5, 4):
    ...     numbers.take("BTC/USDT", seq)
    >>> numbers.missing
    1
    """

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._missing: defaultdict[str, set[int]] = defaultdict(set)

    @property
    def missing(self) -> int:
        """How many are missing now."""
        return sum(map(len, self._missing.values()))

    def take(self, symbol: str, seq: int) -> None:
        """Note that `seq` has come."""
        highest = self._highest.setdefault(symbol, seq)
        if highest + 1 < seq <= highest + MOST_MISSING:
            self._missing[symbol].update(range(highest + 1, seq))
        self._missing[symbol].discard(seq)
        self._highest[symbol] = max(highest, seq)

    def forget(self) -> int:
        """Give up what is missing: its vendor does not have it either; return how many that were."""
        given_up = self.missing
        self._missing.clear()
        return given_up
