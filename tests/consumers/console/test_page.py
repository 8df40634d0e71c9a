"""The page in a real Chromium, on real topics. Screenshots go to artifacts/."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import pytest
from kafka.structs import OffsetAndMetadata
from msgspec import json, structs
from playwright.sync_api import Browser, Page, expect, sync_playwright

from deploy import audit
from deploy.audit import Line
from models import registry
from models.registry import Losses, ModelCard, Promotion
from streams import bus
from streams.clock import wall_ts_us
from streams.messages import DeadLetter, Event, Message, ModelAnnouncement, Role, Verdict
from streams.settings import Settings
from tests.consumers.console.conftest import Console, Produce
from tests.consumers.console.samples import START_US, bar, forecast, headline, score, sentiment, status

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
ARTIFACTS = Path(__file__).resolve().parents[3] / "artifacts"
SYMBOLS = ("AAPL", "AMZN", "GOOG", "INTC", "MSFT", "<b>&'")
SIZES = ((3840, 2160), (1920, 1080), (1280, 800), (380, 800))
ATTACK = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'

Scheme = Literal["light", "dark"]
EMPTY = {
    "Market": "No bar yet",
    "Skill": "A forecast is scored once its target minute is over",
    "Pipeline": "No dead letter: every message could be used",
    "Models": "the random walk with its EWMA volatility forecasts alone",
    "Replay": "No tape is in the folder of TICKCAST_TAPES",
    "Outlook": "There is no feed of daily prices here",
}

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
        for message in (headline(102 + 2 * number, text, url="javascript:window.attacked=1"), sentiment(102 + 2 * number, value))
    ]


def test_an_empty_page_says_what_is_missing(console: Console, page: Page) -> None:
    with console() as address:
        page.goto(address)
        expect(page.locator("#symbols-empty")).to_contain_text("No bar yet")
        expect(page.locator("#verdict-why")).to_contain_text("No forecast yet")
        expect(page.locator("#mode")).to_have_text("NO SOURCE")
        for tab, missing in EMPTY.items():
            page.get_by_role("link", name=tab, exact=True).click()
            expect(page.locator(f"#tab-{tab.lower()}")).to_contain_text(missing)
            if tab == "Models":
                expect(page.locator("#loss-empty")).to_contain_text("No stored model has kept its loss curves")
            photograph(page, f"empty-{tab.lower()}")


def test_prices_forecasts_headlines_and_health_appear_as_they_are_produced(
    console: Console, produce: Produce, page: Page, config: Settings
) -> None:
    store(config, "lstm-1", 0.02)
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
        produce(bar(120, 612.34, revision=1, final=False, n_ticks=1))
        expect(page.locator("#price")).to_have_text("612.34")
        produce(bar(120, 581.5, revision=2, final=False, n_ticks=2))
        expect(page.locator("#price")).to_have_text("581.50")
        learnt = page.locator("#verdict-facts dd", has_text="2 h ago")
        expect(learnt).to_have_attribute("title", "2012-06-21 13:30:00 UTC")
        assert_inert(page)
        photograph(page, "market")


def assert_inert(page: Page) -> None:
    expect(page.locator("#news li .text", has_text="<script>").first).to_be_visible()
    expect(page.locator("#symbols td.name", has_text="<b>&'")).to_be_visible()
    assert page.locator("#news img, #news script, #news a").count() == 0
    assert page.evaluate("window.attacked") is None


def photograph(page: Page, name: str, schemes: tuple[Scheme, ...] = ("light", "dark")) -> None:
    """Save the page in both themes at 4K and three usual widths, and see that nothing scrolls sideways."""
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if width == 380:  # whole, without a bar across its middle
                page.set_viewport_size({"width": width, "height": page.evaluate("document.documentElement.scrollHeight")})
            page.screenshot(path=ARTIFACTS / f"console-{name}-{scheme}-{width}.png")
    page.set_viewport_size({"width": 1440, "height": 900})


def tab(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()


def judged(symbol: str, skill: float, verdict: Verdict, model_id: str = "lstm-1", role: Role = "champion") -> list[Message]:
    """Return 120 scores of one model, whose skill comes to `skill`."""
    made: list[Message] = []
    for minute in range(120):
        shown = skill * (0.4 + minute / 200) + 0.01 * math.sin(minute / 7)
        one = score(minute, symbol=symbol, held=minute % 5 > 0, rolling_skill=shown, rolling_n=120 + minute)
        name = f"{one.forecast_id}-{model_id}"
        made.append(structs.replace(one, forecast_id=name, model_id=model_id, role=role, verdict=verdict, pt_p_value=0.04))
    return made


def test_skill_says_in_words_pictures_and_numbers_what_the_scores_are_worth(
    console: Console, produce: Produce, page: Page
) -> None:
    produce(*judged("AAPL", 0.06, "edge"), *judged("AAPL", 0.0, "no demonstrated edge", "rw", "baseline"))
    produce(*judged("<b>&'", -0.05, "worse than naive"), *judged("MSFT", 0.01, "no demonstrated edge"))
    produce(*(score(minute, symbol="TSLA", rolling_n=minute) for minute in range(30, 60)))
    with console() as address:
        page.goto(f"{address}/#skill")
        words = "At 5 min: an edge over the random walk with 1 of 3 symbols; worse than it with 1; of 1 there are too few scores"
        expect(page.locator("#skill-words")).to_have_text(words)
        expect(page.locator("#multiples figure")).to_have_count(4)
        row = page.locator("#skill-table tbody tr", has_text="AAPL").filter(has_text="champion")
        for text in ("239", "+5.0 %", "0.310", "0.040", "80 %", "edge"):
            expect(row).to_contain_text(text)
        expect(page.locator("#reliability-words")).to_contain_text("80 % intervals held")
        expect(
            page.locator("#tab-skill").get_by_role("img", name="80 % interval held 80 % of 120", exact=False).first
        ).to_be_visible()
        photograph(page, "skill")
        page.locator("#tab-skill").get_by_role("button", name="15 min").click()
        expect(page.locator("#skill-words")).to_have_text("No score at 15 min yet")


def test_pipeline_shows_rates_lags_processes_and_opens_a_dead_letter(
    console: Console, produce: Produce, page: Page, config: Settings
) -> None:
    produce(*machinery(), status("archive", detail="batch 7", rows=9), status("retrain", wall_us=1), *market("AAPL", 30))
    raw = base64.b64encode(ATTACK.encode()).decode()
    letter = DeadLetter(
        topic="ticks", partition=1, offset=88, stage="stream", error_class="not_json", message=f"bad: {ATTACK}", value_base64=raw
    )
    client = bus.consumer(config, group_id=config.topic("score"))
    ends = client.end_offsets(bus.partitions_of(client, config, "forecasts"))
    place = max(ends, key=ends.__getitem__)
    client.commit({place: OffsetAndMetadata(1, "", -1)})
    client.close()
    alert = Event(kind="alert", role="forecast", wall_ts_us=wall_ts_us(), detail=f"the model is damaged {ATTACK}")
    lines = [Line("stream", "ticks", 60, 58, 1, 1, 0), Line("score", "forecasts", 40, 30, 0, 0, 3, missing=7)]
    audit.publish(config, lines)
    with bus.producing(config) as sender:
        bus.send_all(sender, config, [bus.outgoing("dead_letters", "ticks", letter), bus.outgoing("events", "alert", alert)])
    with console() as address:
        page.goto(f"{address}/#pipeline")
        expect(page.locator("#roles tbody tr")).to_have_count(9)
        expect(page.locator("#roles tbody tr", has_text="retrain")).to_contain_text("silent")
        expect(page.locator("#lags tbody tr", has_text="score")).to_contain_text(f"forecasts/{place.partition}12")
        expect(page.locator("#largest-lag")).to_have_text("2")
        expect(page.locator("#topics tbody tr", has_text="dead_letters")).to_contain_text("1")
        expect(page.locator("#flow svg")).to_have_attribute("aria-label", re.compile(r"forecasts from forecast to score: \d"))
        page.locator("#letters summary").click()
        expect(page.locator("#letters pre").first).to_have_text(ATTACK)
        expect(page.locator("#alerts li").first).to_contain_text("the model is damaged")
        expect(page.locator("#audit tbody tr")).to_have_text(["streamticks605811000", "scoreforecasts403000370"])
        expect(page.locator("#audit-words")).to_contain_text("Does not add up: score.")
        assert page.evaluate("window.attacked") is None
        photograph(page, "pipeline")


def test_models_show_who_serves_and_why(console: Console, page: Page, config: Settings) -> None:
    store(config, "lstm-20261120-aaaaaaaa", 0.021)
    store(config, "lstm-20261119-bbbbbbbb", 0.018)
    curves = Losses(train=[0.412, 0.389, 0.374, 0.366], validation=[0.405, 0.391, 0.388, 0.392])
    registry.write_losses(config.home / "models" / "forecaster" / "lstm-20261120-aaaaaaaa", curves)
    announced = ModelAnnouncement(
        name="forecaster",
        model_id="lstm-20261120-aaaaaaaa",
        uri="file:///m",
        sha256="0" * 64,
        promoted=True,
        reason=f"pinball loss 1.2 % lower, p = 0.003 {ATTACK}",
    )
    drift = Event(
        kind="drift", role="score", wall_ts_us=1, detail="AAPL: residuals grew", counts={"event_ts_us": START_US, "n": 300}
    )
    with bus.producing(config) as sender:
        bus.send_all(sender, config, [bus.outgoing("models", "forecaster", announced), bus.outgoing("events", "drift", drift)])
    with console() as address:
        page.goto(f"{address}/#models")
        expect(page.locator("#models-words")).to_have_text("lstm-20261120-aaaaaaaa serves")
        expect(page.locator("#models-why")).to_contain_text("p = 0.003")
        expect(page.locator("#stored tbody tr")).to_have_count(2)
        expect(page.locator("#stored tbody tr", has_text="aaaaaaaa")).to_contain_text("champion")
        expect(page.locator("#promotions li").first).to_contain_text("better than the walk")
        expect(page.locator("#drift li")).to_contain_text("residuals grew")
        learnt = page.locator("#losses figure", has_text="aaaaaaaa")
        expect(learnt).to_contain_text("epoch 3 of 4 is kept")
        expect(learnt.get_by_role("img")).to_have_attribute("aria-label", re.compile("training from 0.412 to 0.366, validation"))
        expect(page.locator("#losses figure")).to_have_count(1)  # the other model keeps none
        assert page.evaluate("window.attacked") is None
        photograph(page, "models")


def store(config: Settings, model_id: str, skill: float, at_us: int = 0) -> None:
    """Put the card of a model into the store, and its promotion; its files are not looked at."""
    folder = config.home / "models" / "forecaster" / model_id
    folder.mkdir(parents=True)
    card = ModelCard(
        name="forecaster",
        feature_version=1,
        features=("ret",),
        window=50,
        horizons_min=(1, 5, 15),
        quantiles=("0.5",),
        data_cutoff_ts_us=START_US,
        seed=1,
        metrics={"skill_pinball": skill, "windows": 42_000},
        model_id=model_id,
    )
    (folder / registry.CARD).write_bytes(json.encode(card))
    past = [*registry.promotions(config, "forecaster"), Promotion(model_id=model_id, reason="better than the walk", at_us=at_us)]
    (folder.parent / registry.PROMOTIONS).write_bytes(json.encode(past))


def test_a_replay_is_unmistakable(console: Console, produce: Produce, page: Page) -> None:
    produce(bar(0), status("produce", detail="replay:tape at 60x"))
    with console() as address:
        page.goto(f"{address}/#replay")
        expect(page.locator("#mode")).to_have_text("REPLAY")
        expect(page.locator("#replay-why")).to_contain_text("replay:tape at 60x; the tape's clock shows 2012-06-21 13:30:59 UTC")


def test_search_digits_and_the_address_lead_to_tabs_and_symbols(console: Console, produce: Produce, page: Page) -> None:
    produce(*market("AAPL", 5), *market("MSFT", 5))
    with console() as address:
        page.goto(f"{address}/#models")
        expect(page.locator("#tab-models")).to_be_visible()
        page.keyboard.press("2")
        expect(page.locator("#tab-skill")).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("zzz")
        page.keyboard.press("Enter")
        expect(page.locator("#search")).to_have_attribute("aria-invalid", "true")
        page.locator("#search").fill("ms")
        page.keyboard.press("Enter")
        expect(page.locator("#tab-market")).to_be_visible()
        expect(page.locator("#chart-title")).to_have_text("MSFT")
        page.keyboard.press("/")
        page.keyboard.type("pipe")
        page.keyboard.press("Enter")
        expect(page.locator("#tab-pipeline")).to_be_visible()
        page.locator("#letters-link").click()
        expect(page.locator("#tabs a[aria-current]")).to_have_text("Pipeline")
        page.goto(f"{address}/#nonsense")
        expect(page.locator("#tab-market")).to_be_visible()


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


def test_past_fans_stand_beside_what_came(console: Console, produce: Produce, page: Page) -> None:
    produce(*(bar(minute) for minute in range(60)))
    produce(*(forecast(minute, horizon) for minute in range(60) for horizon in (1, 5, 15)))
    with console() as address:
        page.goto(address)
        expect(page.locator("#price")).to_have_text(f"{bar(59).close:.2f}")
        expect(page.locator("#past-words")).to_have_text("")
        page.keyboard.press("p")
        # of 60 minutes, one fan each five: those made at 1, 6, ... 51 minutes have their close among the bars
        held = sum(is_held(minute) for minute in range(4, 55, 5))
        expect(page.locator("#past-words")).to_have_text(f"Past fans: {held} of 11 closes inside 80 %")
        expect(page.locator("#past")).to_have_attribute("aria-pressed", "true")
        photograph(page, "past-fans")
        see_the_fan_of(page, 17)
        photograph(page, "past-fan")
        page.locator("#seen").press("End")
        expect(page.locator("#past-words")).to_contain_text("of 11 closes")
        page.locator(".market .horizons").get_by_role("button", name="15 min").click()
        expect(page.locator("#past-words")).to_contain_text("of 3 closes")
        page.locator("#past").click()
        expect(page.locator("#past-words")).to_have_text("")
        expect(page.locator("#seen")).to_be_hidden()


def see_the_fan_of(page: Page, minute: int) -> None:
    """Move the slider to the fan that was made when the bar `minute` ended; one minute of five has its fan among those of all."""
    expect(page.locator("#seen-at")).to_have_text("all times")
    page.locator("#seen").press("Home")
    for _ in range(minute):
        page.keyboard.press("ArrowRight")
    made, came = forecast(minute, 5), bar(minute + 5).close
    at = f"13:{30 + minute + 1} UTC"
    expect(page.locator("#seen-at")).to_have_text(at)
    words = f"As seen at {at}: {made.mean:.2f} was expected, {came:.2f} came, {'inside' if is_held(minute) else 'outside'} 80 %"
    expect(page.locator("#past-words")).to_have_text(words)
    expect(page.locator("#seen")).to_have_attribute("aria-valuetext", at)


def is_held(minute: int) -> bool:
    made = forecast(minute, 5)
    return made.quantiles["0.1"] <= bar(minute + 5).close <= made.quantiles["0.9"]


def test_symbols_are_sorted_by_what_is_clicked(console: Console, produce: Produce, page: Page) -> None:
    produce(bar(0, 50.0, symbol="LOW"), bar(0, 700.0, symbol="HIGH"), bar(0, 90.0, symbol="MID"))
    names = page.locator("#symbols td.name")
    with console() as address:
        page.goto(address)
        expect(names).to_have_text(["HIGH", "LOW", "MID"])
        page.get_by_role("button", name="Price").click()
        expect(names).to_have_text(["HIGH", "MID", "LOW"])
        page.get_by_role("button", name="Price").click()
        expect(names).to_have_text(["LOW", "MID", "HIGH"])
        expect(page.locator("#symbols th[aria-sort]")).to_have_text("Price")


def test_a_minute_of_the_chart_leads_to_its_headlines(console: Console, produce: Produce, page: Page) -> None:
    produce(*(bar(minute) for minute in range(12)), headline(11, f"{ATTACK} beats forecasts"), sentiment(11, 0.8))
    with console() as address:
        page.goto(address)
        expect(page.locator("#news li")).to_have_count(1)
        box = page.locator("#chart").bounding_box()
        assert box is not None
        for share in range(10, 90):  # somewhere along the chart is the newest minute
            page.mouse.move(box["x"] + box["width"] * share / 100, box["y"] + 40)
            if page.locator("#chart-news").is_visible():
                break
        expect(page.locator("#chart-news")).to_have_text(
            f"+0.80 {ATTACK} beats forecasts (positive 0.80, neutral 0.20, negative 0.00, by minilm-head-1)"
        )
        page.mouse.down()
        page.mouse.up()
        expect(page.locator("#news li.pinned")).to_have_count(1)
        assert page.evaluate("window.attacked") is None


def test_a_lost_connection_shows_how_old_the_data_is(console: Console, produce: Produce, browser: Browser) -> None:
    produce(*market("AAPL", 30))
    page = browser.new_page()  # the browser rightly complains of the refused connections
    with console() as address:
        page.goto(address)
        expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#banner")).to_contain_text("Connection to the console lost")
    expect(page.locator("#price")).to_have_text(f"{bar(29).close:.2f}")
    page.close()
