"""The web server of the console: the page, its snapshot, its stream of updates, health. Read only, loopback by default.

    GET /              the page (static/)
    GET /v1/snapshot   everything but the bars, JSON
    GET /v1/bars       the minute bars of one symbol, oldest first
    GET /v1/stream     server-sent events: `snapshot`, then `update`s of what changed
    GET /healthz       200 while the process lives
    GET /readyz        200 once the views are rebuilt from the topics

`feed.py` has what is served, `views.py` what is in it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn
from fastapi import FastAPI, Header, Query, Response
from fastapi.staticfiles import StaticFiles
from kafka.errors import KafkaError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers.console.feed import Feed, read
from streams import bus
from streams.errors import EnvironmentFault
from streams.settings import Settings

STATIC = Path(__file__).with_name("static")
HEARTBEAT_S = 2.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
log = logging.getLogger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(feed: Feed, host: str, lifespan: Lifespan | None = None) -> FastAPI:
    """Return the application that serves `feed`; requests that name another host than `host` or loopback are refused."""
    # The interactive documentation would load its scripts from elsewhere: no external request of any kind.
    app = FastAPI(title="tickcast", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json", lifespan=lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host, "127.0.0.1", "localhost"])
    app.add_middleware(_StrictHeaders)
    _add_data_routes(app, feed)
    _add_probes(app, feed)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _add_data_routes(app: FastAPI, feed: Feed) -> None:
    @app.get("/v1/snapshot")
    def snapshot() -> Response:
        return _json(feed.snapshot())

    @app.get("/v1/bars")
    def bars(symbol: Annotated[str, Query(min_length=1, max_length=32)]) -> Response:
        found = feed.bars(symbol)
        return _json(found) if found is not None else _problem(404, f"no bar of {symbol!r} has been seen")

    @app.get("/v1/stream")
    async def stream(last_event_id: Annotated[str, Header()] = "") -> EventSourceResponse:
        async def events() -> AsyncIterator[ServerSentEvent]:
            async for frame in feed.stream(last_event_id):
                yield ServerSentEvent(frame.data, event=frame.kind, id=frame.id)

        return EventSourceResponse(events())


def _add_probes(app: FastAPI, feed: Feed) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"alive": True})

    @app.get("/readyz")
    def readyz() -> Response:
        return _json({"ready": feed.caught_up}, 200 if feed.caught_up else 503)


def _json(content: object, status: int = 200, media_type: str = "application/json") -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type=media_type)


def _problem(status: int, detail: str) -> Response:
    return _json({"status": status, "detail": detail}, status, "application/problem+json")


class _StrictHeaders:
    """Adds :data:`HEADERS` to every response; plain ASGI, for Starlette's own base class would hold a stream back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ConsoleServer(uvicorn.Server):
    """Uvicorn that ends the open streams when it stops, in place of waiting for the browsers to leave.

    Parameters
    ----------
    settings : Settings
        Where the topics are.
    host : str
        The name under which the page is asked for.
    reporter : StatusReporter
        Tells `events` how this process is.
    """

    def __init__(self, settings: Settings, host: str, reporter: bus.StatusReporter) -> None:
        self.feed = Feed()
        self._settings = settings
        self._reporter = reporter
        app = create_app(self.feed, host, self._lifespan)
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2))

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.feed.pump()), asyncio.create_task(self._heartbeat())]
        yield
        for task in tasks:
            task.cancel()

    async def _heartbeat(self) -> None:
        while not self.feed.stopped:
            await asyncio.to_thread(self._report)
            await asyncio.sleep(HEARTBEAT_S)

    def _report(self) -> None:
        try:
            self._reporter.say("ready" if self.feed.caught_up else "starting", counts={"browsers": self.feed.browsers})
        except KafkaError as error:
            log.warning("the console cannot report its status: %s", error)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self.feed.stop()
        await super().shutdown(sockets)

    def serve_topics(self, listener: socket.socket) -> None:
        """Read the topics and serve the page on `listener` until asked to exit; an error of the reader ends both."""
        with ThreadPoolExecutor(1, "console-reader") as pool:
            reading = pool.submit(read, self._settings, self.feed)
            reading.add_done_callback(self._exit)
            try:
                self.run(sockets=[listener])
            finally:
                self.feed.stop()
            reading.result()

    def _exit(self, _done: Any) -> None:
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host` and `port`.

    Raises
    ------
    EnvironmentFault
        The port is taken, or `host` is no address of this machine.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise EnvironmentFault(
            f"the page cannot be served on {host}:{port} ({error.strerror}); set TICKCAST_CONSOLE_PORT to another port"
        ) from error


def run(settings: Settings, host: str = "127.0.0.1", port: int | None = None) -> None:
    """Serve the page until the process is asked to end.

    Parameters
    ----------
    settings : Settings
        Where the topics are, and the port where `port` is None.
    host : str
        The address to listen on.
    port : int, optional
        0 for a free one.

    Raises
    ------
    EnvironmentFault
        The port is taken, or no broker answers.
    """
    with listen(host, settings.console_port if port is None else port) as listener:
        bus.ensure_topics(settings)
        with closing(bus.producer(settings)) as client:
            reporter = bus.StatusReporter(settings, "console", client)
            ConsoleServer(settings, host, reporter).serve_topics(listener)
