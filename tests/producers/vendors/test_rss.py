"""RSS and Atom from a server that is slow, full, moved and cut in the middle.

The documents follow the RSS 2.0 specification (rssboard.org/rss-specification, its sample) and RFC 4287, section 1.1 (Atom).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from producers.companies import Companies
from producers.intake import Intake
from producers.vendors import web as feeds
from producers.vendors.catalog import open_live
from producers.vendors.rss import RssFeed
from streams import settings
from streams.errors import SourceError
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import Happened, Server, serving

RSS = '<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{}</channel></rss>'
ATOM = '<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>News</title>{}</feed>'


class Wire(Server):
    """Serves one feed at /feed, the same at /other, and leads there from /moved.

    Attributes
    ----------
    status : int
        What it answers with.
    cut_at : int
        After how many bytes the line breaks; 0: not.
    retry_after : str
        What it says with any other status than 200.
    unmodified : int
        How often it had nothing new.
    """

    content_type = "application/xml"

    def __init__(self) -> None:
        super().__init__()
        self.body = RSS.format("")
        self.status = 200
        self.cut_at = 0
        self.retry_after = ""
        self.unmodified = 0
        self.endless = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/feed", self._feed),
            web.get("/other", self._feed),
            web.get("/moved", self._moved),
            web.get("/endless", self._endless),
        ]

    def frames(self, trades: Sequence[Happened]) -> list[str | bytes]:
        return []

    async def greet(self, socket: web.WebSocketResponse) -> None: ...

    async def heard(self, socket: web.WebSocketResponse, data: str | bytes) -> None: ...

    async def _moved(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/feed")

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for number in range(600):
            self.endless = number
            await answer.write(b" " * 65_536)
        return answer

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        if (busy := self.too_busy(request)) is not None:
            return busy
        while self.silent:
            await asyncio.sleep(0.05)
        if self.cut_at:
            return await self._half(request)
        tag = f'"{hash(self.body)}"'
        if self.status == 200 and request.headers.get("If-None-Match") == tag:
            self.unmodified += 1
            return web.Response(status=304)
        headers = {"ETag": tag} if self.status == 200 else {"Retry-After": self.retry_after}
        return web.Response(text=self.body, status=self.status, content_type=self.content_type, headers=headers)

    async def _half(self, request: web.Request) -> web.StreamResponse:
        """Say how long the document is, and break the line in the middle of it."""
        document = self.body.encode()
        half = web.StreamResponse(headers={"Content-Length": str(len(document))})
        await half.prepare(request)
        await half.write(document[: self.cut_at])
        if request.transport is not None:
            request.transport.close()
        return half


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    with serving(server):
        yield server


def item(number: int, title: str, ago: timedelta = timedelta(0)) -> str:
    when = format_datetime(datetime.now(UTC) - ago)
    link = f"<link>http://127.0.0.1/{number}</link>"
    return f"<item><title>{escape(title)}</title>{link}<guid>g{number}</guid><pubDate>{when}</pubDate></item>"


def named() -> Intake:
    return Intake(Companies(["AAPL", "TSLA"]))


def feed(wire: Wire, path: str = "feed") -> RssFeed:
    return RssFeed(f"http://{wire.address}/{path}", poll_s=0.1)


def test_new_stories_come_once_old_ones_are_left_and_late_ones_have_the_time_when_they_were_seen(wire: Wire) -> None:
    old, fresh = item(1, "Apple names chief", timedelta(hours=2)), item(2, "Apple &amp; Tesla rise", timedelta(minutes=1))
    wire.body = RSS.format(old + fresh)
    with listening(feed(wire), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        wire.body = RSS.format(item(3, "Tesla falls", timedelta(hours=1)) + old + fresh)
        heard.until(lambda: len(heard.stories) == 2)
        heard.until(lambda: wire.unmodified > 1)
        first, late = heard.stories
        assert (first.text, first.url, first.source) == ("Apple & Tesla rise", "http://127.0.0.1/2", "rss:127.0.0.1")
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        assert 59e6 < now_us - first.event_ts_us < 75e6
        assert now_us - late.event_ts_us < 10e6


def test_atom_is_read_too(wire: Wire) -> None:
    when = datetime.now(UTC).isoformat()
    entry = f'<entry><title>Apple rises</title><link href="http://127.0.0.1/a"/><id>urn:1</id><updated>{when}</updated></entry>'
    wire.body = ATOM.format(entry)
    with listening(feed(wire, "moved"), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        assert (heard.stories[0].text, heard.stories[0].url) == ("Apple rises", "http://127.0.0.1/a")


def test_half_a_document_is_told_and_read_whole_the_next_time(wire: Wire) -> None:
    whole = RSS.format(item(1, "Apple quarterly profit rises"))
    with listening(feed(wire), intake=named()) as heard:
        heard.up()
        wire.body = whole[: whole.index("quarterly") + 4]
        heard.until(lambda: heard.counts["garbled"])
        assert heard.stories == []
        wire.body = whole
        heard.until(lambda: heard.stories)
        assert heard.stories[0].text == "Apple quarterly profit rises"


def test_a_server_that_is_busy_or_broken_is_asked_again_when_it_wants(wire: Wire) -> None:
    wire.busy = 1
    wire.body = RSS.format(item(1, "Apple rises"))
    with listening(feed(wire), intake=named()) as heard:
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
        wire.status, wire.body = 200, RSS.format(item(2, "Tesla falls"))
        heard.until(lambda: len(heard.stories) == 2)


def test_a_feed_that_is_not_there_ends_the_source_with_one_sentence(wire: Wire) -> None:
    wire.status = 403
    with listening(feed(wire), intake=named()) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert "answers 403: the feed is not there, or not for you" in str(heard.error)


def test_symbols_come_from_the_names_in_the_headline(wire: Wire) -> None:
    wire.body = RSS.format(item(1, "Apple and Tesla rise") + item(2, "Wheat falls"))
    live = open_live({"headlines": ("rss", f"http://{wire.address}/feed")}, settings.load({}, poll_s="0.1", symbols="AAPL,TSLA"))
    intake = live._intake  # noqa: SLF001 - as the source has it
    assert isinstance(intake, Intake)
    with listening(feed(wire), intake=intake) as heard:
        heard.until(lambda: heard.stories and heard.counts["stories of no symbol"])
        assert heard.stories[0].symbols == ("AAPL", "TSLA")


def test_two_feeds_of_one_host_may_count_their_stories_alike(wire: Wire) -> None:
    wire.body = RSS.format(item(1, "Apple rises"))
    with listening(feed(wire), feed(wire, "other"), intake=named()) as heard:
        heard.up(2)
        heard.until(
            lambda: heard.stories and heard.counts["stories alike"]
        )  # the same words: it is not by its guid that it is known
        assert len(heard.stories) == 1


@pytest.mark.parametrize(
    "argument", ["", "feed.xml", "ftp://example.org/feed", "http://", "http://a:port/feed", "http://[::x]/feed"]
)
def test_an_address_is_needed(argument: str) -> None:
    with pytest.raises(SourceError, match="rss needs an address"):
        open_live({"headlines": ("rss", argument)}, settings.load({}))


def test_an_answer_that_is_the_name_of_a_file_opens_no_file(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "private.xml").write_text(RSS.format(item(1, "Apple has a secret")))
    wire.body = str(tmp_path / "private.xml")
    with listening(feed(wire), intake=named()) as heard:
        heard.until(lambda: heard.counts["garbled"])
        assert heard.stories == []


def test_an_endless_answer_is_given_up_before_it_fills_the_memory(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MOST_BYTES", 200_000)
    with listening(feed(wire, "endless")) as heard:
        heard.until(lambda: any("larger than 200000 bytes" in alert for alert in heard.alerts))
        assert wire.endless < 599


def test_the_secrets_of_an_address_are_told_nowhere(wire: Wire) -> None:
    private = RssFeed(f"http://me:pw@{wire.address}/feed?key=secret", poll_s=0.1)
    wire.status = 403
    with listening(private) as heard:
        said = str(heard.failed())
    assert f"http://{wire.address}/feed answers 403" in said
    assert "pw" not in said and "secret" not in said
