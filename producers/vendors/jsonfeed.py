"""JSON Feeds as a live source of headlines: `jsonfeed:URL`, several separated by spaces.

By the specification, JSON Feed 1.1 (jsonfeed.org/version/1.1; 1.0 is read too). A document has a `version`, which begins with
https://jsonfeed.org/version/, and `items`, each with

* `id`: unique among the items of its feed, for ever; a number is taken as its text, an item without one must be discarded;
* `date_published`, else `date_modified`: RFC 3339, which has the zone. Both may be missing, and need not be what they should:
  then the story has the time at which it was seen;
* `title`, plain text, and missing in microblogs: then the beginning of `summary`, `content_text` or `content_html`;
* `url`, else `external_url`.

`expired` says that the feed has ended. Past ones cannot be asked for by time: `next_url`, older pages, is not followed.
`msgspec` reads it: a feed has no client of its own. How it is fetched, and when a story was, is `web.py`'s.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta

import msgspec

from producers.base import Story
from producers.vendors.base import Ear, Feed
from producers.vendors.web import WebFeed, addresses, plain
from streams.errors import Refused
from streams.settings import Settings

VERSION = "https://jsonfeed.org/version/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST = 280  # characters of what has no title


class Document(msgspec.Struct):
    """A feed, as far as it is needed. Its items are read one by one: a bad one spoils no other."""

    version: str = ""
    items: list[msgspec.Raw] = []
    expired: bool | None = None


class Item(msgspec.Struct):
    """One story, as far as it is needed; publishers write null for what they have not."""

    id: str | int | float | bool
    title: str | None = None
    summary: str | None = None
    content_text: str | None = None
    content_html: str | None = None
    url: str | None = None
    external_url: str | None = None
    date_published: str | None = None
    date_modified: str | None = None


class JsonFeed(WebFeed):
    """Looks at one JSON Feed again and again."""

    kind = "jsonfeed"

    def read(self, document: bytes, ear: Ear) -> None:
        """Tell the items that have words."""
        said = msgspec.json.decode(document, type=Document)
        if not said.version.startswith(VERSION):
            raise Refused(f"{self.told} is no JSON Feed: its version is {said.version!r}; is it the feed's address?")
        self.tell(ear, [story for raw in said.items if (story := self._story(raw, ear)) is not None])
        if said.expired:
            raise Refused(f"{self.told} says that it has ended, and nothing will come; take another feed")

    def _story(self, raw: msgspec.Raw, ear: Ear) -> Story | None:
        try:
            item = msgspec.json.decode(raw, type=Item)
        except msgspec.DecodeError as error:
            ear.garbled(f"{self.told}: {error}: {bytes(raw).decode(errors='replace')}")
            return None
        text, link = headline(item), item.url or item.external_url or ""
        return self.story(item.id, event_ts_us(item), text, link) if text else None


def headline(item: Item) -> str:
    """Return the title, or the beginning of what there is instead."""
    if title := " ".join((item.title or "").split()):
        return title
    return textwrap.shorten(item.summary or item.content_text or plain(item.content_html or ""), LONGEST, placeholder=" ...")


def event_ts_us(item: Item) -> int | None:
    """Return when it was published, or changed; None where that is not told, or without its zone.

    >>> event_ts_us(Item("1", date_published="2010-02-07T14:04:00.25-05:00"))
    1265569440250000
    """
    for said in (item.date_published, item.date_modified):
        try:
            when = datetime.fromisoformat(said or "")
        except ValueError:
            continue
        if when.tzinfo is not None:
            return (when - EPOCH) // timedelta(microseconds=1)
    return None


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return one feed for each address of `jsonfeed:URL URL`."""
    return [JsonFeed(url, settings.poll_s) for url in addresses(argument, "jsonfeed", "feed.json")]
