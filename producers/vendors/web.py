"""What feeds of headlines at an address have in common: one document, looked at again and again (`rss.py`, `jsonfeed.py`).

`httpx` fetches it, conditionally by ETag and Last-Modified (RFC 9110, section 13), every TICKCAST_POLL_S seconds.

A story's time is when it was published; one that shows up later than ten minutes after that could not be known before, so it
has the time at which it was seen. What is older at the first look is left out.
"""

from __future__ import annotations

import re
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape

import httpx

from producers.base import Story
from producers.vendors.base import Ear, Feed, Fresh, lost, seq_of
from streams.clock import wall_ts_us
from streams.errors import LineLost, Refused, SourceError, Throttled

TIMEOUT_S = 15.0
WHOLE_S = 60.0  # for all of a feed, however slowly it drips
MOST_BYTES = 8 * 1024 * 1024  # a feed is some hundred kilobytes
GONE = {401, 402, 403, 404, 410}
BUSY = {429, 503}


class WebFeed(Feed):
    """Looks at one document again and again: write :meth:`read`, and give it a `kind`.

    Parameters
    ----------
    url : str
        Where it is.
    poll_s : float
        How long it waits between two looks.

    Attributes
    ----------
    kind : str
        The source's name in the catalogue.
    """

    trades = False
    kind: str

    def __init__(self, url: str, poll_s: float, clock: Callable[[], int] = wall_ts_us) -> None:
        self.name = f"{self.kind}:{httpx.URL(url).host}"
        self.url = url
        self.told = str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))  # the rest may be a secret
        self._poll_s = poll_s
        self._clock = clock
        self._stop = threading.Event()
        self._conditions: dict[str, str] = {}
        self._fresh = Fresh()

    @abstractmethod
    def read(self, document: bytes, ear: Ear) -> None:
        """Read the document, and :meth:`tell` its stories.

        Raises
        ------
        ValueError
            It cannot be read; perhaps it is half of it, and the next look reads it whole.
        """

    def tell(self, ear: Ear, listed: Sequence[Story]) -> None:
        """Say which of the stories that the document lists are new."""
        ear.hear(*self._fresh.of(listed, self._clock()))

    def story(self, identity: object, event_ts_us: int | None, text: str, link: str) -> Story:
        """Return a story. Its publisher's `identity` is one among those of its document only."""
        now_us = self._clock()
        at_us = now_us if event_ts_us is None else min(event_ts_us, now_us)
        return Story(at_us, f"{self.name}:{seq_of(identity, self.url)}", (), text, link)

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
            answer, document = self._fetched(client)
        except httpx.HTTPError as error:
            raise lost(error) from error
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            ear.hear()
            return
        try:
            self.read(document, ear)
        except ValueError as error:
            ear.garbled(f"{self.told}: {error}")
            return
        names = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
        self._conditions = {name: answer.headers[header] for name, header in names.items() if header in answer.headers}

    def _fetched(self, client: httpx.Client) -> tuple[httpx.Response, bytes]:
        """Return the answer and what is in it, which is neither endless nor endlessly slow."""
        until_s = time.monotonic() + WHOLE_S
        with client.stream("GET", self.url, headers=self._conditions) as answer:
            if answer.status_code == httpx.codes.NOT_MODIFIED:
                return answer, b""
            _check(answer, self.told)
            content = bytearray()
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise LineLost(f"{self.told} is larger than {MOST_BYTES} bytes: that is no feed")
                if self._stop.is_set() or time.monotonic() > until_s:
                    raise LineLost(f"{self.told} does not come to its end")
            return answer, bytes(content)


def plain(html: str) -> str:
    """Return the words of a piece of HTML.

    >>> plain("Apple <b>&amp;</b> Tesla")
    'Apple & Tesla'
    """
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def addresses(argument: str, kind: str, example: str) -> list[str]:
    """Return the addresses of `KIND:URL URL`.

    Raises
    ------
    SourceError
        There is none, or one is no address.
    """
    urls = argument.split()
    if not urls or not all(map(_is_address, urls)):
        raise SourceError(f"{kind} needs an address, as in --headlines {kind}:https://example.org/{example}")
    return urls


def _is_address(url: str) -> bool:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parts.scheme in ("http", "https") and bool(parts.host)


def _check(answer: httpx.Response, url: str) -> None:
    """Raise what an answer that is no feed means."""
    status = answer.status_code
    if status in BUSY:
        raise Throttled(f"{url} answers {status}", _after_s(answer.headers.get("retry-after", "")))
    if status in GONE:
        raise Refused(f"{url} answers {status}: the feed is not there, or not for you")
    if status != httpx.codes.OK:
        raise LineLost(f"{url} answers {status}")


def _after_s(said: str) -> float:
    """Return what a Retry-After says: seconds, or a date (RFC 9110, section 10.2.3); 0 where it cannot be read."""
    if said.isascii() and said.isdigit():
        return float(said)
    try:  # a date without its zone is none
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
