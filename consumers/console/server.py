"""The web server of the console: the page, its snapshot, its stream of updates, REST, orders. Loopback by default.

    GET /                  the page (static/)
    GET /v1/stream         server-sent events: `snapshot`, then `update`s of what changed
    GET /v1/openapi.json   what else there is: `rest.py` to read, `steer.py` to order

`feed.py` has what is served, `views.py` what is in it, `guard.py` who may ask.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn
from fastapi import FastAPI, Header
from fastapi.staticfiles import StaticFiles
from kafka.errors import KafkaError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.middleware.trustedhost import TrustedHostMiddleware

from consumers.console import flow, guard, logs, outlook, problems, rest, steer
from consumers.console.feed import Feed, read
from consumers.console.outlooks import Outlooks
from consumers.console.patience import patient
from consumers.console.tapes import NoTapes, Tapes
from streams import bus
from streams.errors import EnvironmentFault
from streams.settings import Secret, Settings

STATIC = Path(__file__).with_name("static")
HEARTBEAT_S = 2.0
LONGEST_SEND_S = 30.0  # a browser that takes nothing for so long is gone, or asleep: it comes back by itself
MOST_CONNECTIONS = 500  # streams and requests together; beyond them 503
log = logging.getLogger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Backends:
    """What the page serves beside the topics.

    Attributes
    ----------
    outlooks : Outlooks, optional
        Computes the monthly outlook; without it the page says that there is no feed.
    tapes : Tapes
        Who knows which tapes there are.
    """

    outlooks: Outlooks | None = None
    tapes: Tapes = field(default_factory=NoTapes)


NOTHING = Backends()


def create_app(
    feed: Feed, settings: Settings, host: str, lifespan: Lifespan | None = None, backends: Backends = NOTHING
) -> FastAPI:
    """Return the application that serves `feed` and `backends`, asked for under the name `host`; see :func:`guarded`."""
    app = guarded(settings, host, lifespan)
    app.include_router(rest.routes(feed, settings))
    app.include_router(steer.routes(feed, settings, backends.tapes))
    app.include_router(logs.routes(settings))
    app.include_router(outlook.routes(backends.outlooks))
    _add_stream(app, feed)
    rest.describe(app)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def guarded(settings: Settings, host: str, lifespan: Lifespan | None = None) -> FastAPI:
    """Return an application without paths that refuses what may not pass.

    On loopback, requests that name another host are refused: a page elsewhere must not read through a name of its own. Beyond
    it the token keeps strangers out.
    """
    closed = host not in guard.LOOPBACK
    # The interactive documentation would load its scripts from elsewhere: no external request of any kind.
    app = FastAPI(title="tickcast", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json", lifespan=lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["*"] if closed else [host, "127.0.0.1", "localhost"])
    buckets = guard.Buckets(guard.PER_S, guard.BURST)
    app.add_middleware(
        guard.Guard,
        token=settings.console_token.reveal(),
        closed=closed,
        buckets=buckets,
        patience_s=settings.console_timeout_s,
    )
    problems.install(app)
    return app


def _add_stream(app: FastAPI, feed: Feed) -> None:
    @app.get("/v1/stream", responses={200: {"content": {"text/event-stream": {}}, "description": "snapshot, then updates"}})
    async def stream(last_event_id: Annotated[str, Header()] = "") -> EventSourceResponse:
        """Send a snapshot, then what changes, as server-sent events."""

        async def events() -> AsyncIterator[ServerSentEvent]:
            async for frame in feed.stream(last_event_id):
                yield ServerSentEvent(frame.data, event=frame.kind, id=frame.id)

        return EventSourceResponse(events(), send_timeout=LONGEST_SEND_S)


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how `app` is served: no request or connection may stay for ever, nor be one of too many."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http=patient(settings.console_timeout_s),
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=MOST_CONNECTIONS,
    )


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
    backends : Backends
        What it serves beside the topics.
    """

    def __init__(self, settings: Settings, host: str, reporter: bus.StatusReporter, backends: Backends = NOTHING) -> None:
        self.feed = Feed()
        self._settings = settings
        self._reporter = reporter
        self._outlooks = backends.outlooks
        app = create_app(self.feed, settings, host, self._lifespan, backends)
        super().__init__(configured(app, settings))

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
        if self._outlooks is not None:
            self._outlooks.close()
        await super().shutdown(sockets)

    def serve_topics(self, listener: socket.socket) -> None:
        """Read the topics and serve the page on `listener` until asked to exit; an error of the reader ends both."""
        with ThreadPoolExecutor(2, "console-reader") as pool:
            reading = pool.submit(read, self._settings, self.feed)
            pool.submit(flow.look, self._settings, self.feed)
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


def with_token(settings: Settings, host: str) -> Settings:
    """Return settings with a token; one that was made is told in the log."""
    if settings.console_token:
        return settings
    token = secrets.token_urlsafe(24)
    if host in guard.LOOPBACK:
        log.warning("to change anything the page needs a token: open /#token=%s (TICKCAST_CONSOLE_TOKEN sets another)", token)
    else:
        log.warning(
            "the page beyond this machine asks for a token once: open /?token=%s (TICKCAST_CONSOLE_TOKEN sets another)", token
        )
    return msgspec.structs.replace(settings, console_token=Secret(token))


def run(settings: Settings, host: str = "127.0.0.1", port: int | None = None, backends: Backends = NOTHING) -> None:
    """Serve the page until the process is asked to end.

    Parameters
    ----------
    settings : Settings
        Where the topics are, and the port where `port` is None.
    host : str
        The address to listen on.
    port : int, optional
        0 for a free one.
    backends : Backends
        What it serves beside the topics.

    Raises
    ------
    EnvironmentFault
        The port is taken, or no broker answers.
    """
    with listen(host, settings.console_port if port is None else port) as listener:
        settings = with_token(settings, host)
        bus.ensure_topics(settings)
        with closing(bus.producer(settings)) as client:
            reporter = bus.StatusReporter(settings, "console", client)
            ConsoleServer(settings, host, reporter, backends).serve_topics(listener)
