"""RSS and Atom feeds as a live source of headlines: `rss:URL`, several separated by spaces.

`feedparser` reads them (RSS 0.9 to 2.0, Atom 1.0, and what is nearly one of them). A story is known by its guid or id, else by
link and title. How they are fetched, and when a story was, is `web.py`'s.
"""

from __future__ import annotations

import calendar
import io
from typing import Any

import feedparser

from producers.base import Story
from producers.vendors.base import Ear, Feed
from producers.vendors.web import WebFeed, addresses, plain
from streams.clock import SECOND_US
from streams.settings import Settings


class RssFeed(WebFeed):
    """Looks at one RSS or Atom feed again and again."""

    kind = "rss"

    def read(self, document: bytes, ear: Ear) -> None:
        """Tell the entries that have a title."""
        said = feedparser.parse(io.BytesIO(document))  # bytes alone it would try as a file's name first
        if said.bozo and not isinstance(said.bozo_exception, feedparser.exceptions.CharacterEncodingOverride):
            raise ValueError(said.bozo_exception)
        self.tell(ear, [story for entry in said.entries if (story := self._story(entry)) is not None])

    def _story(self, entry: Any) -> Story | None:
        link, title = entry.get("link", ""), plain(entry.get("title", ""))
        when = entry.get("published_parsed") or entry.get("updated_parsed")
        event_ts_us = calendar.timegm(when) * SECOND_US if when else None
        return self.story(entry.get("id") or f"{link}\n{title}", event_ts_us, title, link) if title else None


def feeds(argument: str, settings: Settings, *, ticks: bool, headlines: bool) -> list[Feed]:
    """Return one feed for each address of `rss:URL URL`."""
    return [RssFeed(url, settings.poll_s) for url in addresses(argument, "rss", "feed.xml")]
