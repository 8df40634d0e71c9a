"""What feeds at an address share, RSS and JSON Feed alike: each headline once, however the server behaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from producers.vendors.catalog import open_live
from streams import settings
from streams.errors import SourceError
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.wire import JsonWire, RssWire, named

AnyWire = RssWire | JsonWire


@pytest.fixture(params=[RssWire, JsonWire], ids=lambda kind: kind.name)
def wire(request: pytest.FixtureRequest) -> Iterator[AnyWire]:
    server: AnyWire = request.param()
    server.has()
    with serving(server):
        yield server


def test_new_stories_come_once_old_ones_are_left_and_late_ones_have_the_time_when_they_were_seen(wire: AnyWire) -> None:
    old = wire.item(1, "Apple names chief", timedelta(hours=2))
    fresh = wire.item(2, "Apple &amp; Tesla rise" if wire.name == "rss" else "Apple & Tesla rise", timedelta(minutes=1))
    wire.has(old, fresh)
    with listening(wire.feed("moved"), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        wire.has(wire.item(3, "Tesla falls", timedelta(hours=1)), old, fresh)
        heard.until(lambda: len(heard.stories) == 2)
        heard.until(lambda: wire.unmodified > 1)
        first, late = heard.stories
        assert (first.text, first.url, first.source) == ("Apple & Tesla rise", "http://127.0.0.1/2", f"{wire.name}:127.0.0.1")
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        assert 59e6 < now_us - first.event_ts_us < 75e6
        assert now_us - late.event_ts_us < 10e6


def test_half_a_document_is_told_and_read_whole_the_next_time(wire: AnyWire) -> None:
    with listening(wire.feed(), intake=named()) as heard:
        heard.up()
        wire.has(wire.item(1, "Apple quarterly profit rises"))
        whole, wire.body = wire.body, wire.body[: wire.body.index("quarterly") + 4]
        heard.until(lambda: heard.counts["garbled"])
        assert heard.stories == []
        wire.body = whole
        heard.until(lambda: heard.stories)
        assert heard.stories[0].text == "Apple quarterly profit rises"


def test_a_server_that_is_busy_or_broken_is_asked_again_when_it_wants(wire: AnyWire) -> None:
    wire.busy = 1
    wire.has(wire.item(1, "Apple rises"))
    with listening(wire.feed(), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        assert any("answers 429" in alert for alert in heard.alerts)
        wire.status, wire.retry_after = 503, format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
        heard.until(lambda: any("answers 503" in alert for alert in heard.alerts))
        asked = len(wire.requests)
        wire.status = 200
        time.sleep(1.2)  # twice what it would wait by itself
        assert len(wire.requests) == asked
        wire.status, wire.body = 500, "no"
        heard.until(lambda: any("answers 500" in alert for alert in heard.alerts))
        wire.has(wire.item(2, "Tesla falls"))
        wire.status = 200
        heard.until(lambda: len(heard.stories) == 2)


def test_two_feeds_of_one_host_may_count_their_stories_alike(wire: AnyWire) -> None:
    wire.has(wire.item(1, "Apple rises"))
    with listening(wire.feed(), wire.feed("other"), intake=named()) as heard:
        heard.up(2)
        heard.until(lambda: heard.counts["stories alike"])  # known by its words: by its id it is another's
        assert [story.text for story in heard.stories] == ["Apple rises"]


@pytest.mark.parametrize("name", ["rss", "jsonfeed"])
@pytest.mark.parametrize(
    "argument",
    ["", "feed.xml", "ftp://example.org/feed", "http://", "http://a:port/feed", "http://[::x]/feed", "http://x http://"],
)
def test_an_address_is_needed(name: str, argument: str) -> None:
    with pytest.raises(SourceError, match=f"{name} needs an address"):
        open_live({"headlines": (name, argument)}, settings.load({}))
