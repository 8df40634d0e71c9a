"""The outlook in a real Chromium, from the command without Kafka to what is drawn, on real prices and headlines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from deploy.local.broker import free_port
from streams import settings
from streams.settings import Settings
from streams.testing import eventually
from tests.consumers.console.conftest import Produce, serving
from tests.consumers.console.test_outlook import listed
from tests.consumers.console.test_page import CHROMIUM, QUIET, market, photograph
from tests.models.outlook.samples import model_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`"),
]


@pytest.fixture
def address(shared_data: Path, sentiment_cache: Path, tmp_path: Path) -> Iterator[str]:
    """Return the address of `tickcast console --outlook-only`, as if it were the end of June 2015."""
    own = settings.load({}, home=tmp_path, cache=sentiment_cache, offline=True, sentiment="minilm", console_port=free_port())
    command = [sys.executable, "-m", "deploy", "console", "--outlook-only", "--data", str(shared_data), "--as-of", "2015-06-30"]
    found = f"http://127.0.0.1:{own.console_port}"
    with subprocess.Popen(command, env=os.environ | own.environment()) as process:
        try:
            eventually(lambda: process.poll() is None and _answers(found), 60)
            yield found
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def page() -> Iterator[Page]:
    """Return a page; the test fails at its end where a script failed or it asked another host for anything."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", *QUIET])
        opened = browser.new_page(viewport={"width": 1440, "height": 900})
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: None if "//127.0.0.1" in request.url else complaints.append(request.url))
        yield opened
        browser.close()
    assert complaints == []


def test_a_stock_is_chosen_and_its_outlook_shown_with_what_it_is_worth(address: str, page: Page) -> None:
    page.goto(address)
    expect(page.locator("#outlook-status")).to_contain_text("Prices and headlines come from files")
    expect(page.locator("#outlook-symbol")).to_have_value("AAPL")
    photograph(page, "outlook-empty", schemes=("dark",))
    page.locator("#outlook-symbol").fill("nope")
    page.keyboard.press("Enter")
    expect(page.locator("#outlook-status")).to_contain_text("No outlook of NOPE: there is no file of NOPE")
    page.locator("#outlook-symbol").fill("tsla")
    page.get_by_role("button", name="Compute outlook").click()
    expect(page.locator("#outlook-words")).to_have_text("TSLA, until 2015-07-31", timeout=120_000)
    told = msgspec.json.decode(httpx.get(f"{address}/v1/outlook/TSLA").content)
    expect(page.locator("#outlook-suggestion")).to_have_text(told["suggestion"].capitalize())
    expect(page.locator("#outlook-warning")).to_contain_text("No demonstrated edge")
    expect(page.locator(".facts")).to_contain_text(f"{told['expected_price']:.2f}")
    expect(page.locator(".facts")).to_contain_text(" to ".join(f"{end:.2f}" for end in told["price_intervals"]["80"]))
    expect(page.locator("#outlook-months tbody tr")).to_have_count(4)
    expect(page.locator("#outlook-news li")).to_have_count(40)
    expect(page.locator("#outlook-chart canvas").first).to_be_visible()
    assert "fan" in painted(page)
    photograph(page, "outlook")


def test_the_tab_offers_the_stock_that_is_shown_and_keeps_its_outlook(
    config: Settings, produce: Produce, page: Page, tmp_path: Path
) -> None:
    produce(*market("MSFT", 5))
    with serving(config, outlooks=listed(model_file(tmp_path))) as address:
        page.goto(address)
        expect(page.locator("#chart-title")).to_have_text("MSFT")
        page.keyboard.press("6")
        expect(page.locator("#outlook-symbol")).to_have_value("MSFT")
        page.get_by_role("button", name="Compute outlook").click()
        expect(page.locator("#outlook-words")).to_have_text("MSFT, until 2026-04-30", timeout=60_000)
        page.get_by_role("link", name="Market", exact=True).click()
        page.get_by_role("link", name="Outlook", exact=True).click()
        expect(page.locator("#outlook-warning")).to_contain_text("No demonstrated edge")
        photograph(page, "outlook-tab")


def painted(page: Page) -> set[str]:
    """Return what of the forecast's colour is on the chart: the fan, where more than a line of pixels has it."""
    count = page.evaluate(
        """() => [...document.querySelectorAll("#outlook-chart canvas")].map((canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let violet = 0;
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 2] > data[at + 1] + 20 && data[at] > data[at + 1]) violet += 1;
            return violet;
        }).reduce((sum, one) => sum + one, 0)"""
    )
    return {"fan"} if count > 1_000 else set()
