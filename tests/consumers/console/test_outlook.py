"""The outlook over HTTP, without Kafka: what a feed tells comes out once for all who ask, and what fails is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from fastapi import FastAPI

from consumers.console import outlook, outlook_only, outlooks
from consumers.console.outlooks import Outlooks
from models import registry
from models.outlook import pretrained, serving
from models.outlook.estimator import Estimator
from models.outlook.outlook import Outlook, Outlooker
from models.registry import ModelCard
from models.sentiment.known_texts import KnownTexts
from models.sentiment.reading import Reader
from streams import settings
from streams.daily import Close, Story
from streams.errors import LineLost, ModelError, Refused, Throttled, TickcastError, UnknownSymbol
from tests.models.outlook.samples import WordModel, model_file

TODAY = date(2026, 3, 31)
DAYS = [day for number in range(300, -1, -1) if (day := TODAY - timedelta(days=number)).weekday() < 5]


class ListFeed:
    """Tells random walks of known stocks; fails as often as it is told to, and can be held."""

    name = "a list"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.faults: list[TickcastError] = []
        self.go = Event()
        self.go.set()

    def closes(self, symbol: str) -> list[Close]:
        self.asked.append(symbol)
        self.go.wait(20)
        if self.faults:
            raise self.faults.pop(0)
        if symbol.startswith("NO"):
            raise UnknownSymbol(f"there is no {symbol}")
        days = DAYS[-10:] if symbol == "NEW" else DAYS
        walk = 50 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.02, len(days))))
        return [Close(day, float(price)) for day, price in zip(days, walk, strict=True)]

    def stories(self, symbol: str) -> list[Story]:
        at_us = [int(datetime(2026, 3, day, 12, tzinfo=UTC).timestamp()) * 1_000_000 for day in range(1, 29)]
        words = ["good news", "bad news", "? unreadable"]
        return [Story(at, f"{words[number % 3]} of {symbol}, {number}", "") for number, at in enumerate(at_us)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_file(tmp_path_factory.mktemp("model"))


@pytest.fixture
def feed() -> ListFeed:
    return ListFeed()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(feed: ListFeed, weights: Path, clock: Clock) -> Iterator[Outlooks]:
    made = listed(weights, feed, clock)
    yield made
    made.close()


def listed(weights: Path, feed: ListFeed | None = None, clock: Callable[[], float] = monotonic) -> Outlooks:
    """Return outlooks of a list, by the networks in the file `weights`, that wait for nothing between questions."""

    def load() -> Outlooker:
        estimator = Estimator(weights)
        return Outlooker(Reader(WordModel(), KnownTexts()), lambda: estimator)

    return Outlooks(feed or ListFeed(), load, ("AAPL", "MSFT"), clock=clock, pause=lambda _s: None, today=lambda: TODAY)


@pytest.fixture
def app(served: Outlooks) -> FastAPI:
    return outlook_only.create_app(served, settings.load({}), "127.0.0.1")


def asked(app: FastAPI, *paths: str, method: str = "POST", **more: Any) -> list[httpx.Response]:
    """Return the answers to requests that are sent at the same time."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            return await asyncio.gather(*(client.request(method, f"/v1/outlook{path}", **more) for path in paths))

    return asyncio.run(ask())


def test_an_outlook_says_what_went_in_what_comes_out_and_what_it_is_worth(app: FastAPI) -> None:
    [answer] = asked(app, "/aapl")
    assert answer.status_code == 200
    found = msgspec.json.decode(answer.content, type=Outlook)
    assert (found.symbol, found.as_of, found.target, found.feed) == ("AAPL", "2026-03-31", "2026-04-30", "a list")
    assert found.verdict == "no demonstrated edge"
    assert "443" not in found.verdict_why and "445 walk-forward forecasts" in found.verdict_why
    assert found.expected_price == pytest.approx(found.last_price * (1 + found.expected_return))
    low, high = found.price_intervals["80"]
    assert low < found.expected_price < high
    assert [(month.end, month.headlines, month.quiet) for month in found.months[-2:]] == [
        ("2026-02-28", 0, True),
        ("2026-03-31", 19, False),
    ]
    assert found.months[-1].sentiment == pytest.approx((10 * 0.7 - 9 * 0.6) / 19)
    assert found.headlines[0].event_ts_us > found.headlines[-1].event_ts_us
    assert {story.score for story in found.headlines} == {0.7, -0.6, None}
    assert any("3 of 4 months had fewer than 3 headlines" in note for note in found.notes)
    assert len(found.history) <= 260


def test_what_was_computed_is_told_again_and_the_offer_names_the_feed(app: FastAPI, feed: ListFeed) -> None:
    assert asked(app, "/AAPL", method="GET")[0].status_code == 404
    [made] = asked(app, "/AAPL")
    [told] = asked(app, "/aapl", method="GET")
    assert told.content == made.content
    again = asked(app, "/AAPL", method="GET", headers={"If-None-Match": told.headers["etag"]})[0]
    assert (again.status_code, feed.asked) == (304, ["AAPL"])
    assert asked(app, "", method="GET")[0].json() == {"feed": "a list", "symbols": ["AAPL", "MSFT"]}


def test_many_who_ask_at_once_share_one_computation(app: FastAPI, feed: ListFeed) -> None:
    feed.go.clear()

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as client:
            asking = [asyncio.create_task(client.post(f"/v1/outlook/{symbol}")) for symbol in ["AAPL", "MSFT"] * 20]
            while len(feed.asked) < 2:
                await asyncio.sleep(0.01)
            asking[0].cancel()  # one loses patience: the others get their answers all the same
            feed.go.set()
            return await asyncio.gather(*asking[1:])

    answers = asyncio.run(ask())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 2
    assert sorted(feed.asked) == ["AAPL", "MSFT"]


def test_what_is_fresh_is_not_asked_for_again_and_what_is_old_is(app: FastAPI, feed: ListFeed, clock: Clock) -> None:
    for at_s, times in ((0.0, 1), (outlooks.FRESH_S, 1), (outlooks.FRESH_S + 1, 2)):
        clock.now_s = at_s
        assert asked(app, "/AAPL")[0].status_code == 200
        assert len(feed.asked) == times


def test_a_feed_that_comes_back_is_asked_again_and_one_that_stays_away_is_told(app: FastAPI, feed: ListFeed) -> None:
    feed.faults = [LineLost("no line")] * 2
    assert asked(app, "/AAPL")[0].status_code == 200
    feed.faults = [LineLost("no line")] * 3
    [gone] = asked(app, "/MSFT")
    assert (gone.status_code, gone.json()["detail"], gone.headers["Retry-After"]) == (503, "no line", "30")
    assert asked(app, "/MSFT", method="GET")[0].status_code == 404  # nothing half-made is kept
    assert asked(app, "/MSFT")[0].status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "fault", "status", "says"),
    [
        ("/NOPE", {}, None, 404, "there is no NOPE"),
        ("/NEW", {}, None, 404, "NEW has no month of prices behind it"),
        ("/AAPL", {}, Refused("wrong key"), 502, "wrong key"),
        ("/AAPL", {}, Throttled("asked too often"), 503, "asked too often"),
        ("/..%2Fx", {}, None, 422, "is no ticker"),
        ("/A%20B", {}, None, 422, "is no ticker"),
        (f"/{'A' * 17}", {}, None, 422, "is no ticker"),
        ("/AAPL", {"Origin": "http://elsewhere.example"}, None, 403, "another origin"),
        ("/AAPL", {"Origin": "http://["}, None, 403, "another origin"),
        ("/AAPL", {"Origin": "http://127.0.0.1"}, None, 200, ""),
    ],
)
def test_refusals_are_problem_details(  # noqa: PLR0917 - one table
    app: FastAPI, feed: ListFeed, path: str, headers: dict[str, str], fault: TickcastError | None, status: int, says: str
) -> None:
    feed.faults = [fault] if fault else []
    [answer] = asked(app, path, headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert says in answer.json()["detail"]


def test_who_asks_for_too_many_stocks_is_told_when_to_come_again(app: FastAPI, feed: ListFeed) -> None:
    answers = asked(app, *(f"/NO{number}" for number in range(25)))
    assert sorted({answer.status_code for answer in answers}) == [404, 429]
    assert sum(answer.status_code == 404 for answer in answers) == outlooks.BURST == len(feed.asked)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_computation_that_takes_too_long_goes_on_alone(
    app: FastAPI, feed: ListFeed, served: Outlooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "PATIENCE_S", 0.2)
    feed.go.clear()
    [late] = asked(app, "/AAPL")
    assert (late.status_code, late.headers["Retry-After"]) == (504, "30")
    flight = served.start("AAPL")
    feed.go.set()
    assert flight.result(30).symbol == "AAPL"
    assert feed.asked == ["AAPL"]


def test_without_a_model_or_a_feed_it_says_what_is_missing(feed: ListFeed) -> None:
    def damaged() -> Outlooker:
        raise ModelError("the file is damaged; reinstall tickcast")

    broken = outlook_only.create_app(Outlooks(feed, damaged), settings.load({}), "127.0.0.1")
    [answer] = asked(broken, "/AAPL")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the file is damaged; reinstall tickcast")
    bare = FastAPI()
    bare.include_router(outlook.routes(None))
    [answer] = asked(bare, "/AAPL")
    assert (answer.status_code, asked(bare, "", method="GET")[0].json()) == (501, {"feed": "", "symbols": []})
    assert "TICKCAST_OUTLOOK" in answer.json()["detail"]


def test_networks_that_are_promoted_serve_the_next_who_asks_and_damaged_ones_never(feed: ListFeed, tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path / "home")

    def load() -> Outlooker:
        return Outlooker(Reader(WordModel(), KnownTexts()), serving.champion(own))

    app = outlook_only.create_app(Outlooks(feed, load, today=lambda: TODAY), own, "127.0.0.1")
    models = [asked(app, "/AAPL")[0].json()["model_id"]]
    for networks, damage in ((1, b""), (3, b"x"), (2, b"")):
        folder = tmp_path / f"{networks} networks"
        folder.mkdir()
        card = ModelCard(name=pretrained.NAME, seed=1, served=model_file(folder, networks).name)
        stored = registry.save(own, card, "outlook", folder)
        registry.promote(own, stored, "test")
        stored.served.write_bytes(stored.served.read_bytes() + damage)
        models.append(asked(app, "/AAPL")[0].json()["model_id"])
    first, last = (registry.promotions(own, pretrained.NAME)[at].model_id for at in (0, -1))
    assert models == [Estimator().model_id, first, first, last]


def test_only_so_many_stocks_are_remembered() -> None:
    newest = outlooks.Newest[int]()
    for number in range(outlooks.KEPT + 1):
        newest.put(str(number), number)
    assert (newest.get("0"), newest.get("1")) == (None, 1)
