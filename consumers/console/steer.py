"""Orders by REST: `POST /v1/control/…` writes to `control`, and whoever carries it out answers there. And what there is to steer.

Every POST needs the token (`guard.py`). It answers 202 with the order's id at once; `GET /v1/control/{command_id}` says what
became of it, and so do the page's updates. An order that nobody would carry out is refused with 409.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Path, Request, Response
from kafka.errors import KafkaError
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from consumers.console import rest
from consumers.console.feed import Feed
from consumers.console.health import RoleRow
from consumers.console.orders import OrderRow
from consumers.console.tapes import Tape, Tapes
from streams import control
from streams.clock import SECOND_US
from streams.errors import BrokerGone
from streams.messages import MAX_TS_US, Identifier
from streams.settings import Settings

ASKED_BY = "the page"
Asked = TypeVar("Asked", bound=msgspec.Struct)


class Steer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the tape is to run: `speed` (a number above 0, or max) for speed, `to_ts_us` for seek."""

    do: Literal["pause", "resume", "speed", "seek", "stop"]
    speed: Annotated[str, Meta(max_length=32)] = ""
    to_ts_us: Annotated[int, Meta(ge=0, le=MAX_TS_US)] = 0


class StartReplay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tape to replay beside what runs, one of `/v1/tapes`."""

    tape: Identifier
    speed: Annotated[str, Meta(max_length=32)] = "max"


class Promote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a stored model the champion."""

    model_id: Identifier
    reason: Annotated[str, Meta(max_length=256)] = ""


class RollBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make the champion's predecessor the champion again."""

    name: Literal["forecaster", "sentiment"] = "forecaster"
    reason: Annotated[str, Meta(max_length=256)] = ""


class Redrive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send a dead letter again, by its name: TOPIC/PARTITION/OFFSET/STAGE."""

    name: Annotated[str, Meta(min_length=1, max_length=512)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order that needs no words."""


class Given(msgspec.Struct, frozen=True):
    """The order was written down; `GET /v1/control/{command_id}` says what becomes of it."""

    command_id: str


class Replay(msgspec.Struct, frozen=True):
    """The tape that runs here: where it stands and how it runs.

    `speed` is None where it runs as fast as it can, `left_s` where that is not known. `page` is the port of a replay that runs
    beside; 0: none does.
    """

    running: bool
    mode: str
    source: str
    clock_ts_us: int = 0
    first_ts_us: int = 0
    last_ts_us: int = 0
    speed: float | None = None
    paused: bool = False
    seek_ts_us: int = 0
    share: float = 0.0
    left_s: float | None = None
    page: int = 0
    tape: Tape | None = None


def routes(feed: Feed, settings: Settings, tapes: Tapes) -> APIRouter:
    """Return the paths; orders go to `control` of `settings`."""
    router = APIRouter()
    _add_looks(router, feed, tapes)

    def give(kind: control.Kind, role: str, arguments: dict[str, str]) -> Response:
        _wanted(feed, kind, role)
        wanted = control.order(kind, ASKED_BY, arguments)
        control.send(settings, wanted)
        return Response(msgspec.json.encode(Given(wanted.command_id)), 202, media_type="application/json")

    _post(router, "/v1/control/replay", Steer, lambda body: give("replay", "produce", _steered(body)))
    _post(
        router,
        "/v1/control/replay/start",
        StartReplay,
        lambda body: give("replay", "steward", {"do": "start", "tape": body.tape, "speed": body.speed}),
    )
    _post(router, "/v1/control/replay/end", Nothing, lambda _: give("replay", "steward", {"do": "end"}))
    _post(router, "/v1/control/retrain", Nothing, lambda _: give("retrain", "retrain", {}))
    _post(
        router,
        "/v1/control/promote",
        Promote,
        lambda body: give("promote", "steward", {"model_id": body.model_id, "reason": body.reason}),
    )
    _post(
        router,
        "/v1/control/rollback",
        RollBack,
        lambda body: give("rollback", "steward", {"name": body.name, "reason": body.reason}),
    )
    _post(router, "/v1/control/redrive", Redrive, lambda body: give("redrive", "steward", {"name": body.name}))
    return router


def _add_looks(router: APIRouter, feed: Feed, tapes: Tapes) -> None:
    @router.get("/v1/control", responses=rest.answers_of(list[OrderRow]), response_class=Response)
    def orders(request: Request) -> Response:
        """List the last orders, the oldest first, and what became of them."""
        return rest.answer(request, feed.ask(lambda views: views.orders.snapshot()))

    @router.get("/v1/control/{command_id}", responses=rest.answers_of(OrderRow), response_class=Response)
    def order(request: Request, command_id: Annotated[str, Path(min_length=1, max_length=256)]) -> Response:
        """Return one order, and what became of it."""
        found = feed.ask(lambda views: views.orders.get(command_id))
        if found is None:
            raise HTTPException(404, "no such order is among the last ones; the topic `control` has those of 31 days")
        return rest.answer(request, found)

    @router.get("/v1/tapes", responses=rest.answers_of(list[Tape]), response_class=Response)
    def listed(request: Request) -> Response:
        """List the tapes that can be replayed."""
        return rest.answer(request, tapes.listed())

    @router.get("/v1/replay", responses=rest.answers_of(Replay), response_class=Response)
    def replay(request: Request) -> Response:
        """Return the tape that runs here: where it stands and how it runs."""
        roles = {row.role: row for row in feed.health().roles}
        found = replay_of(roles.get("produce"), *feed.ask(lambda views: views.origin))
        page = roles["steward"].counts.get("replay_page", 0) if "steward" in roles else 0
        tape = tapes.running() if found.running else None
        return rest.answer(request, msgspec.structs.replace(found, page=page, tape=tape))


def replay_of(produce: RoleRow | None, mode: str, source: str) -> Replay:
    """Return the tape that runs, from what its producer said last."""
    counts = produce.counts if produce is not None else {}
    if mode != "REPLAY" or "speed_milli" not in counts:
        return Replay(mode == "REPLAY", mode, source)
    first_us, last_us, clock_us = (counts.get(name, 0) for name in ("first_ts_us", "last_ts_us", "clock_ts_us"))
    speed = counts["speed_milli"] / 1_000 or None
    span_us = max(1, last_us - first_us)
    return Replay(
        running=True,
        mode=mode,
        source=source,
        clock_ts_us=clock_us,
        first_ts_us=first_us,
        last_ts_us=last_us,
        speed=speed,
        paused=bool(counts.get("paused")),
        seek_ts_us=counts.get("seek_ts_us", 0),
        share=min(1.0, max(0.0, (clock_us - first_us) / span_us)),
        left_s=None if speed is None or not clock_us else max(0.0, (last_us - clock_us) / SECOND_US / speed),
    )


def _steered(body: Steer) -> dict[str, str]:
    if body.do == "speed":
        return {"do": "speed", "speed": body.speed}
    return {"do": "seek", "to_ts_us": str(body.to_ts_us)} if body.do == "seek" else {"do": body.do}


def _wanted(feed: Feed, kind: control.Kind, role: str) -> None:
    """Refuse an order that nobody would carry out."""
    if role == "produce" and feed.ask(lambda views: views.origin)[0] != "REPLAY":
        raise HTTPException(409, "no tape runs here: what is live or simulated has one speed, and no way back")
    rows = {row.role: row for row in feed.health().roles}
    if role != "produce" and (role not in rows or rows[role].silent):
        raise HTTPException(409, f"nobody would {kind}: the role {role} does not run; `tickcast {role}` starts it")


def _post(router: APIRouter, path: str, kind: type[Asked], do: Callable[[Asked], Response]) -> None:
    """Declare a path that takes a `kind` as its body."""
    decoder = msgspec.json.Decoder(kind)
    responses: dict[int | str, dict[str, Any]] = {
        202: {"description": "It is written down", "content": _content(Given)},
        401: rest.problem_of("it needs the token"),
        409: rest.problem_of("nobody would carry it out"),
        413: rest.problem_of("the body is too large, or does not say how large it is"),
        422: rest.problem_of("the body does not fit"),
        503: rest.problem_of("the broker does not answer"),
    }

    async def order(request: Request) -> Response:
        try:
            body = decoder.decode(await request.body() or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HTTPException(422, f"the body: {error}") from error
        try:
            return await run_in_threadpool(do, body)
        except (KafkaError, BrokerGone) as error:
            raise HTTPException(
                503, "the broker does not answer: nothing was ordered; `tickcast doctor` says what is wrong"
            ) from error

    order.__name__ = path.removeprefix("/v1/").replace("/", "_")
    order.__doc__ = kind.__doc__
    router.add_api_route(
        path,
        order,
        methods=["POST"],
        status_code=202,
        responses=responses,
        response_class=Response,
        openapi_extra={
            "requestBody": {"content": _content(kind), "required": not _may_be_empty(decoder)},
            "security": [{"token": []}],
        },
    )


def _may_be_empty(decoder: msgspec.json.Decoder[Asked]) -> bool:
    try:
        decoder.decode(b"{}")
    except msgspec.ValidationError:
        return False
    return True


def _content(kind: Any) -> Any:
    return rest.answers_of(kind)[200]["content"]
