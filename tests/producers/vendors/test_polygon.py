"""The client `massive` (polygon.io's), unmodified, on a server that misbehaves; `test_trades.py` has what is shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from massive.rest.models import Trade as Told

from producers.base import Trade
from producers.intake import Intake
from producers.vendors.base import number_of_day
from producers.vendors.polygon import PolygonNews, PolygonTrades
from producers.vendors.polygon_fields import heard, told_again
from streams import settings
from streams.clock import wall_ts_us
from streams.settings import Settings
from tests.producers.vendors.listening import listening
from tests.producers.vendors.massive_server import Massive
from tests.producers.vendors.servers import serving
from tests.producers.vendors.sources import KINDS

# massive.com/docs, "Stocks WebSocket: Trades" and "Stocks REST: Trades": the sample objects as they are printed there
SAMPLE: dict[str, Any] = {
    **{"ev": "T", "sym": "MSFT", "x": 4, "i": "12345", "z": 3, "p": 114.125, "s": 100, "c": [0, 12]},
    **{"t": 1536036818784, "q": 3681328},
}
REST: dict[str, Any] = {
    **{"conditions": [12, 41], "exchange": 11, "id": "1", "participant_timestamp": 1517562000015577000, "price": 171.55},
    **{"sequence_number": 1063, "sip_timestamp": 1517562000016036600, "size": 100, "tape": 3},
}


@pytest.fixture
def massive() -> Iterator[Massive]:
    server = Massive()
    with serving(server):
        yield server


def config(massive: Massive) -> Settings:
    return KINDS["polygon"].settings(massive, settings.load({}, stale_s="60", poll_s="0.1"))


def feed(massive: Massive) -> PolygonTrades:
    made = PolygonTrades(config(massive))
    made.calendar = ""  # as in test_alpaca.py
    return made


def test_the_documented_messages_are_mapped_field_by_field() -> None:
    at_us = 1_536_036_818_784_000
    assert heard(SAMPLE) == Trade(at_us, "MSFT", 114.125, 100.0, number_of_day(at_us, 3_681_328), "regular form_t")
    assert heard(SAMPLE | {"ds": "0.25"}).size == 0.25
    (told,) = told_again("AAPL", Told.from_dict(REST))
    at_us = 1_517_562_000_016_000
    assert told == Trade(at_us, "AAPL", 171.55, 100.0, number_of_day(at_us, 1_063), "form_t trade_through_exempt")


@pytest.mark.parametrize(
    ("code", "excluded"), [(1, ["corrects {}"]), (8, ["cancels {}", "cancels {}"]), (12, ["corrects"]), (0, [""])]
)
def test_the_tapes_correction_codes_are_told(code: int, excluded: list[str]) -> None:
    seq = number_of_day(1_517_562_000_016_000, 1_063)
    told = told_again("AAPL", Told.from_dict(REST | {"correction": code}))
    assert [one.excluded for one in told] == [word.format(seq) for word in excluded]


def test_half_a_message_is_asked_for_and_a_busy_server_again(massive: Massive) -> None:
    with listening(feed(massive)) as heard_:
        heard_.up()
        first = massive.trades("AAPL")
        lost = massive.trade("AAPL")
        massive.busy = 1
        massive.garble(lost)
        heard_.has([*first, lost])
        assert heard_.counts["connected"] == 1
        assert any("massive answers 429" in alert for alert in heard_.alerts)


def test_a_cancel_that_only_rest_tells_is_found(massive: Massive) -> None:
    with listening(feed(massive), reconcile_us=500_000) as heard_:
        heard_.up()
        (one,) = massive.trades("AAPL")
        heard_.has([one])
        massive.amend("cancel", one)
        heard_.until(lambda: any(trade.excluded for trade in heard_.trades))
        assert [trade.excluded for trade in heard_.trades] == ["", f"cancels {number_of_day(one.event_ts_us, one.number)}"]


def test_the_past_comes_page_by_page(massive: Massive) -> None:
    happened = [massive.trade("AAPL", ts_us=wall_ts_us() - 60_000_000 + k * 1_000) for k in range(1_200)]
    found = feed(massive).past(happened[0].event_ts_us, happened[-1].event_ts_us + 1_000)
    assert [item.event_ts_us for item in found] == [item.event_ts_us for item in happened]


def test_news_come_once_with_their_tickers(massive: Massive) -> None:
    with listening(PolygonNews(config(massive)), intake=Intake(None, ["AAPL", "MSFT"])) as heard_:
        heard_.up()
        massive.write("a1", "Apple and Microsoft raise their outlook for the year", "AAPL", "MSFT", "QQQ")
        heard_.until(lambda: heard_.stories)
        asked = len(massive.requests)
        heard_.until(lambda: len(massive.requests) > asked + 4)
        (one,) = heard_.stories
        assert (one.symbols, one.id, one.url) == (("AAPL", "MSFT"), "polygon:a1", "http://127.0.0.1/a1")
