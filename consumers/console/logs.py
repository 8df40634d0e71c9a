"""The end of a role's log, where the role runs on this machine."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request, Response
from starlette.exceptions import HTTPException

from consumers.console import rest
from streams.settings import Settings

TAIL_BYTES = 32 * 1024
TAIL_LINES = 200


class LogTail(msgspec.Struct, frozen=True):
    """The last lines of a log, the newest last."""

    role: str
    lines: list[str]


def routes(settings: Settings) -> APIRouter:
    """Return the path."""
    router = APIRouter()

    @router.get("/v1/logs/{role}", responses=rest.answers_of(LogTail), response_class=Response)
    def log(request: Request, role: Annotated[str, Path(pattern="^[a-z]{1,32}$")]) -> Response:
        """Return the end of a role's log."""
        return rest.answer(request, LogTail(role, tail(settings, role)))

    return router


def tail(settings: Settings, role: str) -> list[str]:
    """Return the last lines of a role's log, without the console's token.

    Raises
    ------
    HTTPException
        There is no such log here.
    """
    try:
        with (settings.state / "logs" / f"{role}.log").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace")
    except OSError as error:
        raise HTTPException(404, f"the log of {role} is not on this machine") from error
    if settings.console_token:
        text = text.replace(settings.console_token.reveal(), "(token)")
    return text.splitlines()[-TAIL_LINES:]
