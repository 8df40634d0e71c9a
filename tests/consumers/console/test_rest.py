"""The REST interface on a real broker, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from consumers.console import guard, models, problems
from consumers.console.kept import Kept, Place, Shelf
from deploy.local.broker import free_port
from models import registry
from models.forecaster import recurrent_recipe
from models.outlook import pretrained
from models.registry import Losses, Promotion
from models.sentiment import base
from models.studies import daily_model
from streams import bus
from streams.messages import DeadLetter, Event, ModelAnnouncement
from streams.settings import Secret, Settings
from streams.testing import eventually
from tests.consumers.console.conftest import Console, Produce, serving
from tests.consumers.console.samples import bar, forecast, headline, score, sentiment, status
from tests.models.forecaster.samples import stored_onnx

pytestmark = pytest.mark.timeout(90)

LETTER = DeadLetter(
    topic="ticks", partition=0, offset=7, stage="stream", error_class="not_json", message="no JSON", value_base64="e25vbnNlbnNl"
)
ANNOUNCED = ModelAnnouncement(
    name="forecaster", model_id="lstm-1", uri="file:///m", sha256="0" * 64, promoted=True, reason="better by 2 %"
)


@pytest.fixture
def address(console: Console, produce: Produce, config: Settings) -> Iterator[str]:
    """Return the address of a console that has read a little of everything."""
    produce(*(bar(minute, symbol=symbol) for symbol in ("AAPL", "BRK/B") for minute in range(6)))
    produce(*(forecast(minute, horizon) for minute in range(5) for horizon in (1, 5)), forecast(5, provisional=True))
    produce(
        *(score(minute) for minute in range(4)), headline(1), headline(2), sentiment(1), status("produce", detail="simulated")
    )
    produce(Event(kind="drift", role="score", wall_ts_us=1, detail="AAPL: residuals"))
    produce(*(Event(kind="audit", role=role, wall_ts_us=at) for role, at in [("stream", 2), ("stream", 3), ("score", 3)]))
    with bus.producing(config) as client:
        words = [bus.outgoing("models", "forecaster", ANNOUNCED), bus.outgoing("dead_letters", "ticks", LETTER)]
        bus.send_all(client, config, words)
    with console() as started:
        eventually(lambda: got(started, "/v1/health")["flow"]["at_us"])
        yield started


def got(address: str, path: str, **parameters: object) -> Any:
    answer = httpx.get(address + path, params={name: str(value) for name, value in parameters.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_answer_is_as_the_document_says(address: str) -> None:
    document = got(address, "/v1/openapi.json")
    asked = {
        "/v1/symbols": {},
        "/v1/bars": {"symbol": "AAPL"},
        "/v1/features": {},
        "/v1/headlines": {"symbol": "AAPL"},
        "/v1/sentiment": {"symbol": "AAPL"},
        "/v1/forecasts/latest": {"symbol": "AAPL"},
        "/v1/forecasts": {},
        "/v1/scores": {"model_id": "lstm-1"},
        "/v1/skill": {},
        "/v1/snapshot": {},
        "/v1/health": {},
        "/v1/models": {},
        "/v1/models/losses": {},
        "/v1/events": {},
        "/v1/audit": {},
        "/v1/dead_letters": {},
        "/v1/outlook": {},
        "/v1/control": {},
        "/v1/replay": {},
        "/v1/tapes": {},
        "/healthz": {},
        "/readyz": {},
    }
    plain = {path for path, methods in document["paths"].items() if "get" in methods and "{" not in path}
    assert plain == {*asked, "/metrics", "/v1/stream"}
    for path, parameters in asked.items():
        content = got(address, path, **parameters)
        declared = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(content, declared | {"components": document["components"]})
        assert content or path in {"/v1/control", "/v1/models/losses", "/v1/tapes"}


def test_forecasts_by_symbol_horizon_and_id(address: str) -> None:
    assert {row["horizon_min"] for row in got(address, "/v1/forecasts", horizon_min=5)["items"]} == {5}
    assert len(got(address, "/v1/forecasts", role="champion", symbol="AAPL")["items"]) == 10
    assert got(address, "/v1/forecasts", role="baseline")["items"] == []
    wanted = forecast(3, 5)
    assert got(address, f"/v1/forecasts/{quote(wanted.forecast_id)}") == msgspec.to_builtins(wanted)
    newest = got(address, "/v1/forecasts/latest", symbol="AAPL", horizon_min=5)
    assert {(row["provisional"], row["as_of_ts_us"]) for row in newest} == {
        (False, forecast(4).as_of_ts_us),
        (True, forecast(5).as_of_ts_us),
    }


def test_pages_go_on_where_the_one_before_ended(address: str) -> None:
    whole = [row["forecast_id"] for row in got(address, "/v1/forecasts")["items"]]
    assert whole == sorted(whole, key=lambda name: (int(name.split("-")[1]), name), reverse=True)
    found: list[str] = []
    page = got(address, "/v1/forecasts", limit=3)
    found += [row["forecast_id"] for row in page["items"]]
    while page["next"]:
        page = got(address, "/v1/forecasts", limit=3, before=page["next"])
        found += [row["forecast_id"] for row in page["items"]]
    assert found == whole
    first = got(address, "/v1/symbols", limit=1)
    assert [row["symbol"] for row in got(address, "/v1/symbols", after=first["next"])["items"]] == ["BRK/B"]


def test_skill_has_a_band_in_which_overlapping_forecasts_count_once(address: str) -> None:
    [row] = got(address, "/v1/skill", symbol="AAPL", horizon_min=5)["items"]
    assert row["skill"]["covered"]["80"] == [4, 4]
    assert row["bands"]["80"] == [0.0, 1.0]  # four overlapping forecasts are less than one
    assert [point["ratio"] for point in row["ratios"]] == pytest.approx([(1 - 0.003) ** 0.5] * 4)


def test_models_dead_letters_events_and_counts(address: str, config: Settings) -> None:
    store = config.home / "models" / "forecaster"
    store.mkdir(parents=True)
    (store / registry.PROMOTIONS).write_bytes(msgspec.json.encode([Promotion(model_id="lstm-0", reason="the first")]))
    known = got(address, "/v1/models")
    [forecaster, *others] = known["families"]
    assert (forecaster["champion"], forecaster["promotions"]) == (
        "lstm-1",
        [{"model_id": "lstm-0", "reason": "the first", "at_us": 0}],
    )
    assert [(one["name"], one["champion"]) for one in others] == [("sentiment", None), ("monthly", None), ("daily", None)]
    assert known["announced"] == [msgspec.to_builtins(ANNOUNCED)]
    [letter] = got(address, "/v1/dead_letters")["items"]
    assert base64.b64decode(letter["letter"]["value_base64"]) == b"{nonsense"
    assert got(address, f"/v1/dead_letters/{letter['number']}") == letter
    assert [event["kind"] for event in got(address, "/v1/events", kind="drift")["items"]] == ["drift"]
    audit = got(address, "/v1/audit")
    assert (audit["records"]["scores"], [event["role"] for event in audit["balance"]]) == (4, ["stream", "score"])


def test_loss_curves_are_those_of_the_stored_models_that_keep_some(address: str, config: Settings, tmp_path: Path) -> None:
    assert got(address, "/v1/models/losses") == []
    (tmp_path / "made").mkdir()
    registry.write_losses(tmp_path / "made", Losses(train=[0.41, 0.37], validation=[0.40, 0.39]))
    kept = stored_onnx(config, tmp_path / "made", seed=1, cutoff=1)
    damaged = stored_onnx(config, tmp_path / "damaged", seed=2, cutoff=2)
    (damaged.folder / registry.LOSSES).write_bytes(b'{"train": "none"}')
    stored_onnx(config, tmp_path / "without", seed=3, cutoff=3)
    curves = {"name": "forecaster", "model_id": kept.card.model_id, "train": [0.41, 0.37], "validation": [0.40, 0.39]}
    assert got(address, "/v1/models/losses") == [curves]
    assert got(address, "/v1/models/losses", name="sentiment") == []
    registry.write_losses(damaged.folder, Losses(train=[0.5]))
    assert [row["validation"] for row in got(address, "/v1/models/losses")] == [[], curves["validation"]]  # the newest data first
    assert [row["train"] for row in got(address, "/v1/models/losses", limit=1)] == [[0.5]]
    assert httpx.get(f"{address}/v1/models/losses", params={"name": "moon"}).status_code == 422


def test_metrics_are_prometheus_text(address: str) -> None:
    answer = httpx.get(f"{address}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert samples["tickcast_ready"] == "1.0"
    assert samples['tickcast_topic_records_total{topic="scores"}'] == "4.0"
    assert samples['tickcast_role_up{role="produce"}'] == "1.0"
    assert samples['tickcast_drifts_total{symbol="AAPL"}'] == "1"


def test_an_etag_saves_what_is_known(address: str) -> None:
    first = httpx.get(f"{address}/v1/scores")
    again = httpx.get(f"{address}/v1/scores", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(f"{address}/v1/scores", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v1/forecasts/nothing", 404, "no such forecast is here"),
        ("GET", "/v1/bars?symbol=NOPE", 404, "no bar of 'NOPE'"),
        ("GET", "/v1/sentiment?symbol=NOPE", 404, "'NOPE' has not been seen"),
        ("GET", "/v1/dead_letters/99", 404, "dead letter 99"),
        ("GET", "/v1/forecasts?before=yesterday", 422, "'yesterday' is no cursor"),
        ("GET", "/v1/forecasts?limit=0", 422, "limit: "),
        ("GET", "/v1/forecasts?role=king", 422, "role: "),
        ("GET", "/v1/nothing", 404, ""),
        ("POST", "/v1/outlook/AAPL", 501, "this console has no feed of daily prices"),
        ("POST", "/v1/symbols", 401, "nothing is changed here without the token"),
    ],
)
def test_errors_are_problem_details(address: str, method: str, path: str, status: int, says: str) -> None:
    answer = httpx.request(method, address + path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (status, HTTPStatus(status).phrase)
    assert says in problem.get("detail", "")


def test_too_large_a_body_is_refused_unread(address: str) -> None:
    large = httpx.post(f"{address}/v1/outlook/AAPL", content=b"x" * (guard.LARGEST_BODY + 1))
    unknown = httpx.post(f"{address}/v1/outlook/AAPL", content=iter([b"x"]))
    assert (large.status_code, unknown.status_code) == (413, 413)


def test_an_address_that_asks_too_often_is_told_when_to_come_again() -> None:
    buckets = guard.Buckets(per_s=10, burst=5)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert buckets.take("a", 0.0) == pytest.approx(0.1)
    assert (buckets.take("b", 0.0), buckets.take("a", 0.11)) == (0.0, 0.0)


def test_the_rate_limit_answers_429() -> None:
    app = guard.Guard(problems.response(404, "here is nothing"), "", closed=False, buckets=guard.Buckets(per_s=0.01, burst=3))

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return [await client.get(path) for path in ["/v1/x"] * 5 + ["/app.js"]]

    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429, 429, 404]
    assert 90 <= int(answers[4].headers["Retry-After"]) <= 100


def test_the_names_in_the_store_are_those_that_training_writes() -> None:
    assert (recurrent_recipe.NAME, base.NAME, pretrained.NAME, daily_model.NAME) == models.FAMILIES


@contextmanager
def closed(config: Settings) -> Iterator[str]:
    """Serve as if beyond loopback: under another name than a loopback one."""
    with serving(msgspec.structs.replace(config, console_token=Secret("secret")), name="0.0.0.0") as address:  # noqa: S104 - a name here
        yield address


def test_beyond_loopback_everything_but_the_probes_asks_for_the_token(config: Settings) -> None:
    with closed(config) as address:
        assert httpx.get(f"{address}/healthz").status_code == 200
        for path in ("/", "/v1/symbols", "/v1/openapi.json", "/metrics", "/?token=wrong"):
            assert httpx.get(address + path).status_code == 401
        assert httpx.get(f"{address}/v1/symbols", headers={"Authorization": "Bearer secret"}).status_code == 200
        with httpx.Client(base_url=address, follow_redirects=True) as browser:
            assert browser.get("/", params={"token": "secret"}).status_code == 200
            assert browser.get("/v1/symbols").status_code == 200
            assert browser.post("/v1/symbols").status_code == 401  # a cookie may read, not change
        assert httpx.post(f"{address}/v1/symbols", headers={"Authorization": "Bearer secret"}).status_code == 405


def test_without_a_token_of_ones_own_one_is_made_and_told_in_the_log(config: Settings, tmp_path: Path) -> None:
    address = f"http://127.0.0.2:{free_port()}"  # loopback, but not the one where reading is free
    command = [sys.executable, "-m", "deploy", "console", "--host", "127.0.0.2", "--port", address.rpartition(":")[2]]
    log = tmp_path / "log"
    with log.open("wb") as told, subprocess.Popen(command, env=os.environ | config.environment(), stderr=told) as process:
        try:
            [token] = eventually(lambda: re.findall(r"/\?token=(\S+)", log.read_text()), 40)
            eventually(lambda: _status(f"{address}/healthz") == 200, 40)
            assert _status(address) == 401
            with httpx.Client(follow_redirects=True) as browser:
                assert browser.get(f"{address}/?token={token}").status_code == 200
        finally:
            process.terminate()


def _status(address: str) -> int:
    try:
        return httpx.get(address).status_code
    except httpx.TransportError:
        return 0


TEXTS = st.text(max_size=40) | st.sampled_from(["AAPL", "5", "-1", "0", "1340285700000000:x", "1:", "\x00", "é" * 33, "9" * 30])


@pytest.fixture
def operations(address: str, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[httpx.Client, list[tuple[str, str, list[str]]]]]:
    """Return a client and every operation of the OpenAPI document with the names of its query parameters."""
    caplog.set_level(logging.ERROR, "httpx")
    paths: dict[str, Any] = got(address, "/v1/openapi.json")["paths"]
    found = [
        (method, path, [one["name"] for one in about.get("parameters", []) if one["in"] == "query"])
        for path, methods in paths.items()
        if path != "/v1/stream"  # it never ends
        for method, about in methods.items()
    ]
    with httpx.Client(base_url=address) as client:
        yield client, found


@effort(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_can_be_asked_makes_it_fail(
    operations: tuple[httpx.Client, list[tuple[str, str, list[str]]]], data: st.DataObject
) -> None:
    client, all_of_them = operations
    method, path, names = data.draw(st.sampled_from(all_of_them))
    filled = "/".join(quote(data.draw(TEXTS), safe="") if part.startswith("{") else part for part in path.split("/"))
    parameters = {name: data.draw(TEXTS) for name in names if data.draw(st.booleans())}
    headers = {"If-None-Match": data.draw(st.sampled_from(["", "*", '"x", W/"y"', ",,"]))}
    answer = eventually(lambda: _patient(client, method, filled, parameters, headers), 20, 0.02)
    assert answer.status_code < 500 or (answer.status_code, method) == (501, "post"), answer.text
    assert answer.status_code in {200, 304, 401, 404, 405, 422, 501, 307}  # orders ask for the token first: 401
    if answer.status_code >= 400:
        assert answer.json()["status"] == answer.status_code


def _patient(client: httpx.Client, method: str, path: str, parameters: dict[str, str], headers: dict[str, str]) -> Any:
    """Return the answer, or None where there were too many questions: a rate limit is no failure."""
    answer = client.request(method, path, params=parameters, headers=headers)
    return None if answer.status_code == 429 else answer


def test_a_shelf_is_bounded_and_keeps_one_of_each() -> None:
    shelf = Shelf[int](3, lambda number: Place(number, str(number % 10)))
    for number in (1, 2, 3, 13, 4):
        shelf.put(number)
    assert shelf.page(9, None).items == [13, 4, 2]
    assert shelf.get("1") is None


def test_a_long_letter_is_cut_and_an_older_row_changes_nothing() -> None:
    kept = Kept()
    kept.add_letter(msgspec.structs.replace(LETTER, value_base64="A" * 100_000), 5)
    [letter] = kept.letters.page(1, None).items
    assert (letter.truncated, len(letter.letter.value_base64)) == (True, 65_536)
    for row in (bar(3), bar(2), bar(3, 1.0, revision=8)):
        kept.add_features(row)
    assert kept.features["AAPL"] == bar(3)
