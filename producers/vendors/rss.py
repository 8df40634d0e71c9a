"""RSS and Atom feeds as a live source of headlines: `rss:URL`, several separated by spaces.

`feedparser` reads them (RSS 0.9 to 2.0, Atom 1.0, and what is nearly one of them), `httpx` fetches them, conditionally by ETag
and Last-Modified (RFC 9110, section 13), every TICKCAST_POLL_S seconds. A story is known by its guid or id, else by link
and title.

A story's time is when it was published; one that shows up later than ten minutes after that could not be known before, so it
has the time at which it was seen. What is older at the first look is left out.
"""

from __future__ import annotations

import calendar
import io
import re
import threading
import time
from collections.abc import Callable
from html import unescape
from typing import Any

import feedparser
import httpx

from producers.base import Story
from producers.vendors.base import Ear, Feed, Fresh, lost, seq_of
from streams.clock import SECOND_US, wall_ts_us
from streams.errors import LineLost, Refused, SourceError, Throttled
from streams.settings import Settings

TIMEOUT_S = 15.0
WHOLE_S = 60.0  # for all of a feed, however slowly it drips
MOST_BYTES = 8 * 1024 * 1024  # a feed is some hundred kilobytes
GONE = {401, 402, 403, 404, 410}
BUSY = {429, 503}


class RssFeed(Feed):
    """Looks at one feed again and again.

    Parameters
    ----------
    url : str
        Where it is.
    poll_s : float
        How long it waits between two looks.
    """

    trades = False

    def __init__(self, url: str, poll_s: float, clock: Callable[[], int] = wall_ts_us) -> None:
        address = httpx.URL(url)
        self.name = f"rss:{address.host}"
        self._url = url
        self._told = str(address.copy_with(userinfo=b"", query=None, fragment=None))  # the rest may be a secret
        self._poll_s = poll_s
        self._clock = clock
        self._stop = threading.Event()
        self._conditions: dict[str, str] = {}
        self._fresh = Fresh()

    def listen(self, ear: Ear) -> None:
        """Look, wait, and look again."""
        self._stop.clear()
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as client:
            self._look(client, ear)
            ear.up()
            while not self._stop.wait(self._poll_s):
                self._look(client, ear)

    def hang_up(self) -> None:
        """Stop looking."""
        self._stop.set()

    def _look(self, client: httpx.Client, ear: Ear) -> None:
        try:
            answer, content = self._fetched(client)
        except httpx.HTTPError as error:
            raise lost(error) from error
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            ear.hear()
            return
        said = feedparser.parse(io.BytesIO(content))  # bytes alone it would try as a file's name first
        if said.bozo and not isinstance(said.bozo_exception, feedparser.exceptions.CharacterEncodingOverride):
            ear.garbled(f"{self._told}: {said.bozo_exception}")  # perhaps half of it: the next look reads it whole
            return
        names = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
        self._conditions = {name: answer.headers[header] for name, header in names.items() if header in answer.headers}
        ear.hear(*self._new(said.entries))

    def _fetched(self, client: httpx.Client) -> tuple[httpx.Response, bytes]:
        """Return the answer and what is in it, which is neither endless nor endlessly slow."""
        until_s = time.monotonic() + WHOLE_S
        with client.stream("GET", self._url, headers=self._conditions) as answer:
            if answer.status_code == httpx.codes.NOT_MODIFIED:
                return answer, b""
            _check(answer, self._told)
            content = bytearray()
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise LineLost(f"{self._told} is larger than {MOST_BYTES} bytes: that is no feed")
                if self._stop.is_set() or time.monotonic() > until_s:
                    raise LineLost(f"{self._told} does not come to its end")
            return answer, bytes(content)

    def _new(self, entries: list[Any]) -> list[Story]:
        now_us = self._clock()
        return self._fresh.of([story for entry in entries if (story := self._story(entry, now_us)) is not None], now_us)

    def _story(self, entry: Any, now_us: int) -> Story | None:
        link, title = entry.get("link", ""), unescape(re.sub(r"<[^>]+>|\s+", " ", entry.get("title", ""))).strip()
        when = entry.get("published_parsed") or entry.get("updated_parsed")
        event_ts_us = min(calendar.timegm(when) * SECOND_US, now_us) if when else now_us
        identity = entry.get("id") or f"{link}\n{title}"
        return Story(event_ts_us, f"{self.name}:{seq_of(identity, self.name)}", (), title, link) if title else None


def _check(answer: httpx.Response, url: str) -> None:
    """Raise what an answer that is no feed means."""
    status = answer.status_code
    if status in BUSY:
        after = answer.headers.get("retry-after", "")
        raise Throttled(f"{url} answers {status}", float(after) if after.isdigit() else 0.0)
    if status in GONE:
        raise Refused(f"{url} answers {status}: the feed is not there, or not for you")
    if status != httpx.codes.OK:
        raise LineLost(f"{url} answers {status}")


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return one feed for each address of `rss:URL URL`."""
    urls = argument.split()
    if not urls or not all(url.startswith(("http://", "https://")) for url in urls):
        raise SourceError("rss needs an address, as in --headlines rss:https://example.org/feed.xml")
    try:
        return [RssFeed(url, settings.poll_s) for url in urls]
    except httpx.InvalidURL as error:
        raise SourceError(f"rss needs an address, and one of them is none: {error}") from error
