"""What massive.com's messages say, field by field (massive.com/docs, as `polygon.py` names it)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from producers.base import Story, Trade
from producers.vendors.base import notice, number_of_day
from streams.clock import SECOND_US, wall_ts_us

# "Conditions", by their ids, as words of prints.py
CONDITIONS = {
    **{0: "regular", 2: "average_price", 4: "bunched", 7: "cash", 8: "closing", 9: "cross", 10: "derivatively_priced"},
    **{12: "form_t", 13: "out_of_sequence", 14: "intermarket_sweep", 15: "official_close", 16: "official_open", 17: "opening"},
    **{20: "next_day", 21: "price_variation", 22: "prior_reference_price", 29: "seller", 30: "sold_last", 32: "out_of_sequence"},
    **{33: "out_of_sequence", 37: "odd_lot", 41: "trade_through_exempt", 52: "contingent", 53: "qualified_contingent"},
}
REPLACED, VOID, RECORDS = 1, (7, 8), {10: "cancels", 11: "cancels", 12: "corrects"}  # the tape's correction codes


def heard(message: dict[str, Any]) -> Trade:
    """Return a trade as the WebSocket tells it."""
    event_ts_us = int(message["t"]) * 1_000
    size = float(message.get("ds") or message["s"])
    seq = number_of_day(event_ts_us, int(message["q"]))
    return Trade(event_ts_us, message["sym"], float(message["p"]), size, seq, _words(message.get("c")))


def told_again(symbol: str, one: Any) -> Iterator[Trade]:
    """Yield a trade as REST tells it, and what became of it; one that is void, and was not told before, no bar takes."""
    event_ts_us = one.sip_timestamp // 1_000_000 * 1_000  # to the millisecond, as the WebSocket says it
    seq = number_of_day(event_ts_us, one.sequence_number)
    code = one.correction or 0
    word = RECORDS.get(code, "")
    excluded = f"corrects {seq}" if code == REPLACED else f"cancels {seq}" if code in VOID else word
    size = float(one.decimal_size or one.size)
    yield Trade(event_ts_us, symbol, float(one.price), size, seq, _words(one.conditions), excluded)
    if code in VOID:
        yield notice("cancels", seq, Trade(wall_ts_us(), symbol, float(one.price), size, 0))


def _words(conditions: Sequence[int] | None) -> str:
    return " ".join(dict.fromkeys(CONDITIONS[code] for code in conditions or () if code in CONDITIONS))


def story(one: Any) -> Story:
    """Return an article of "News"."""
    event_ts_us = round(datetime.fromisoformat(one.published_utc).timestamp() * SECOND_US)
    return Story(event_ts_us, f"polygon:{one.id}", tuple(one.tickers or ()), one.title, one.article_url or "")
