"""A server of headlines that is slow, full, moved and cut in the middle, as RSS and as JSON Feed.

The documents follow the RSS 2.0 specification (rssboard.org/rss-specification, its sample), RFC 4287, section 1.1 (Atom), and
JSON Feed 1.1 (jsonfeed.org/version/1.1), its examples and what it asks of readers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

from producers.companies import Companies
from producers.intake import Intake
from producers.vendors.jsonfeed import JsonFeed
from producers.vendors.rss import RssFeed
from tests.producers.vendors.servers import Happened, Server

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


class RssWire(Wire):
    """Serves RSS."""

    name = "rss"

    def has(self, *items: Any) -> None:
        self.body = RSS.format("".join(items))

    @staticmethod
    def item(number: int, title: str, ago: timedelta = timedelta(0)) -> str:
        when = format_datetime(datetime.now(UTC) - ago)
        link = f"<link>http://127.0.0.1/{number}</link>"
        return f"<item><title>{escape(title)}</title>{link}<guid>g{number}</guid><pubDate>{when}</pubDate></item>"

    def feed(self, path: str = "feed") -> RssFeed:
        return RssFeed(f"http://{self.address}/{path}", poll_s=0.1)


class JsonWire(Wire):
    """Serves one JSON Feed."""

    name = "jsonfeed"
    content_type = "application/feed+json"

    def has(self, *items: Any, **more: object) -> None:
        self.body = json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "News", "items": items, **more})

    @staticmethod
    def item(number: int, title: str, ago: timedelta = timedelta(0), **more: object) -> dict[str, Any]:
        url, when = f"http://127.0.0.1/{number}", (datetime.now(UTC) - ago).isoformat()
        return {"id": str(number), "title": title, "url": url, "content_text": "...", "date_published": when, **more}

    def feed(self, path: str = "feed") -> JsonFeed:
        return JsonFeed(f"http://{self.address}/{path}", poll_s=0.1)


def named() -> Intake:
    return Intake(Companies(["AAPL", "TSLA"]))
