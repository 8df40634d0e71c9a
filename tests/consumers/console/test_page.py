"""The page in a real Chromium, on real topics. Screenshots go to artifacts/."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from streams.clock import wall_ts_us
from streams.messages import Message
from tests.consumers.console.conftest import Console, Produce
from tests.consumers.console.samples import bar, forecast, headline, score, sentiment, status

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
ARTIFACTS = Path(__file__).resolve().parents[3] / "artifacts"
SYMBOLS = ("AAPL", "AMZN", "GOOG", "INTC", "MSFT", "<b>&'")
ATTACK = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", *QUIET])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page; the test fails at its end where the browser complained or asked another host for anything."""
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: None if "//127.0.0.1" in request.url else complaints.append(request.url))
    yield opened
    opened.close()
    assert complaints == []


def market(symbol: str, bars: int) -> list[Message]:
    """Return `bars` minutes of one symbol with its forecasts and scores."""
    made = [forecast(bars - 1, horizon, symbol=symbol) for horizon in (1, 5, 15)]
    return [
        *(bar(minute, symbol=symbol) for minute in range(bars)),
        *made,
        *(score(minute, symbol=symbol, held=minute % 5 > 0) for minute in range(bars - 5)),
    ]


def machinery() -> list[Message]:
    return [
        status("produce", detail="simulated, seed 7", ticks=18_240, headlines=41),
        status("stream", detail="real time", rows=18_240),
        status("sentiment", detail="minilm-head-1", scored=41),
        status("forecast", detail="lstm-1", forecasts=54_720),
        status("score", scored=2_100),
        status("train", "training", "epoch 3 of 10", epoch=3),
    ]


def news() -> list[Message]:
    texts = ["Apple raises its outlook for the third quarter", "Supplier warns of a shortage of displays", ATTACK]
    pairs = zip(islice(cycle(texts), 9), (0.62, -0.71, 0.0, 0.18, -0.05, 0.4, 0.33, -0.22, 0.09), strict=True)
    return [
        message
        for number, (text, value) in enumerate(pairs)
        for message in (headline(number, text, url="javascript:window.attacked=1"), sentiment(number, value))
    ]


def test_an_empty_page_says_what_is_missing(console: Console, page: Page) -> None:
    with console() as address:
        page.goto(address)
        expect(page.locator("#symbols-empty")).to_contain_text("No bar yet")
        expect(page.locator("#verdict-why")).to_contain_text("No forecast yet")
        expect(page.locator("#mode")).to_have_text("NO SOURCE")
        page.screenshot(path=ARTIFACTS / "console-empty.png")


def test_prices_forecasts_headlines_and_health_appear_as_they_are_produced(
    console: Console, produce: Produce, page: Page
) -> None:
    with console() as address:
        page.goto(address)
        for symbol in SYMBOLS:
            produce(*market(symbol, 120), ingest_us=wall_ts_us() - 6_000)
        produce(*news(), *machinery())
        row = page.locator("#symbols tbody tr", has_text="AAPL")
        expect(row).to_contain_text(f"{bar(119).close:.2f}")
        row.click()
        expect(page.locator("#chart-summary")).to_contain_text("Final forecast")
        expect(page.locator("#verdict-words")).to_have_text("No demonstrated edge")
        figures = "skill +0.3 % against the random walk over 240 scores; Diebold-Mariano p = 0.310."
        expect(page.locator("#verdict-why")).to_have_text(figures)
        expect(page.locator("#mode")).to_have_text("SIMULATED")
        expect(page.locator("#roles tbody tr")).to_have_count(7)
        produce(bar(120, 612.34, revision=1, final=False, n_ticks=1))
        expect(page.locator("#price")).to_have_text("612.34")
        produce(bar(120, 581.5, revision=2, final=False, n_ticks=2))
        expect(page.locator("#price")).to_have_text("581.50")
        assert_inert(page)
        photograph(page)


def assert_inert(page: Page) -> None:
    expect(page.locator("#news li .text", has_text="<script>").first).to_be_visible()
    expect(page.locator("#symbols td.name", has_text="<b>&'")).to_be_visible()
    assert page.locator("#news img, #news script, #news a").count() == 0
    assert page.evaluate("window.attacked") is None


def photograph(page: Page) -> None:
    """Save the page in both themes and three widths, and see that nothing scrolls sideways."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width, height in ((1440, 900), (900, 1000), (380, 800)):
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(path=ARTIFACTS / f"console-{scheme}-{width}.png", full_page=width == 380)


def test_keys_move_through_the_symbols_and_the_horizon_is_chosen(console: Console, produce: Produce, page: Page) -> None:
    produce(*market("AAPL", 30), *market("MSFT", 30))
    with console() as address:
        page.goto(address)
        page.locator("#symbols tbody tr").first.focus()
        page.keyboard.press("ArrowDown")
        expect(page.locator("#chart-title")).to_have_text("MSFT")
        page.get_by_role("button", name="15 min").click()
        expect(page.locator("#expected-title")).to_have_text("In 15 min")
        page.get_by_role("button", name="Theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_a_lost_connection_shows_how_old_the_data_is(console: Console, produce: Produce, browser: Browser) -> None:
    produce(*market("AAPL", 30))
    page = browser.new_page()  # the browser rightly complains of the refused connections
    with console() as address:
        page.goto(address)
        expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#banner")).to_contain_text("Connection to the console lost")
    expect(page.locator("#price")).to_have_text(f"{bar(29).close:.2f}")
    page.close()
