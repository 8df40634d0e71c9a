"""RSS and Atom, beside what `test_web.py` has of all feeds at an address."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from producers.intake import Intake
from producers.vendors import web as feeds
from producers.vendors.catalog import open_live
from producers.vendors.rss import RssFeed
from streams import settings
from streams.errors import SourceError
from tests.producers.vendors.listening import listening
from tests.producers.vendors.servers import serving
from tests.producers.vendors.wire import ATOM, RSS, RssWire, named


@pytest.fixture
def wire() -> Iterator[RssWire]:
    server = RssWire()
    with serving(server):
        yield server


def test_atom_is_read_too(wire: RssWire) -> None:
    when = datetime.now(UTC).isoformat()
    entry = f'<entry><title>Apple rises</title><link href="http://127.0.0.1/a"/><id>urn:1</id><updated>{when}</updated></entry>'
    wire.body = ATOM.format(entry)
    with listening(wire.feed("moved"), intake=named()) as heard:
        heard.until(lambda: heard.stories)
        assert (heard.stories[0].text, heard.stories[0].url) == ("Apple rises", "http://127.0.0.1/a")


def test_a_feed_that_is_not_there_ends_the_source_with_one_sentence(wire: RssWire) -> None:
    wire.status = 403
    with listening(wire.feed(), intake=named()) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert "answers 403: the feed is not there, or not for you" in str(heard.error)


def test_symbols_come_from_the_names_in_the_headline(wire: RssWire) -> None:
    wire.has(wire.item(1, "Apple and Tesla rise"), wire.item(2, "Wheat falls"))
    live = open_live({"headlines": ("rss", f"http://{wire.address}/feed")}, settings.load({}, poll_s="0.1", symbols="AAPL,TSLA"))
    intake = live._intake  # noqa: SLF001 - as the source has it
    assert isinstance(intake, Intake)
    with listening(wire.feed(), intake=intake) as heard:
        heard.until(lambda: heard.stories and heard.counts["stories of no symbol"])
        assert heard.stories[0].symbols == ("AAPL", "TSLA")


def test_an_answer_that_is_the_name_of_a_file_opens_no_file(wire: RssWire, tmp_path: Path) -> None:
    (tmp_path / "private.xml").write_text(RSS.format(wire.item(1, "Apple has a secret")))
    wire.body = str(tmp_path / "private.xml")
    with listening(wire.feed(), intake=named()) as heard:
        heard.until(lambda: heard.counts["garbled"])
        assert heard.stories == []


def test_an_endless_answer_is_given_up_before_it_fills_the_memory(wire: RssWire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MOST_BYTES", 200_000)
    with listening(wire.feed("endless")) as heard:
        heard.until(lambda: any("larger than 200000 bytes" in alert for alert in heard.alerts))
        assert wire.endless < 599


def test_the_secrets_of_an_address_are_told_nowhere(wire: RssWire) -> None:
    private = RssFeed(f"http://me:pw@{wire.address}/feed?key=secret", poll_s=0.1)
    wire.status = 403
    with listening(private) as heard:
        said = str(heard.failed())
    assert f"http://{wire.address}/feed answers 403" in said
    assert "pw" not in said and "secret" not in said
