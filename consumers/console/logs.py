"""The end of a role's log, where the role runs on this machine."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Path, Request, Response
from starlette.exceptions import HTTPException

from consumers.console import rest
from streams.settings import SECRETS, Settings

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
    """Return the last whole lines of a role's log, without any secret of the settings.

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
            if size > TAIL_BYTES:
                text = text.partition("\n")[2]  # half a line may begin in half a secret, which nobody would know
    except OSError as error:
        raise HTTPException(404, f"the log of {role} is not on this machine") from error
    for name in SECRETS:
        if secret := getattr(settings, name).reveal():
            text = text.replace(secret, "(token)" if name == "console_token" else "(secret)").replace(
                quote(secret, ""), "(secret)"
            )
    return text.splitlines()[-TAIL_LINES:]
