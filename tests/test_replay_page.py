"""The market day of 2012 through the whole pipeline, watched and steered in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest
from playwright.sync_api import Page, expect

from deploy.local.broker import free_port
from streams.settings import Secret, Settings
from streams.testing import eventually
from tests.consumers.console.test_page import ARTIFACTS, CHROMIUM, browser, page
from tests.deploy.test_control import replaying

__all__ = ["browser", "page"]  # fixtures
TWO_PM_S = 1_340_287_200  # 2012-06-21 14:00 UTC, half an hour after the opening

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`"),
]


@pytest.fixture
def day(config: Settings, shared_data: Path, tmp_path: Path) -> Iterator[str]:
    """Run `tickcast replay` of that day at 60 times its speed, with a page; yield the page's address."""
    own = msgspec.structs.replace(config, topic_prefix="", sentiment="minilm", console_token=Secret("secret"))
    port = free_port()
    options = ("--speed", "60", "--page", "--port", str(port), "--stay")
    with replaying(own, tmp_path / "log", str(shared_data / "tape-2012-06-21"), *options) as process:
        address = f"http://127.0.0.1:{port}/"
        eventually(lambda: process.poll() is not None or answers(address), 180)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield address
        assert process.wait(60) == 1, "a replay that is stopped on its way has no result"


def answers(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{address}readyz").status_code == 200
    return False


def test_the_day_of_2012_is_watched_held_sought_and_stopped(day: str, page: Page) -> None:
    page.goto(f"{day}#token=secret")
    expect(page.locator("#mode")).to_have_text("REPLAY", timeout=240_000)
    expect(page.locator("#source")).to_contain_text("replay:2012-06-21")
    expect(page.locator("#price")).to_have_text(re.compile(r"\d{3}\.\d\d"), timeout=60_000)
    page.get_by_role("link", name="Replay", exact=True).click()
    expect(page.locator("#replay-volume rect")).to_have_count(120)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#course")).to_have_text("held")
    set_it = "(one, at) => { one.value = at; for (const name of ['input', 'change']) one.dispatchEvent(new Event(name)); }"
    page.locator("#replay-slider").evaluate(set_it, TWO_PM_S)
    expect(page.locator("#replay-at")).to_have_text(re.compile("2012-06-21 13:59:5"), timeout=60_000)
    expect(page.locator("#course")).to_have_text("held")
    page.screenshot(path=ARTIFACTS / "replay-2012.png")
    page.get_by_role("link", name="Market", exact=True).click()
    expect(page.locator("#ohlc")).to_have_text(re.compile("^13:59 UTC"), timeout=60_000)
    expect(page.locator("#news li").first).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator("#past-words")).to_contain_text("closes inside 80 %", timeout=30_000)
    page.screenshot(path=ARTIFACTS / "replay-2012-market.png")
    page.get_by_role("link", name="Replay", exact=True).click()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#replay-at")).to_have_text(re.compile("2012-06-21 14:0[1-9]"), timeout=60_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#confirm").get_by_role("button", name="Stop").click()
    expect(page.locator("#replay-answer")).to_have_text("The replay stops")
    page.goto("about:blank")  # its console goes now, and that is no complaint
