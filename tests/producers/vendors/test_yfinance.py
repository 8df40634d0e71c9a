"""yfinance, unmodified, on a server that speaks Yahoo's protocols: by its option `url`, and a proxy with a test certificate."""

from __future__ import annotations

import base64
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import curl_cffi.requests
import pytest
import yfinance
from yfinance.data import YfData

from producers.base import Trade
from producers.intake import Intake
from producers.line import Line, Said
from producers.vendors.yfinance import News, Quotes, feeds, number, story
from streams import settings
from streams.errors import Refused, SourceError
from streams.settings import Settings
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.yahoo import Yahoo

# an article as yfinance's documentation prints Ticker.news
ARTICLE = {
    "id": "9803606d-a324-3864-83a8-2bd621e6ccbd",
    "content": {
        **{"contentType": "STORY", "title": "Apple raises its outlook", "pubDate": "2024-11-17T15:00:00Z"},
        "canonicalUrl": {"url": "https://finance.yahoo.com/news/apple-150000.html", "site": "finance", "region": "US"},
    },
}


@pytest.fixture
def yahoo(tmp_path: Path) -> Iterator[Yahoo]:
    server = Yahoo(tmp_path)
    with serving(server):
        yield server


@pytest.fixture
def proxied(yahoo: Yahoo, tmp_path: Path) -> Iterator[Yahoo]:
    """Yahoo behind its proxy; yfinance trusts the test's certificate by its option `session`."""
    yfinance.set_tz_cache_location(str(tmp_path))
    before = yfinance.config.debug.hide_exceptions
    session = curl_cffi.requests.Session(impersonate="chrome", verify=str(yahoo.authority))
    YfData(session=session)
    yield yahoo
    yfinance.config.network.proxy = None
    yfinance.config.debug.hide_exceptions = before
    session.close()


def config(yahoo: Yahoo, **changes: str) -> Settings:
    given = {"yfinance_url": f"ws://{yahoo.address}/?version=2", "yfinance_proxy": f"http://127.0.0.1:{yahoo.proxy_port}"}
    return settings.load({}, **(given | {"symbols": "AAPL", "stale_s": "60", "poll_s": "0.1"} | changes))


def feed(yahoo: Yahoo, **changes: str) -> Quotes:
    made = Quotes(config(yahoo, **changes))
    made.calendar = ""  # the market may be closed when the tests run
    return made


def test_the_documented_article_is_mapped_field_by_field() -> None:
    one = story("AAPL", ARTICLE)
    assert (one.event_ts_us, one.symbols, one.text) == (1_731_855_600_000_000, ("AAPL",), "Apple raises its outlook")
    assert (one.id, one.url) == (f"yfinance:{ARTICLE['id']}", "https://finance.yahoo.com/news/apple-150000.html")


def test_prices_come_once_with_what_was_traded_since_the_one_before(yahoo: Yahoo) -> None:
    with listening(feed(yahoo, symbols="AAPL,MSFT")) as heard:
        heard.up()
        happened = [yahoo.trade("AAPL", price=150.1, size=7), yahoo.trade("AAPL", price=150.25), yahoo.trade("MSFT", price=30.33)]
        yahoo.tell(happened[0], happened[0], happened[1], happened[2])
        heard.until(lambda: len(heard.trades) == 3 and heard.counts["repeats"] == 1)
        first, second, _ = heard.trades
        seq = number(happened[0].event_ts_us // 1_000, 150.1, happened[0].number * 10)
        assert first == Trade(happened[0].event_ts_us, "AAPL", 150.1, 7.0, seq, source="yfinance")
        assert (second.price, second.size) == (150.25, 10.0)
        assert sorted(yahoo.subscribed) == ["AAPL", "MSFT"]


def test_a_line_that_is_cut_or_falls_silent_comes_back(yahoo: Yahoo) -> None:
    with listening(feed(yahoo, stale_s="0.7")) as heard:
        heard.up()
        yahoo.trades("AAPL", 2)
        heard.until(lambda: len(heard.trades) == 2)
        yahoo.cut()
        heard.until(lambda: yahoo.connections == 2 and yahoo.sockets)
        yahoo.silent = True
        heard.until(lambda: yahoo.connections == 3 and yahoo.sockets)
        yahoo.silent = False
        yahoo.trades("AAPL")
        heard.until(lambda: len(heard.trades) == 3)
        assert any("the line is down" in alert for alert in heard.alerts)


@pytest.mark.parametrize("what", ["half", "no protobuf", "nothing"])
def test_what_cannot_be_read_ends_no_source(yahoo: Yahoo, what: str) -> None:
    with listening(feed(yahoo)) as heard:
        heard.up()
        if what == "half":
            yahoo.garble(yahoo.trade("AAPL"))
        else:
            bad = base64.b64encode(b"\xff\xff\xff" if what == "no protobuf" else b"").decode()
            yahoo.push(f'{{"type": "pricing", "message": "{bad}"}}')
        heard.until(lambda: heard.counts["garbled"] or heard.counts["lost"])
        heard.until(lambda: yahoo.sockets)
        yahoo.trades("AAPL")
        heard.until(lambda: heard.trades)


def test_where_the_socket_cannot_be_had_prices_are_polled(proxied: Yahoo) -> None:
    happened = proxied.trade("AAPL", price=150.5)
    with listening(feed(proxied, yfinance_url="ws://127.0.0.1:1/")) as heard:
        heard.until(lambda: heard.trades)
        (one,) = heard.trades
        assert (one.price, one.event_ts_us) == (150.5, happened.event_ts_us // 1_000_000 * 1_000_000)
        assert any("/v8/finance/chart/AAPL" in request for request in proxied.requests)


def test_an_unknown_symbol_is_told_when_it_is_polled(proxied: Yahoo) -> None:
    with listening(feed(proxied, yfinance_url="ws://127.0.0.1:1/", symbols="NO1")) as heard:
        heard.until(lambda: heard.error or any("NO1" in alert for alert in heard.alerts))


def test_a_price_that_is_missing_for_once_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        history_metadata: ClassVar[dict[str, object]] = {}

        def __init__(self, _symbol: str) -> None: ...

        def history(self, **_options: str) -> None: ...

    monkeypatch.setattr("yfinance.Ticker", Silent)
    quotes = Quotes(settings.load({}, symbols="AAPL"))
    said: queue.SimpleQueue[Said] = queue.SimpleQueue()
    line = Line(quotes, said)
    line.up()
    monkeypatch.setattr(quotes, "listen", quotes._poll)  # noqa: SLF001 - as after three vain attempts at the socket
    with pytest.raises(Refused):  # tenacity waits, and tries again
        line._listen()  # noqa: SLF001
    assert said.get().kind == "up"
    assert said.get().kind == "refused"


def test_news_are_polled_and_a_busy_yahoo_is_left_alone(proxied: Yahoo) -> None:
    proxied.busy = 3
    with listening(News(config(proxied)), intake=Intake(None, ["AAPL"])) as heard:
        heard.until(lambda: any("too many requests" in alert for alert in heard.alerts))
    proxied.busy = 0
    proxied.write("n1", "Apple raises its outlook for the year")
    with listening(News(config(proxied, symbols="AAPL,MSFT")), intake=Intake(None, ["AAPL", "MSFT"])) as heard:
        heard.until(lambda: heard.stories)
        asked = len(proxied.requests)
        heard.until(lambda: len(proxied.requests) > asked + 2)
        assert [(one.id, one.symbols) for one in heard.stories] == [("yfinance:n1", ("AAPL", "MSFT"))]


def test_it_takes_no_argument() -> None:
    with pytest.raises(SourceError, match="yfinance takes no argument"):
        feeds("AAPL", settings.load({}), ticks=True, headlines=True)
