"""Which raw trades no bar may take: prints whose price belongs to another moment or another deal, and erroneous ones.

Two rules, in this order; docs/prints.md gives their grounds and what they do to real files:

* *sale conditions*: a print that the consolidated tape would not take for its last, high and low (`EXCLUDING`);
* *band*: a price too far from the median of its symbol's last good prints (:class:`Band`).

Nothing is dropped: an excluded trade carries the rule's word in `excluded` and flows on, for the lake to keep.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import isfinite
from statistics import median
from typing import Literal

import polars as pl

from producers.base import Event, SessionEnd, Source, Trade

Prints = Literal["all", "regular"]

# Lean's TradeConditionFlags, the encoding of AlgoSeek's consolidated trades: the word of each bit, lowest first.
MASK_WORDS = (
    *("regular", "cash", "next_day", "seller", "yellow_flag", "intermarket_sweep", "opening", "closing"),
    *("reopening", "derivatively_priced", "form_t", "sold_last", "stopped", "extended_hours", "out_of_sequence", "split"),
    *("acquisition", "bunched", "contingent", "distribution", "average_price", "cross", "price_variation", "rule_155"),
    *("official_close", "prior_reference_price", "official_open", "cap_election", "automatic_execution"),
    *("trade_through_exempt", "undocumented", "odd_lot"),
)
# The first that a print has is its reason.
EXCLUDING = (
    *("average_price", "prior_reference_price", "derivatively_priced", "out_of_sequence"),  # the price of another time
    *("contingent", "qualified_contingent", "price_variation"),  # the price of a larger deal
    *("cash", "next_day", "seller"),  # the price of another settlement
    *("official_open", "official_close"),  # no trade: an auction's price again
    "odd_lot",  # below the tape's unit
)
OFF_MARKET = "off_market"  # the band's reason


def named(said: pl.Series) -> tuple[pl.Series, str]:
    """Return a file's sale conditions as words, and what was found out about them.

    Bit masks of Lean's in hexadecimal become words, our words stay; conditions in another encoding are not taken.
    """
    each = [text for text in said.unique().to_list() if text]
    if all(re.fullmatch("[0-9A-Fa-f]+", text) for text in each):
        words = {text: mask_words(int(text, 16)) for text in each}
        note = "sale conditions are bit masks in Lean's encoding" if each else ""
        return said.replace_strict(words, default="", return_dtype=pl.String), note
    if {word for text in each for word in text.split()} <= {*MASK_WORDS, *EXCLUDING}:
        return said, ""
    return pl.Series(said.name, [""] * len(said), dtype=pl.String), f"sale conditions such as {each[0]!r} are unknown: not taken"


def mask_words(mask: int) -> str:
    """Return the conditions that a bit mask of Lean's says, separated by spaces.

    >>> mask_words(0x20002020)
    'intermarket_sweep extended_hours trade_through_exempt'
    """
    return " ".join(word for bit, word in enumerate(MASK_WORDS) if mask >> bit & 1)


def reason_of(conditions: str) -> str:
    """Return the first of `EXCLUDING` among `conditions` (words separated by spaces); empty where there is none."""
    said = conditions.split()
    return next((word for word in EXCLUDING if word in said), "")


@dataclass(frozen=True)
class Band:
    """How far a price may be from the median of its symbol's last good prints.

    Within `fraction` of the median or `deviations` times the median absolute deviation from it, whichever is wider.

    Attributes
    ----------
    window : int
        How many good prints the median is of.
    deviations : float
        Median absolute deviations.
    fraction : float
        Of the median price.
    agreeing : int
        So many prints in a row outside the band, within `fraction` of each other, are a new level: the last of them is
        good, and the band stands on them.
    least : int
        While a session has had fewer good prints, `opening_fraction` stands for `fraction`.
    opening_fraction : float
        Lets an overnight gap pass, and no price of ten times.
    """

    window: int = 50
    deviations: float = 10.0
    fraction: float = 0.005
    agreeing: int = 5
    least: int = 10
    opening_fraction: float = 0.10


class Level:
    """Where one symbol trades: judges each price against those before it, and takes it in where it is good.

    >>> level = Level(Band())
    >>> [level.takes(price) for price in (*[100.0] * 10, 99.0, 100.1)]
    [True, True, True, True, True, True, True, True, True, True, False, True]
    """

    def __init__(self, band: Band) -> None:
        self._band = band
        self._good: deque[float] = deque()
        self._sorted: list[float] = []
        self._outside: deque[float] = deque(maxlen=band.agreeing)

    def takes(self, price: float) -> bool:
        """Return whether `price` is good."""
        if not self._good or self._inside(price):
            self._outside.clear()
            self._take(price)
            return True
        self._outside.append(price)
        return self._moved()

    def end_session(self) -> None:
        """Keep only the median: the next session may begin elsewhere."""
        self._restart([median(self._sorted)] if self._sorted else [])

    def _inside(self, price: float) -> bool:
        band, middle = self._band, median(self._sorted)
        fraction = band.fraction if len(self._good) >= band.least else band.opening_fraction
        distance = abs(price - middle)
        # the deviations are counted only for the few prices that are beyond the fraction
        return distance <= fraction * middle or distance <= band.deviations * _spread(self._sorted, middle)

    def _moved(self) -> bool:
        """Return whether the prints outside agree on a new level; then stand on it."""
        middle = median(self._outside)
        agree = all(abs(price - middle) <= self._band.fraction * middle for price in self._outside)
        if not agree or len(self._outside) < self._band.agreeing:
            return False
        self._restart(self._outside)
        return True

    def _take(self, price: float) -> None:
        self._good.append(price)
        insort(self._sorted, price)
        if len(self._good) > self._band.window:
            del self._sorted[bisect_left(self._sorted, self._good.popleft())]

    def _restart(self, prices: Iterable[float]) -> None:
        self._good = deque(prices)
        self._sorted = sorted(self._good)
        self._outside.clear()


def _spread(prices: list[float], middle: float) -> float:
    """Return the median absolute deviation of `prices` from `middle`."""
    return median(abs(price - middle) for price in prices)


class Regular:
    """A source whose irregular trades are marked as excluded; everything else passes as it is.

    A tape's name tells that it is marked: its records are others than those of the same tape unmarked.

    Parameters
    ----------
    source : Source
        Where the events come from.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """The source's own name, and of a tape `:regular`."""
        return self._source.name if self._source.live else f"{self._source.name}:regular"

    @property
    def live(self) -> bool:
        """Whether the source paces itself."""
        return self._source.live

    @property
    def inner(self) -> Source:
        """The source whose trades are marked."""
        return self._source

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the source's events, each trade with its verdict."""
        return marked(self._source.events(resume_after))


def marked(events: Iterable[Event], band: Band | None = None) -> Iterator[Event]:
    """Yield `events`, each trade with its verdict; it looks back only, so the same events are marked alike every time."""
    band = band or Band()
    levels: dict[str, Level] = {}
    for event in events:
        if isinstance(event, Trade) and not event.excluded:
            reason = _verdict(event, levels, band)
            yield replace(event, excluded=reason) if reason else event
        else:
            if isinstance(event, SessionEnd):
                _end(levels.values())
            yield event


def _verdict(trade: Trade, levels: dict[str, Level], band: Band) -> str:
    if not (isfinite(trade.price) and trade.price > 0):
        return ""  # the engine refuses it, and `dead_letters` says why
    if trade.conditions and (reason := reason_of(trade.conditions)):
        return reason
    if trade.symbol not in levels:
        levels[trade.symbol] = Level(band)
    return "" if levels[trade.symbol].takes(trade.price) else OFF_MARKET


def _end(levels: Iterable[Level]) -> None:
    for level in levels:
        level.end_session()


def of(source: Source, prints: Prints) -> Source:
    """Return `source` as `--prints` wants it: with its irregular trades marked, or as it is."""
    return Regular(source) if prints == "regular" else source
