"""What a person sees while a line is cut, from browser to console or from console to broker, and when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.local import broker as local_broker
from deploy.local.broker import free_port
from deploy.local.proxy import Proxy
from deploy.verify.faults import properties
from streams import bus, settings
from streams.messages import Message
from streams.settings import Settings
from streams.testing import eventually
from tests.consumers.console.conftest import Console, Produce, serving
from tests.consumers.console.samples import bar, sent
from tests.consumers.console.test_page import CHROMIUM, browser, market, page

__all__ = ["browser", "page"]  # fixtures
OUTAGE_S = 60.0
LATE_MS = 40_000  # what is silent is told after 5 and 10 s; a busy machine

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`"),
]


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """Return a page that may complain of what is refused."""
    opened = browser.new_page()
    yield opened
    opened.close()


def test_a_browser_whose_line_is_cut_says_so_and_then_has_what_it_missed(console: Console, produce: Produce, plain: Page) -> None:
    produce(*market("AAPL", 30))
    banner, price = plain.locator("#banner"), plain.locator("#price")
    with console() as address:
        port = int(address.rpartition(":")[2])
        with closing(Proxy(port, free_port())) as line:
            plain.goto(f"http://127.0.0.1:{line.port}/")
            expect(price).to_have_text(f"{bar(29).close:.2f}")
            with blocked(line):
                expect(banner).to_contain_text("Connection to the console lost", timeout=LATE_MS)
                produce(bar(30, 612.34))
            expect(price).to_have_text("612.34", timeout=LATE_MS)
            expect(banner).to_be_hidden()
        expect(banner).to_contain_text("Connection to the console lost")
        produce(bar(31, 613.57))
        with closing(Proxy(port, line.port)):
            expect(price).to_have_text("613.57", timeout=LATE_MS)
            expect(banner).to_be_hidden()


@pytest.fixture
def cut_off(tmp_path: Path) -> Iterator[tuple[Settings, Settings, Proxy]]:
    """Return settings of a broker, the same as found behind a line that can be cut, and the line."""
    door, way = free_port(), free_port()
    further = properties({"console": door}, {"console": way})
    with (
        local_broker.running(settings.load({}), tmp_path / "broker", further) as running,
        closing(Proxy(door, way)) as line,
    ):
        own = msgspec.structs.replace(settings.load({}), home=tmp_path / "home", broker=running.address)
        bus.ensure_topics(own)
        yield own, msgspec.structs.replace(own, broker=f"127.0.0.1:{way}"), line


def test_a_minute_without_the_broker_is_told_and_what_came_meanwhile_is_shown_behind_it(
    cut_off: tuple[Settings, Settings, Proxy], page: Page
) -> None:
    own, behind, line = cut_off
    send(own, *market("AAPL", 30))
    with serving(behind) as address:
        page.goto(address)
        expect(page.locator("#price")).to_have_text(f"{bar(29).close:.2f}")
        eventually(lambda: state_of_console(address) == "ready")  # while it starts nobody wonders at its silence
        with blocked(line):
            cut_s = time.monotonic()
            expect(page.locator("#banner")).to_contain_text("The broker does not answer", timeout=LATE_MS)
            send(own, bar(30, 612.34))
            eventually(lambda: time.monotonic() > cut_s + OUTAGE_S, 2 * OUTAGE_S)
            expect(page.locator("#banner")).to_contain_text("The broker does not answer")
        expect(page.locator("#price")).to_have_text("612.34", timeout=LATE_MS)
        expect(page.locator("#banner")).to_be_hidden(timeout=LATE_MS)
        page.goto("about:blank")


@contextmanager
def blocked(line: Proxy) -> Iterator[None]:
    line.block()
    try:
        yield
    finally:
        line.unblock()


def state_of_console(address: str) -> str | None:
    """Return what the console said of itself, once that has come back by the topics."""
    known = {role["role"]: role["state"] for role in httpx.get(f"{address}/v1/health").json()["health"]["roles"]}
    return known.get("console")


def send(own: Settings, *messages: Message) -> None:
    with bus.producing(own) as client:
        bus.send_all(client, own, [sent(message) for message in messages])
