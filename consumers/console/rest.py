"""The REST interface, `/v1`: what the console knows, for programs that ask instead of subscribing. JSON, read only.

Lists come a page at a time: `limit`, and `before` or `after` with the `next` of the page before. Answers carry an ETag;
errors are problem details (`problems.py`). Times are microseconds UTC. All is of the newest part of the topics (`kept.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from scipy import stats
from starlette.exceptions import HTTPException

from consumers.console import metrics, problems
from consumers.console.feed import Feed
from consumers.console.flowing import Flow
from consumers.console.health import HealthRow
from consumers.console.kept import LetterBytes, Place, Slice, page
from consumers.console.market import Bar, Ratio, Skill, SymbolRow
from consumers.console.models import FAMILIES, MAX_CARDS, Curves, Kind, Models, curves, known_models
from consumers.console.news import HeadlineRow, SymbolScore
from consumers.console.views import Page, Views
from streams.messages import Event, EventKind, Features, Forecast, Role, Score
from streams.settings import Settings

BAND = (0.025, 0.975)  # of the binomial distribution: 95 %
SYMBOL = "one of `/v1/symbols`"

T = TypeVar("T")
Asked = TypeVar("Asked", bound=Callable[..., Response])
Symbol = Annotated[str, Query(min_length=1, max_length=32, description=SYMBOL)]
AnySymbol = Annotated[str | None, Query(min_length=1, max_length=32, description=f"{SYMBOL}; without it: all")]
Horizon = Annotated[int | None, Query(ge=1, le=10_000, description="minutes ahead")]
AnyRole = Annotated[Role | None, Query(description="champion, challenger or baseline")]
Model = Annotated[str | None, Query(min_length=1, max_length=256, description="a model's id")]
Limit = Annotated[int, Query(ge=1, le=1_000, description="how many at most")]
Before = Annotated[
    str | None,
    Query(
        max_length=1_024,
        description="`next` of the page before: newest first, older ones follow",
        json_schema_extra={"pattern": "^[0-9]{1,18}:"},  # told, not checked: `Place.of` says what to do
    ),
]
After = Annotated[str | None, Query(max_length=1_024, description="`next` of the page before: in alphabetical order")]


class SymbolPrice(msgspec.Struct, frozen=True):
    """One symbol with its last price; `change` against the close 30 bars ago."""

    symbol: str
    price: float | None
    price_ts_us: int
    change: float | None


class SymbolSentiment(msgspec.Struct, frozen=True):
    """The sentiment of one symbol: the mean of the last hour as in its newest row, and the last scores, newest first."""

    symbol: str
    sent_mean: float | None
    sent_n: int
    scores: list[Scored]


class Scored(msgspec.Struct, frozen=True):
    """One headline's score for one symbol."""

    headline_id: str
    event_ts_us: int
    score: SymbolScore


class SkillCourse(msgspec.Struct, frozen=True):
    """How a model does with one symbol at one horizon.

    `bands`: interval to the 95 % binomial band of its coverage, for which forecasts that overlap count once.
    """

    symbol: str
    skill: Skill
    bands: dict[str, tuple[float, float]]
    ratios: list[Ratio]


class Health(msgspec.Struct, frozen=True):
    """How the machinery is, and how fast it flows."""

    ready: bool
    browsers: int
    health: HealthRow
    flow: Flow


class Audit(msgspec.Struct, frozen=True):
    """What was counted: records ever written to each topic, and the newest balance of the stages, an event for each line."""

    records: dict[str, int]
    balance: list[Event]


class Alive(msgspec.Struct, frozen=True):
    """The process lives."""

    alive: bool = True


class Ready(msgspec.Struct, frozen=True):
    """Whether the views are rebuilt from the topics."""

    ready: bool


def routes(feed: Feed, settings: Settings) -> APIRouter:
    """Return all paths that answer from `feed`; models are also read from the store of `settings`."""
    router = APIRouter()
    _market(router, feed)
    _history(router, feed)
    _machinery(router, feed, settings)
    _probes(router, feed)
    return router


def _market(router: APIRouter, feed: Feed) -> None:
    @_get(router, "/v1/symbols", Slice[SymbolPrice])
    def symbols(request: Request, limit: Limit = 100, after: After = None) -> Response:
        """List the symbols with their last prices."""
        rows = feed.ask(lambda views: [views.market.row(name) for name in views.market.names])
        prices = [SymbolPrice(row.symbol, row.price, row.price_ts_us, row.change) for row in rows if row]
        return answer(request, _alphabetical(prices, lambda one: one.symbol, limit, after))

    @_get(router, "/v1/bars", list[Bar])
    def bars(request: Request, symbol: Symbol) -> Response:
        """Return the minute bars of a symbol, oldest first."""
        return answer(request, _known(feed.bars(symbol), f"no bar of {symbol!r} has been seen"))

    @_get(router, "/v1/features", Slice[Features])
    def features(request: Request, symbol: AnySymbol = None, limit: Limit = 100, after: After = None) -> Response:
        """Return the newest row of each symbol, or of one."""
        rows = feed.ask(lambda views: sorted(views.kept.features.values(), key=lambda row: row.symbol))
        if symbol is not None:
            rows = [row for row in rows if row.symbol == symbol]
            _known(rows or None, f"no row of {symbol!r} has been seen")
        return answer(request, _alphabetical(rows, lambda row: row.symbol, limit, after))

    @_get(router, "/v1/headlines", Slice[HeadlineRow])
    def headlines(request: Request, symbol: AnySymbol = None, limit: Limit = 50, before: Before = None) -> Response:
        """List the headlines with what the sentiment model said of them, newest first."""
        rows = feed.ask(lambda views: views.news.snapshot())
        at = _place(before)
        return answer(request, page(rows, lambda row: Place(row.event_ts_us, row.id), limit, at, lambda row: _names(row, symbol)))

    @_get(router, "/v1/sentiment", SymbolSentiment)
    def sentiment(request: Request, symbol: Symbol, limit: Limit = 50) -> Response:
        """Return the sentiment of a symbol."""
        return answer(request, _known(feed.ask(lambda views: _sentiment(views, symbol, limit)), f"{symbol!r} has not been seen"))


def _history(router: APIRouter, feed: Feed) -> None:
    @_get(router, "/v1/forecasts/latest", list[Forecast])
    def latest(request: Request, symbol: Symbol, horizon_min: Horizon = None) -> Response:
        """Return the newest forecasts of a symbol, of each role, horizon and kind (provisional or final) one."""
        row: SymbolRow = _known(feed.ask(lambda views: views.market.row(symbol)), f"{symbol!r} has not been seen")
        return answer(request, [one for one in row.forecasts if horizon_min in (None, one.horizon_min)])

    @_get(router, "/v1/forecasts", Slice[Forecast])
    def forecasts(  # noqa: PLR0913, PLR0917 - a path's options are its arguments
        request: Request,
        symbol: AnySymbol = None,
        horizon_min: Horizon = None,
        role: AnyRole = None,
        limit: Limit = 100,
        before: Before = None,
    ) -> Response:
        """List the final forecasts, newest first."""

        def wanted(one: Forecast) -> bool:
            return symbol in (None, one.symbol) and horizon_min in (None, one.horizon_min) and role in (None, one.role)

        at = _place(before)
        return answer(request, feed.ask(lambda views: views.kept.forecasts.page(limit, at, wanted)))

    @_get(router, "/v1/forecasts/{forecast_id:path}", Forecast)
    def forecast(request: Request, forecast_id: Annotated[str, Path(min_length=1, max_length=256)]) -> Response:
        """Return one final forecast."""
        found = feed.ask(lambda views: views.kept.forecasts.get(forecast_id))
        return answer(request, _known(found, "no such forecast is here; the topic `forecasts` has those of the last 7 days"))

    @_get(router, "/v1/scores", Slice[Score])
    def scores(  # noqa: PLR0913, PLR0917 - a path's options are its arguments
        request: Request,
        symbol: AnySymbol = None,
        horizon_min: Horizon = None,
        model_id: Model = None,
        limit: Limit = 100,
        before: Before = None,
    ) -> Response:
        """List the scores of matured forecasts, newest first."""

        def wanted(one: Score) -> bool:
            return symbol in (None, one.symbol) and horizon_min in (None, one.horizon_min) and model_id in (None, one.model_id)

        at = _place(before)
        return answer(request, feed.ask(lambda views: views.kept.scores.page(limit, at, wanted)))

    @_get(router, "/v1/skill", Slice[SkillCourse])
    def skill(
        request: Request, symbol: AnySymbol = None, horizon_min: Horizon = None, limit: Limit = 24, after: After = None
    ) -> Response:
        """Return how the models do beside a random walk, by symbol; `limit` counts symbols."""
        names = feed.ask(lambda views: views.market.names)
        chosen = _alphabetical([name for name in names if symbol in (None, name)], lambda name: name, limit, after)
        found = feed.ask(lambda views: [_course(name, *one) for name in chosen.items for one in views.market.skills(name)])
        return answer(request, Slice([one for one in found if horizon_min in (None, one.skill.horizon_min)], chosen.next))


def _machinery(router: APIRouter, feed: Feed, settings: Settings) -> None:
    @_get(router, "/v1/snapshot", Page)
    def snapshot(request: Request) -> Response:
        """Return everything on the page but the bars."""
        return answer(request, feed.snapshot())

    @_get(router, "/v1/health", Health)
    def health(request: Request) -> Response:
        """Return how every process is, rates, latencies and the lag of each consumer group."""
        return answer(request, Health(feed.caught_up, feed.browsers, feed.health(), feed.flow))

    @_get(router, "/v1/models", Models)
    def models(request: Request) -> Response:
        """Return the stored models, who was promoted and why, and what was announced."""
        announced = feed.ask(lambda views: views.kept.announced())
        return answer(request, known_models(settings, announced))

    @_get(router, "/v1/models/losses", list[Curves])
    def losses(
        request: Request,
        name: Annotated[Kind | None, Query(description="of one kind of model; without it: of all")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_CARDS, description="how many models at most of each name")] = 12,
    ) -> Response:
        """Return the training and validation loss of each epoch, by stored model, the newest data first."""
        return answer(request, curves(settings, [name] if name else FAMILIES, limit))

    @_get(router, "/v1/events", Slice[Event])
    def events(
        request: Request, kind: Annotated[EventKind | None, Query()] = None, limit: Limit = 100, before: Before = None
    ) -> Response:
        """List alerts, drifts and ends of tapes, newest first; statuses are in `/v1/health`, balances in `/v1/audit`."""
        at = _place(before)
        return answer(request, feed.ask(lambda views: views.kept.events.page(limit, at, lambda one: kind in (None, one.kind))))

    @_get(router, "/v1/audit", Audit)
    def audit(request: Request) -> Response:
        """Return what was counted."""
        balance = feed.ask(lambda views: list(views.kept.balance))
        return answer(request, Audit({row.topic: row.records for row in feed.flow.topics}, balance))

    @_get(router, "/v1/dead_letters", Slice[LetterBytes])
    def letters(request: Request, limit: Limit = 20, before: Before = None) -> Response:
        """List the dead letters with their bytes, newest first."""
        at = _place(before)
        return answer(request, feed.ask(lambda views: views.kept.letters.page(min(limit, 20), at)))

    @_get(router, "/v1/dead_letters/{number}", LetterBytes)
    def letter(request: Request, number: Annotated[int, Path(ge=0, le=2**63 - 1)]) -> Response:
        """Return one dead letter by its offset on `dead_letters`."""
        found = feed.ask(lambda views: views.kept.letters.get(str(number)))
        return answer(
            request, _known(found, f"dead letter {number} is not among the last ones; `tickcast tail dead_letters` has all")
        )


def _probes(router: APIRouter, feed: Feed) -> None:
    @_get(router, "/healthz", Alive)
    def healthz(request: Request) -> Response:
        """Answer while the process lives."""
        return answer(request, Alive())

    @_get(router, "/readyz", Ready, {503: {"description": "the topics are still being read", "content": _json_of(Ready)}})
    def readyz(request: Request) -> Response:
        """Answer 200 once the views are rebuilt from the topics, 503 before."""
        return answer(request, Ready(feed.caught_up), 200 if feed.caught_up else 503)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}})
    def prometheus() -> Response:
        """Return the state of the machinery in Prometheus' text format."""
        told = metrics.text(feed.health(), feed.flow, feed.browsers, feed.caught_up)
        return Response(told, media_type=metrics.MEDIA_TYPE)


def answer(request: Request, content: object, status: int = 200) -> Response:
    """Return `content` as JSON with its ETag, or 304 where the asker has it already."""
    body = msgspec.json.encode(content)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if status == 200 and known & {tag, "*"}:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, status, {"ETag": tag}, "application/json")


def _known(found: T | None, otherwise: str) -> T:
    if found is None:
        raise HTTPException(404, otherwise)
    return found


def _place(cursor: str | None) -> Place | None:
    try:
        return None if cursor is None else Place.of(cursor)
    except ValueError as error:
        raise HTTPException(422, f"before: {error}") from error


def _alphabetical(rows: list[T], name: Callable[[T], str], limit: int, after: str | None) -> Slice[T]:
    left = [row for row in rows if after is None or name(row) > after]
    return Slice(left[:limit], name(left[limit - 1]) if len(left) > limit else None)


def _names(row: HeadlineRow, symbol: str | None) -> bool:
    return symbol is None or symbol in row.symbols


def _sentiment(views: Views, symbol: str, limit: int) -> SymbolSentiment | None:
    row = views.kept.features.get(symbol)
    headlines = sorted(views.news.snapshot(), key=lambda one: one.event_ts_us, reverse=True)
    scores = [Scored(one.id, one.event_ts_us, score) for one in headlines for score in one.scores if score.symbol == symbol]
    if row is None and not scores:
        return None
    return SymbolSentiment(symbol, row.sent_mean if row else None, row.sent_n if row else 0, scores[:limit])


def _course(symbol: str, skill: Skill, ratios: list[Ratio]) -> SkillCourse:
    bands = {interval: _band(n, int(interval) / 100, skill.horizon_min) for interval, (_, n) in skill.covered.items()}
    return SkillCourse(symbol, skill, bands, ratios)


def _band(n: int, promised: float, overlap: int) -> tuple[float, float]:
    independent = max(1, n // overlap)
    low, high = stats.binom.ppf(BAND, independent, promised) / independent
    return round(float(low), 4), round(float(high), 4)


def _get(
    router: APIRouter, path: str, kind: Any, more: dict[int | str, dict[str, Any]] | None = None
) -> Callable[[Asked], Asked]:
    """Return what declares a GET path whose answer is a `kind`."""
    return router.get(path, responses=answers_of(kind) | (more or {}), response_class=Response)


def answers_of(kind: Any) -> dict[int | str, dict[str, Any]]:
    """Return how the document describes the answers of a path, the good one a `kind`."""
    return {
        200: {"description": "Found", "content": _json_of(kind)},
        304: {"description": "The asker has it already: If-None-Match"},
        404: problem_of("nothing is known of that"),
        422: problem_of("an argument does not fit"),
    }


def problem_of(description: str) -> dict[str, Any]:
    """Return how the document describes an error."""
    return {"description": description, "content": {problems.MEDIA_TYPE: {"schema": _reference(problems.Problem)}}}


def _json_of(kind: Any) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(kind)}}


def _reference(kind: Any) -> dict[str, Any]:
    [schema], components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    _components.update(components)
    return schema


_components: dict[str, Any] = {}


def describe(app: FastAPI) -> None:
    """Let `app`'s OpenAPI document tell what its answers hold."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title="tickcast", version="1", description=__doc__, routes=app.routes)
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            found["components"]["schemas"] = schemas | _components
            found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
