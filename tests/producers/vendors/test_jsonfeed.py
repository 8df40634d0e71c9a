"""JSON Feed, beside what `test_web.py` has of all feeds at an address."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from producers.vendors import web
from producers.vendors.catalog import open_live
from producers.vendors.jsonfeed import Item, event_ts_us, headline
from streams import settings
from streams.errors import SourceError
from tests.producers.vendors.listening import Listening, listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.wire import JsonWire, named


@pytest.fixture
def wire() -> Iterator[JsonWire]:
    server = JsonWire()
    server.has()
    with serving(server):
        yield server


def texts(heard: Listening) -> list[str]:
    return [story.text for story in heard.stories]


@pytest.mark.parametrize(
    ("told", "when"),
    [
        ({"date_published": "2010-02-07T14:04:00-05:00"}, "2010-02-07T19:04:00+00:00"),
        (
            {"date_published": "2010-02-07T19:04:00.123456Z", "date_modified": "2011-01-01T00:00Z"},
            "2010-02-07T19:04:00.123456+00:00",
        ),
        ({"date_published": None, "date_modified": "2010-02-07T19:04:00Z"}, "2010-02-07T19:04:00+00:00"),
        ({"date_published": "2010-02-07T19:04:00"}, None),  # in which zone?
        ({"date_published": "yesterday"}, None),
        ({}, None),
    ],
)
def test_a_time_is_exact_or_not_had(told: dict[str, str], when: str | None) -> None:
    exact = datetime.fromisoformat(when) if when else None
    since = exact and exact - datetime(1970, 1, 1, tzinfo=UTC)
    assert event_ts_us(Item("1", **told)) == (since and since // timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"title": " Apple\n rises ", "summary": "x"}, "Apple rises"),
        ({"title": "", "summary": "Apple rises", "content_text": "x"}, "Apple rises"),
        ({"content_text": "Apple " * 100}, "Apple " * 46 + "..."),
        ({"content_html": "<p>Apple &amp; <b>Tesla</b></p>"}, "Apple & Tesla"),
        ({}, ""),
    ],
)
def test_a_microblog_without_titles_is_told_by_its_first_words(told: dict[str, str], words: str) -> None:
    assert headline(Item("1", **told)) == words


def test_a_careless_item_spoils_no_other(wire: JsonWire) -> None:
    nulls = wire.item(8, "Tesla falls", external_url="http://127.0.0.1/x", url=None, date_published=None, _extension={"a": 1})
    wire.has({"title": "Apple without an id"}, wire.item(7, "Apple rises", id=7), "Apple", nulls, {"id": "9"})
    with listening(wire.feed(), intake=named()) as heard:
        heard.until(lambda: len(heard.stories) == 2 and heard.counts["garbled"] == 2)
        assert sorted(texts(heard)) == ["Apple rises", "Tesla falls"]
        assert {story.url for story in heard.stories} == {"http://127.0.0.1/7", "http://127.0.0.1/x"}


def test_a_line_that_is_cut_or_silent_loses_and_repeats_nothing(wire: JsonWire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.5)
    wire.has(wire.item(1, "Apple rises"))
    with listening(wire.feed(), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        wire.cut_at = 150
        wire.has(wire.item(2, "Tesla falls"), wire.item(1, "Apple rises"))
        heard.until(lambda: any("RemoteProtocolError" in alert for alert in heard.alerts))
        wire.silent, wire.cut_at = True, 0
        heard.until(lambda: any("ReadTimeout" in alert for alert in heard.alerts))
        wire.silent = False
        heard.until(lambda: len(heard.stories) == 2)
        wire.has(wire.item(1, "Apple rises"), wire.item(3, "Apple and Tesla merge"), wire.item(2, "Tesla falls"))
        heard.until(lambda: len(heard.stories) == 3)
        assert texts(heard) == ["Apple rises", "Tesla falls", "Apple and Tesla merge"]


@pytest.mark.parametrize("said", ['{"items": []}', '{"version": "1.1", "error": "none"}'])
def test_what_is_no_json_feed_ends_the_source_with_one_sentence(wire: JsonWire, said: str) -> None:
    wire.body = said
    with listening(wire.feed(), intake=named()) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert "is no JSON Feed" in str(heard.error)


def test_a_feed_that_has_ended_is_told_after_its_last_stories(wire: JsonWire) -> None:
    with listening(wire.feed(), intake=named()) as heard:
        heard.up()
        wire.has(wire.item(1, "Apple rises"), expired=True)
        heard.until(lambda: heard.stories and any("says that it has ended" in alert for alert in heard.alerts))


def test_each_address_is_a_line() -> None:
    live = open_live({"headlines": ("jsonfeed", "https://a.example/feed.json https://b.example/feed.json")}, settings.load({}))
    assert live.lines == ("jsonfeed:a.example", "jsonfeed:b.example")
