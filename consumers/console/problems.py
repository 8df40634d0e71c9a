"""Errors as RFC 9457 problem details: `application/problem+json` with title, status, and a detail that says what to do."""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong with one request."""

    title: str
    status: int
    detail: str = ""
    type: str = "about:blank"


def response(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return the answer that tells of a problem."""
    body = msgspec.json.encode(Problem(HTTPStatus(status).phrase, status, detail))
    return Response(body, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of `app` be a problem."""

    @app.exception_handler(HTTPException)
    def refused(_request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        known = HTTPStatus(error.status_code).phrase
        headers = dict(error.headers) if error.headers else None
        return response(error.status_code, "" if detail == known else detail, headers)

    @app.exception_handler(RequestValidationError)
    def malformed(_request: Request, error: RequestValidationError) -> Response:
        told = (f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors())
        return response(422, "; ".join(told))

    @app.exception_handler(Exception)
    def broken(_request: Request, error: Exception) -> Response:
        log.error("a request failed", exc_info=error)
        return response(500, "the console has a fault; its log says which")
