"""JSON Feed from a server that is busy, silent, moved, cut in the middle and careless.

The documents follow JSON Feed 1.1 (jsonfeed.org/version/1.1), its examples and what it asks of readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from producers.vendors import web
from producers.vendors.catalog import open_live
from producers.vendors.jsonfeed import Item, JsonFeed, event_ts_us, headline
from streams import settings
from streams.errors import SourceError
from tests.producers.vendors.listening import Listening, listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.test_rss import Wire, named


class Feeds(Wire):
    """Serves one JSON Feed."""

    content_type = "application/feed+json"

    def has(self, *items: object, **more: object) -> None:
        self.body = json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "News", "items": items, **more})


@pytest.fixture
def wire() -> Iterator[Feeds]:
    server = Feeds()
    server.has()
    with serving(server):
        yield server


def ago(**how: float) -> str:
    return (datetime.now(UTC) - timedelta(**how)).isoformat()


def item(number: int, title: str, **more: object) -> dict[str, object]:
    url = f"http://127.0.0.1/{number}"
    return {"id": str(number), "title": title, "url": url, "content_text": "...", "date_published": ago(seconds=0), **more}


def feed(wire: Wire, path: str = "feed") -> JsonFeed:
    return JsonFeed(f"http://{wire.address}/{path}", poll_s=0.1)


def texts(heard: Listening) -> list[str]:
    return [story.text for story in heard.stories]


def test_new_stories_come_once_old_ones_are_left_and_late_ones_have_the_time_when_they_were_seen(wire: Feeds) -> None:
    old = item(1, "Apple names chief", date_published=ago(hours=2))
    fresh = item(2, "Apple & Tesla <rise>", date_published=ago(minutes=1))
    wire.has(old, fresh)
    with listening(feed(wire, "moved"), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        wire.has(item(3, "Tesla falls", date_published=ago(hours=1)), old, fresh)
        heard.until(lambda: len(heard.stories) == 2)
        heard.until(lambda: wire.unmodified > 1)
        first, late = heard.stories
        assert (first.text, first.url, first.source) == ("Apple & Tesla <rise>", "http://127.0.0.1/2", "jsonfeed:127.0.0.1")
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        assert 59e6 < now_us - first.event_ts_us < 75e6
        assert now_us - late.event_ts_us < 10e6


@pytest.mark.parametrize(
    ("told", "when"),
    [
        ({"date_published": "2010-02-07T14:04:00-05:00"}, "2010-02-07T19:04:00+00:00"),
        ({"date_published": "2010-02-07T19:04:00.123456Z", "date_modified": ago(hours=1)}, "2010-02-07T19:04:00.123456+00:00"),
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


def test_a_careless_item_spoils_no_other(wire: Feeds) -> None:
    nulls = item(8, "Tesla falls", external_url="http://127.0.0.1/x", url=None, date_published=None, _extension={"a": 1})
    wire.has({"title": "Apple without an id"}, item(7, "Apple rises", id=7), "Apple", nulls, {"id": "9"})
    with listening(feed(wire), intake=named()) as heard:
        heard.until(lambda: len(heard.stories) == 2 and heard.counts["garbled"] == 2)
        assert sorted(texts(heard)) == ["Apple rises", "Tesla falls"]
        assert {story.url for story in heard.stories} == {"http://127.0.0.1/7", "http://127.0.0.1/x"}


def test_half_a_document_is_told_and_read_whole_the_next_time(wire: Feeds) -> None:
    with listening(feed(wire), intake=named()) as heard:
        heard.up()
        wire.has(item(1, "Apple quarterly profit rises"), item(2, "Tesla falls"))
        whole, wire.body = wire.body, wire.body[: wire.body.index("Tesla")]
        heard.until(lambda: heard.counts["garbled"])
        assert heard.stories == []
        wire.body = whole
        heard.until(lambda: len(heard.stories) == 2)


def test_a_line_that_is_cut_or_silent_loses_and_repeats_nothing(wire: Feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.5)
    wire.has(item(1, "Apple rises"))
    with listening(feed(wire), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        wire.cut_at = 150
        wire.has(item(2, "Tesla falls"), item(1, "Apple rises"))
        heard.until(lambda: any("RemoteProtocolError" in alert for alert in heard.alerts))
        wire.silent, wire.cut_at = True, 0
        heard.until(lambda: any("ReadTimeout" in alert for alert in heard.alerts))
        wire.silent = False
        heard.until(lambda: len(heard.stories) == 2)
        wire.has(item(1, "Apple rises"), item(3, "Apple and Tesla merge"), item(2, "Tesla falls"))
        heard.until(lambda: len(heard.stories) == 3)
        assert texts(heard) == ["Apple rises", "Tesla falls", "Apple and Tesla merge"]


def test_a_server_that_is_busy_or_broken_is_asked_again_when_it_wants(wire: Feeds) -> None:
    wire.busy = 1
    wire.has(item(1, "Apple rises"))
    with listening(feed(wire), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        assert any("answers 429" in alert for alert in heard.alerts)
        wire.status = 500
        heard.until(lambda: any("answers 500" in alert for alert in heard.alerts))
        wire.has(item(2, "Tesla falls"))
        wire.status = 200
        heard.until(lambda: len(heard.stories) == 2)


@pytest.mark.parametrize("said", ['{"items": []}', '{"version": "1.1", "error": "none"}'])
def test_what_is_no_json_feed_ends_the_source_with_one_sentence(wire: Feeds, said: str) -> None:
    wire.body = said
    with listening(feed(wire), intake=named()) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert "is no JSON Feed" in str(heard.error)


def test_a_feed_that_has_ended_is_told_after_its_last_stories(wire: Feeds) -> None:
    with listening(feed(wire), intake=named()) as heard:
        heard.up()
        wire.has(item(1, "Apple rises"), expired=True)
        heard.until(lambda: heard.stories and any("says that it has ended" in alert for alert in heard.alerts))


def test_two_feeds_of_one_host_may_count_their_items_alike(wire: Feeds) -> None:
    wire.has(item(1, "Apple rises"))
    one, other = feed(wire), feed(wire, "other")
    with listening(one, other, intake=named()) as heard:
        heard.up(2)
        heard.until(lambda: heard.counts["stories alike"])  # known by its words: by its id it is another's
        assert texts(heard) == ["Apple rises"]


@pytest.mark.parametrize("argument", ["", "feed.json", "ftp://example.org/feed", "http://x http://"])
def test_an_address_is_needed(argument: str) -> None:
    with pytest.raises(SourceError, match="jsonfeed needs an address"):
        open_live({"headlines": ("jsonfeed", argument)}, settings.load({}))


def test_each_address_is_a_line() -> None:
    live = open_live({"headlines": ("jsonfeed", "https://a.example/feed.json https://b.example/feed.json")}, settings.load({}))
    assert live.lines == ("jsonfeed:a.example", "jsonfeed:b.example")
