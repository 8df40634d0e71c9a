"""The outlook alone: its page and paths without any topics, so without Kafka. `tickcast console --outlook-only`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from consumers.console import guard, outlook, rest
from consumers.console.outlooks import Outlooks
from consumers.console.server import STATIC, configured, guarded, listen, with_token
from streams.settings import Settings

PAGE = STATIC / "outlook.html"


def create_app(outlooks: Outlooks, settings: Settings, host: str) -> FastAPI:
    """Return the application, asked for under the name `host`; its models are loaded as soon as it runs."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        outlooks.warm()
        yield
        outlooks.close()

    app = guarded(settings, host, lifespan)
    app.include_router(outlook.routes(outlooks))
    _add_probes(app)
    rest.describe(app)

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE)

    app.mount("/", StaticFiles(directory=STATIC))
    return app


def _add_probes(app: FastAPI) -> None:
    @app.get("/healthz", response_class=Response)
    @app.get("/readyz", response_class=Response)
    def alive(request: Request) -> Response:
        """Answer while the process lives; there is nothing that it would have to catch up with."""
        return rest.answer(request, rest.Alive())


def run(outlooks: Outlooks, settings: Settings, host: str = "127.0.0.1", port: int | None = None) -> None:
    """Serve until the process is asked to end.

    Raises
    ------
    EnvironmentFault
        The port is taken.
    """
    with listen(host, settings.console_port if port is None else port) as listener:
        app = create_app(outlooks, settings if host in guard.LOOPBACK else with_token(settings, host), host)
        uvicorn.Server(configured(app, settings)).run(sockets=[listener])
