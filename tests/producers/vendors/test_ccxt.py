"""ccxt, unmodified, on a server that speaks Binance's protocol and misbehaves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import ccxt.pro
import pytest

from producers.base import Trade
from producers.vendors.ccxt import CcxtFeed, feeds, trade
from streams import settings
from streams.clock import wall_ts_us
from streams.errors import SourceError
from tests.producers.vendors.binance import Binance
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import serving

BTC, ETH = "BTC/USDT", "ETH/USDT"
# developers.binance.com, "Aggregate Trade Streams": the payload as it is printed there
DOCUMENTED = """{"e": "aggTrade", "E": 1672515782136, "s": "BNBBTC", "a": 12345, "p": "0.001", "q": "100", "f": 100, "l": 105,
"T": 1672515782136, "m": true, "M": true}"""


@pytest.fixture
def binance() -> Iterator[Binance]:
    server = Binance()
    with serving(server):
        yield server


def feed(binance: Binance, *symbols: str, silence_s: float = 60.0) -> CcxtFeed:
    return CcxtFeed("binance", symbols or (BTC,), binance.address, silence_s)


def test_the_documented_message_is_mapped_field_by_field() -> None:
    exchange = ccxt.pro.binance()
    said = exchange.parse_ws_trade(
        json.loads(DOCUMENTED), {"symbol": "BNB/BTC", "option": False, "contract": False, "inverse": False}
    )
    assert trade(said) == Trade(1_672_515_782_136_000, "BNB/BTC", 0.001, 100.0, 12_345)


def test_trades_of_several_symbols_come_once(binance: Binance) -> None:
    with listening(feed(binance, BTC, ETH)) as heard:
        heard.up()
        happened = binance.trades(BTC, 5) + binance.trades(ETH, 5)
        heard.has(happened)
        assert {one.source for one in heard.trades} == {"ccxt:binance"}
        assert sorted(one.seq for one in heard.trades if one.symbol == BTC) == [one.number for one in happened[:5]]


def test_a_line_that_is_cut_comes_back_with_what_was_missed(binance: Binance) -> None:
    with listening(feed(binance)) as heard:
        heard.up()
        before = binance.trades(BTC, 3)
        heard.has(before)
        binance.cut()
        missed = [binance.trade(BTC) for _ in range(3)]
        heard.has(before + missed)
        after = binance.trades(BTC, 2)
        heard.has(before + missed + after)
        assert any("the line is down" in alert for alert in heard.alerts)


def test_repeats_and_disorder_and_a_hole_come_out_whole(binance: Binance) -> None:
    with listening(feed(binance)) as heard:
        heard.up()
        a, b, hole, c = (binance.trade(BTC, price=float(k + 1)) for k in range(4))
        binance.tell(b, b, a, b, c)
        heard.has([a, b, hole, c])
        heard.until(lambda: heard.counts["backfilled"] >= 1)


def test_half_a_message_is_made_good(binance: Binance) -> None:
    with listening(feed(binance)) as heard:
        heard.up()
        first = binance.trades(BTC)
        lost = binance.trade(BTC)
        binance.garble(lost)
        heard.has([*first, lost, *binance.trades(BTC)])


def test_a_silent_socket_is_torn_down(binance: Binance) -> None:
    with listening(feed(binance, silence_s=0.5)) as heard:
        heard.up()
        first = binance.trades(BTC)
        heard.has(first)
        binance.silent = True
        told = binance.trades(BTC, 2)
        heard.has(first + told)
        assert heard.counts["silent"] >= 1


def test_a_busy_server_is_asked_again_later(binance: Binance, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(feed(binance)) as heard:
        heard.up()
        first = binance.trades(BTC)
        heard.has(first)
        binance.busy = 1
        binance.cut()
        missed = binance.trade(BTC)
        heard.has([*first, missed])
        assert any("cannot be had now" in alert for alert in heard.alerts)


def test_many_trades_of_the_past_come_page_by_page(binance: Binance) -> None:
    one = feed(binance)
    one._load()  # noqa: SLF001 - as a line does before it asks
    begun_us = wall_ts_us() - 5_000_000
    happened = [binance.trade(BTC, ts_us=begun_us + k // 3 * 1_000) for k in range(2_500)]
    found = one.past(happened[0].event_ts_us, happened[-1].event_ts_us)
    assert {item.seq for item in found if isinstance(item, Trade)} == {item.number for item in happened}
    assert len(binance.requests) > 3


def test_a_clock_three_seconds_ahead_is_told(binance: Binance) -> None:
    binance.ahead_us = 3_000_000
    with listening(feed(binance)) as heard:
        heard.up()
        heard.has(binance.trades(BTC, 3))
        heard.until(lambda: any("s ahead of ours" in alert for alert in heard.alerts))


def test_an_unknown_symbol_is_the_users(binance: Binance) -> None:
    with listening(feed(binance, "AAPL")) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert "binance has no AAPL; give its own" in str(heard.error)


def test_an_exchange_that_does_not_serve_here_is_told_and_tried_again(binance: Binance) -> None:
    binance.refuses = "region"
    with listening(feed(binance)) as heard:
        heard.until(lambda: any("restricted location" in alert for alert in heard.alerts))
        binance.refuses = ""
        heard.up()


def test_an_exchange_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(SourceError, match="streams no exchange 'nyse'"):
        feeds("nyse", settings.load({}), ticks=True, headlines=False)
