"""Which vendors there are. A vendor's client is imported when its source is opened: some take seconds.

To add one: write its file beside this, with a function `feeds`, and add one line to `VENDORS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from producers.vendors.base import Feed
from streams.errors import SourceError
from streams.settings import Settings

if TYPE_CHECKING:
    from producers.line import BackOff
    from producers.live import Live

Part = Literal["ticks", "headlines"]


@dataclass(frozen=True, slots=True)
class Vendor:
    """What a vendor has, and what it takes to get it.

    Attributes
    ----------
    parts : frozenset of str
        ticks, headlines or both.
    needs : str
        Keys and arguments, in words.
    terms : str
        Whose terms a user accepts by connecting.
    """

    parts: frozenset[Part]
    needs: str
    terms: str


BOTH: frozenset[Part] = frozenset({"ticks", "headlines"})
TICKS: frozenset[Part] = frozenset({"ticks"})
HEADLINES: frozenset[Part] = frozenset({"headlines"})

VENDORS: Mapping[str, Vendor] = {
    "alpaca": Vendor(BOTH, "TICKCAST_ALPACA_KEY, TICKCAST_ALPACA_SECRET", "Alpaca's, and of its feed the exchanges'"),
    "ccxt": Vendor(TICKS, "ccxt:EXCHANGE, default binance; no key; --symbols BTC/USDT", "the exchange's"),
    "file": Vendor(BOTH, "file:PATH of a growing CSV or JSONL", "none"),
    "jsonfeed": Vendor(HEADLINES, "jsonfeed:URL of a JSON Feed, several separated by spaces", "the publisher's"),
    "polygon": Vendor(BOTH, "TICKCAST_POLYGON_KEY", "Massive's (Polygon.io's), and of its feed the exchanges'"),
    "rss": Vendor(HEADLINES, "rss:URL of an RSS or Atom feed, several separated by spaces", "the publisher's"),
    "yfinance": Vendor(BOTH, "no key; --symbols as Yahoo writes them", "Yahoo's (yfinance is for personal use only)"),
}


def open_live(asked: Mapping[Part, tuple[str, str]], settings: Settings, back_off: BackOff | None = None) -> Live:
    """Return the source of the vendors `asked` for: of each part the vendor's name and its argument.

    Raises
    ------
    SourceError
        A vendor does not have that part, or lacks a key or an argument.
    """
    from producers.companies import Companies  # noqa: PLC0415 - calendars and near-duplicates take seconds to load
    from producers.intake import Intake  # noqa: PLC0415
    from producers.live import Live  # noqa: PLC0415

    feeds: list[Feed] = []
    for name, argument in dict.fromkeys(asked.values()):
        parts = {part for part, choice in asked.items() if choice == (name, argument)}
        if missing := parts - VENDORS[name].parts:
            raise SourceError(f"{name} has no {missing.pop()}: take {' and '.join(VENDORS[name].parts)} from it alone")
        made: list[Feed] = import_module(f"producers.vendors.{name}").feeds(
            argument, settings, ticks="ticks" in parts, headlines="headlines" in parts
        )
        feeds += made
    symbols = settings.symbol_list
    return Live(feeds, Intake(Companies(symbols, Path(settings.companies) if settings.companies else None), symbols), back_off)
