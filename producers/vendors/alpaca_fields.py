"""What Alpaca's messages say, field by field (docs.alpaca.markets, as `alpaca.py` names it)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgpack

from producers.base import Story, Trade
from producers.vendors.base import Ear, notice, number_of_day
from streams.clock import SECOND_US, wall_ts_us

CONDITIONS = {
    "@": "regular",
    "B": "average_price",
    "W": "average_price",
    "C": "cash",
    "N": "next_day",
    "R": "seller",
    "Z": "out_of_sequence",
    "U": "out_of_sequence",
    "4": "derivatively_priced",
    "P": "prior_reference_price",
    "V": "contingent",
    "7": "qualified_contingent",
    "H": "price_variation",
    "M": "official_close",
    "Q": "official_open",
    "I": "odd_lot",
    "T": "form_t",
    "F": "intermarket_sweep",
    "O": "opening",
    "6": "closing",
    "X": "cross",
}


def hear(ear: Ear, message: dict[str, Any]) -> None:
    """Say what a message of the stream tells: a trade, a correction, a cancel."""
    try:
        symbol, at_us = message["S"], us(message["t"])
        if message["T"] == "c":
            earlier = number(at_us, message["oi"], message["x"])
            seq = number(at_us, message["ci"], message["x"])
            ear.hear(Trade(at_us, symbol, float(message["cp"]), float(message["cs"]), seq, excluded=f"corrects {earlier}"))
        elif message["T"] == "x":
            earlier = number(at_us, message["i"], message["x"])
            ear.hear(notice("cancels", earlier, Trade(at_us, symbol, float(message["p"]), float(message["s"]), 0)))
        else:
            ear.hear(trade(symbol, message))
    except (KeyError, TypeError, ValueError) as error:
        ear.garbled(f"{message}: {error!r}")


def trade(symbol: str, one: dict[str, Any], excluded: str = "") -> Trade:
    """Return a trade as stream and REST tell it."""
    words = " ".join(dict.fromkeys(CONDITIONS[code] for code in one.get("c") or () if code in CONDITIONS))
    at_us = us(one["t"])
    seq = number(at_us, one["i"], one.get("x", ""))
    return Trade(at_us, symbol, float(one["p"]), float(one["s"]), seq, words, excluded)


def told_again(symbol: str, one: dict[str, Any]) -> Iterator[Trade]:
    """Yield a trade of the past, and what became of it; one that is void, and was not told before, no bar takes."""
    seq = number(us(one["t"]), one["i"], one.get("x", ""))
    update = one.get("u", "")
    if update == "canceled":
        void = trade(symbol, one, f"cancels {seq}")
        yield void
        yield notice("cancels", seq, Trade(wall_ts_us(), symbol, void.price, void.size, 0))
    else:
        yield trade(symbol, one, {"incorrect": f"corrects {seq}", "corrected": "corrects"}.get(update, ""))


def number(at_us: int, id_: int, exchange: str) -> int:
    """Return the `seq` of the trade `id_` of an exchange (one letter), told of on its day: in the ids' order, no two alike."""
    return number_of_day(at_us, int(id_) << 5 | ord(exchange or "@") & 31)


def story(one: dict[str, Any]) -> Story:
    """Return a story as stream and REST tell it."""
    return Story(
        us(one["created_at"]), f"alpaca:{one['id']}", tuple(one.get("symbols") or ()), one["headline"], one.get("url") or ""
    )


def us(said: Any) -> int:
    """Return a time of Alpaca's, text or of msgpack, as microseconds.

    >>> us("2021-02-22T15:51:44.208123456Z")
    1614009104208123
    """
    if isinstance(said, msgpack.Timestamp):
        return int(said.to_unix_nano()) // 1_000
    whole, _, rest = str(said).removesuffix("Z").partition(".")
    seconds = round(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * SECOND_US + int(rest[:6].ljust(6, "0") or 0)


def moment(ts_us: int) -> datetime:
    """Return a time as alpaca-py takes it."""
    return datetime.fromtimestamp(ts_us / SECOND_US, UTC)
