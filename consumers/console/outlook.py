"""The paths of the monthly outlook: `/v1/outlook`.

A POST fetches and computes, a GET tells what was computed last. Neither changes anything of the pipeline, so that no token is
needed on loopback; but a POST asks the outside world, so that pages of other origins may not send one.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Path, Request, Response

from consumers.console import problems, rest
from consumers.console.outlooks import Busy, Outlooks
from models.outlook.outlook import Outlook
from streams.errors import EnvironmentFault, LineLost, ModelError, SourceError, TickcastError, UnknownSymbol

PATIENCE_S = 45.0  # of who asks; the computation goes on without him
AGAIN_S = 30
SHAPE = re.compile(r"[A-Z0-9^][A-Z0-9.^=-]{0,15}")
NO_FEED = "this console has no feed of daily prices: set TICKCAST_OUTLOOK to a folder of files, or be online for Yahoo Finance"
REFUSALS: dict[int | str, str] = {
    403: "asked from a page of another origin",
    404: "the feed does not know the stock",
    422: "that is no ticker",
    429: "the feed was asked too often",
    501: "there is no feed",
    502: "the feed answers nonsense",
    503: "the feed or the model is not there",
    504: "it takes too long",
}

Symbol = Annotated[str, Path(min_length=1, max_length=32, description="a stock's ticker, as AAPL")]


class Offered(msgspec.Struct, frozen=True):
    """Where prices and headlines come from, and stocks to ask for; others may be known too. No feed: nothing can be asked."""

    feed: str
    symbols: tuple[str, ...]


def routes(outlooks: Outlooks | None) -> APIRouter:
    """Return the paths; without `outlooks` they say what is missing."""
    router = APIRouter()
    _add_reading(router, outlooks)
    _add_computing(router, outlooks)
    return router


def _add_reading(router: APIRouter, outlooks: Outlooks | None) -> None:
    @router.get("/v1/outlook", responses=rest.answers_of(Offered), response_class=Response)
    def offered(request: Request) -> Response:
        """Return which stocks may be asked for."""
        return rest.answer(request, Offered(outlooks.feed.name, outlooks.symbols) if outlooks else Offered("", ()))

    @router.get("/v1/outlook/{symbol:path}", responses=rest.answers_of(Outlook), response_class=Response)
    def newest(request: Request, symbol: Symbol) -> Response:
        """Return the outlook of a stock that was computed last."""
        found = outlooks.newest(symbol.upper()) if outlooks else None
        if found is None:
            return problems.response(
                404, f"no outlook of {symbol!r} has been computed since the console started; POST computes it"
            )
        return rest.answer(request, found)


def _add_computing(router: APIRouter, outlooks: Outlooks | None) -> None:
    responses = rest.answers_of(Outlook) | {status: rest.problem_of(why) for status, why in REFUSALS.items()}

    @router.post("/v1/outlook/{symbol:path}", responses=responses, response_class=Response)
    async def compute(request: Request, symbol: Symbol) -> Response:
        """Fetch a stock's prices and headlines, and say what it may do within a month. An answer is computed once for all."""
        if outlooks is None:
            return problems.response(501, NO_FEED)
        if not _same_origin(request):
            return problems.response(403, "a page of another origin may not ask for an outlook")
        if not SHAPE.fullmatch(symbol.upper()):
            return problems.response(422, f"{symbol!r} is no ticker")
        try:
            return rest.answer(request, await _computed(outlooks, symbol.upper()))
        except TimeoutError:
            return problems.response(
                504, f"the outlook takes longer than {PATIENCE_S:.0f} s; it goes on, ask again", _again(AGAIN_S)
            )
        except TickcastError as error:
            return _problem(error)


async def _computed(outlooks: Outlooks, symbol: str) -> Outlook:
    """Return the outlook; whoever stops waiting leaves the computation to the others."""
    flight = asyncio.wrap_future(outlooks.start(symbol))
    flight.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, also where nobody waits any more
    return await asyncio.wait_for(asyncio.shield(flight), PATIENCE_S)


def _problem(error: TickcastError) -> Response:
    if isinstance(error, Busy):
        return problems.response(429, str(error), _again(round(error.wait_s)))
    if isinstance(error, UnknownSymbol):
        return problems.response(404, str(error))
    if isinstance(error, LineLost):
        return problems.response(503, str(error), _again(AGAIN_S))
    if isinstance(error, SourceError):
        return problems.response(502, str(error))
    if isinstance(error, ModelError | EnvironmentFault):
        return problems.response(503, str(error))
    raise error


def _again(wait_s: int) -> dict[str, str]:
    return {"Retry-After": str(max(1, wait_s))}


def _same_origin(request: Request) -> bool:
    """Return whether no browser says that the request comes from a page elsewhere."""
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # that is no address
        return False
