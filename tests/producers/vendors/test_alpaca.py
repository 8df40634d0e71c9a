"""alpaca-py, unmodified, on a server that speaks Alpaca's protocol and misbehaves; `test_trades.py` has what it shares."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from producers.base import Story, Trade
from producers.intake import Intake
from producers.vendors.alpaca import AlpacaNews, AlpacaTrades
from producers.vendors.alpaca_fields import hear, number, story, told_again
from streams import settings
from streams.errors import LineLost
from streams.settings import Settings
from tests.producers.vendors.alpaca_server import Alpaca
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.sources import KINDS

# docs.alpaca.markets, "Real-time Stock Data" and "Real-time News": the messages as they are printed there
TRADE = {
    "T": "t",
    "i": 96921,
    "S": "AAPL",
    "x": "D",
    "p": 126.55,
    "s": 1,
    "t": "2021-02-22T15:51:44.208Z",
    "c": ["@", "I"],
    "z": "C",
}
CORRECTION = {
    **{"T": "c", "S": "EEM", "x": "M", "oi": 52983525033527, "op": 39.1582, "os": 440000, "oc": [" ", "7"]},
    **{"ci": 52983525034326, "cp": 39.1809, "cs": 440000, "cc": [" ", "7"], "z": "B", "t": "2023-04-06T13:15:42.83540958Z"},
}
CANCEL = {"T": "x", "S": "GOOGL", "i": 465, "x": "D", "p": 105.31, "s": 300, "a": "C", "z": "C", "t": "2023-04-06T13:15:43.408Z"}
NEWS = {
    **{"T": "n", "id": 24918784, "headline": "Corsair Reports Purchase Of Majority Ownership In iDisplay, No Terms Disclosed"},
    **{"summary": "Corsair Gaming, Inc.", "author": "Benzinga Newsdesk", "created_at": "2022-01-05T22:00:37Z"},
    **{"updated_at": "2022-01-05T22:00:38Z", "url": "https://www.benzinga.com/m-a/22/01/24918784/corsair", "content": ""},
    **{"symbols": ["CRSR"], "source": "benzinga"},
}


class Ears:
    """Keeps what a feed says."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.wrong: list[object] = []

    def up(self) -> None: ...

    def hear(self, *events: Trade | Story) -> None:
        self.heard += events

    def garbled(self, what: object) -> None:
        self.wrong.append(what)


@pytest.fixture
def alpaca() -> Iterator[Alpaca]:
    server = Alpaca()
    with serving(server):
        yield server


def config(alpaca: Alpaca) -> Settings:
    return KINDS["alpaca"].settings(alpaca, settings.load({}, stale_s="60"))


def feed(alpaca: Alpaca) -> AlpacaTrades:
    made = AlpacaTrades(config(alpaca))
    made.calendar = ""  # the market may be closed when the tests run; what a silent line is then, test_live.py says
    return made


def test_the_documented_messages_are_mapped_field_by_field() -> None:
    ears = Ears()
    for message in (TRADE, CORRECTION, CANCEL, {"T": "t", "S": "AAPL"}):
        hear(ears, message)
    plain, correction, cancel = ears.heard
    assert plain == Trade(
        1_614_009_104_208_000, "AAPL", 126.55, 1.0, number(1_614_009_104_208_000, 96_921, "D"), "regular odd_lot"
    )
    assert (correction.price, correction.size, correction.excluded) == (
        39.1809,
        440_000,
        f"corrects {number(correction.event_ts_us, 52983525033527, 'M')}",
    )
    assert (correction.event_ts_us, correction.seq) == (
        1_680_786_942_835_409,
        number(correction.event_ts_us, 52983525034326, "M"),
    )
    assert (cancel.symbol, cancel.price, cancel.excluded) == ("GOOGL", 105.31, f"cancels {number(cancel.event_ts_us, 465, 'D')}")
    assert len(ears.wrong) == 1


def test_the_documented_news_is_mapped_field_by_field() -> None:
    assert story(NEWS) == Story(1_641_420_037_000_000, "alpaca:24918784", ("CRSR",), NEWS["headline"], NEWS["url"])  # type: ignore[arg-type]
    as_msgpack = NEWS | {"created_at": msgpack.Timestamp(1_641_420_037, 5_000)}
    assert story(as_msgpack).event_ts_us == 1_641_420_037_000_005


def test_what_is_void_when_it_is_told_of_makes_no_bar() -> None:
    one = {"i": 7, "x": "V", "p": 1.5, "s": 2, "t": "2021-02-06T13:04:56.334320128Z", "c": []}
    seq = number(1_612_616_696_334_320, 7, "V")
    assert [event.excluded for event in told_again("A", one | {"u": "canceled"})] == [f"cancels {seq}", f"cancels {seq}"]
    assert [event.excluded for event in told_again("A", one | {"u": "incorrect"})] == [f"corrects {seq}"]
    assert [event.excluded for event in told_again("A", one | {"u": "corrected"})] == ["corrects"]
    assert [(event.excluded, event.event_ts_us) for event in told_again("A", one)] == [("", 1_612_616_696_334_320)]


def test_half_a_message_is_asked_for(alpaca: Alpaca) -> None:
    with listening(feed(alpaca)) as heard:
        heard.up()
        first = alpaca.trades("AAPL")
        lost = alpaca.trade("AAPL")
        alpaca.garble(lost)
        heard.has([*first, lost])
        assert heard.counts["connected"] == 1


def test_corrections_and_cancels_are_told_once_whichever_way_they_come(alpaca: Alpaca) -> None:
    with listening(feed(alpaca), reconcile_us=500_000) as heard:
        heard.up()
        first, second = alpaca.trades("AAPL", 2)
        heard.has([first, second])
        alpaca.amend("cancel", first)
        alpaca.amend("correct", second)
        heard.until(lambda: len([one for one in heard.trades if one.excluded]) == 2)
        asked = len(alpaca.requests)
        heard.until(lambda: len(alpaca.requests) > asked + 1)
        heard.has([first, second])
        assert len(heard.trades) == 4
        assert {one.excluded for one in heard.trades} == {
            "",
            f"cancels {number(first.event_ts_us, first.number, 'V')}",
            f"corrects {number(second.event_ts_us, second.number, 'V')}",
        }


def test_the_past_comes_page_by_page(alpaca: Alpaca) -> None:
    happened = [alpaca.trade("AAPL") for _ in range(1_200)]
    found = feed(alpaca).past(happened[0].event_ts_us, happened[-1].event_ts_us + 1_000)
    assert {item.seq for item in found if isinstance(item, Trade)} == {
        number(item.event_ts_us, item.number, "V") for item in happened
    }


def test_a_second_connection_waits_until_the_first_is_gone(alpaca: Alpaca) -> None:
    alpaca.refuses = "connection"
    with listening(feed(alpaca)) as heard:
        heard.until(lambda: any("another is open" in alert for alert in heard.alerts))


def test_news_come_with_their_tags_and_those_missed_are_asked_for(alpaca: Alpaca) -> None:
    with listening(AlpacaNews(config(alpaca)), intake=Intake(None, ["AAPL", "MSFT"])) as heard:
        heard.up()
        alpaca.write(1, "Apple raises its outlook for the year", "AAPL", "QQQ")
        alpaca.write(2, "Wheat falls", "WEAT")
        heard.until(lambda: heard.stories)
        alpaca.write(3, "Microsoft cuts its dividend by a third", "MSFT", tell=False)
        asked = [socket for socket in alpaca.readers]
        alpaca.sockets |= set(asked)
        alpaca.cut()
        heard.until(lambda: len(heard.stories) == 2)
        assert [(one.symbols, one.url) for one in heard.stories] == [
            (("AAPL",), "http://127.0.0.1/1"),
            (("MSFT",), "http://127.0.0.1/3"),
        ]
        heard.until(lambda: heard.counts["stories of no symbol"] == 1)


@pytest.mark.timeout(20)
def test_a_server_that_takes_a_question_and_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.vendors.alpaca.ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"127.0.0.1:{deaf.getsockname()[1]}"
        own = settings.load({}, alpaca_key="key", alpaca_secret="secret", alpaca_url=url, symbols="AAPL")
        for feed in (AlpacaTrades(own), AlpacaNews(own)):
            with pytest.raises(LineLost, match="timed out"):
                feed.past(0, 1_000_000)
