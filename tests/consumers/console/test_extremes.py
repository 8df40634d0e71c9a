"""The page where a market has more symbols than there is room for, and where its tab was asleep."""

from __future__ import annotations

from functools import partial

import httpx
import pytest
from playwright.sync_api import Page, expect

from consumers.console.market import MAX_SYMBOLS
from streams.messages import Features
from streams.testing import eventually
from tests.consumers.console.conftest import Console, Produce
from tests.consumers.console.samples import bar
from tests.consumers.console.test_page import CHROMIUM, browser, page

__all__ = ["browser", "page"]  # fixtures
UNIVERSE = 10_000
HOUR = 60  # minutes
ROWS = 6  # of a minute, each a frame, so that the hour has more of them than the server keeps

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`"),
]


def test_of_ten_thousand_symbols_as_many_as_there_is_room_for_are_live_and_the_rest_is_told(
    console: Console, produce: Produce, page: Page
) -> None:
    produce(*(bar(0, symbol=f"S{number:05d}") for number in range(UNIVERSE)))
    names = page.locator("#symbols td.name")
    with console() as address:
        page.goto(address)
        expect(names).to_have_count(MAX_SYMBOLS)
        words = "The first 1,000 symbols are shown; this page has no room for 9,000 more, which are on the topics."
        expect(page.locator("#left-out")).to_have_text(words)
        one = names.nth(MAX_SYMBOLS // 2).inner_text()
        page.locator("#search").fill(one)
        page.keyboard.press("Enter")
        expect(page.locator("#chart-title")).to_have_text(one)
        produce(bar(1, 612.34, symbol=one))
        expect(page.locator("#price")).to_have_text("612.34")


def test_a_tab_that_was_asleep_for_an_hour_of_the_market_shows_that_hour(console: Console, produce: Produce, page: Page) -> None:
    produce(*(bar(minute) for minute in range(30)))
    with console() as address:
        page.goto(address)
        expect(page.locator("#chart-summary")).to_contain_text("30 bars of AAPL")
        sleep = page.context.new_cdp_session(page)
        sleep.send("Page.setWebLifecycleState", {"state": "frozen"})
        for minute in range(30, 30 + HOUR):
            for revision in range(1, ROWS + 1):
                row = bar(minute, revision=revision, final=revision == ROWS)
                produce(row)
                eventually(partial(is_shown, address, row))
        sleep.send("Page.setWebLifecycleState", {"state": "active"})
        expect(page.locator("#price")).to_have_text(f"{bar(29 + HOUR).close:.2f}")
        expect(page.locator("#chart-summary")).to_contain_text(f"{30 + HOUR} bars of AAPL")
        expect(page.locator("#banner")).to_be_hidden()


def is_shown(address: str, row: Features) -> bool:
    """Return whether the console has `row` of its symbol, or a newer one."""
    newest = httpx.get(f"{address}/v1/bars", params={"symbol": row.symbol}).json()[-1]
    return bool((newest["minute_ts_us"], newest["revision"]) >= (row.minute_ts_us, row.revision))
