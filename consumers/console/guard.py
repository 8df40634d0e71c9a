"""Who may ask what, how often and how much: strict headers, a token, a rate limit.

Plain ASGI, for Starlette's own base class would hold a stream back.

On loopback everybody may read. Beyond it, and to change anything, a request needs the token of `TICKCAST_CONSOLE_TOKEN`: as
`Authorization: Bearer`, or, to read, as the cookie that opening `/?token=…` once sets.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from fastapi import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers.console import patience, problems

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
COOKIE = "tickcast_token"
SAFE = {"GET", "HEAD", "OPTIONS"}
COMPUTES = "/v1/outlook/"  # asked with POST, but changes nothing
PROBES = {"/healthz", "/readyz"}  # an orchestrator has no token
LARGEST_BODY = 64 * 1024
LIMITED = ("/v1/", "/metrics")  # not the page's files: fifty browsers behind one proxy open it at once
PER_S = 50.0  # requests of one address, for long
BURST = 300.0  # and at once
ADDRESSES = 10_000


class Buckets:
    """A token bucket for each address; the addresses that were not heard for longest are forgotten."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> float:
        """Take one request of `address`; return 0 where it may go on, else after how many seconds to come again."""
        left, at_s = self._left.pop(address, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        allowed = left >= 1
        self._left[address] = (left - 1 if allowed else left, now_s)
        if len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_s


class Guard:
    """Adds :data:`HEADERS` to every answer, and refuses what may not pass.

    Parameters
    ----------
    app : ASGIApp
        Whoever answers what passes.
    token : str
        Empty: there is none, so nothing can be changed.
    closed : bool
        Whether reading needs the token too.
    buckets : Buckets
        How often an address may ask.
    patience_s : float
        How long a body may take.
    """

    def __init__(self, app: ASGIApp, token: str, closed: bool, buckets: Buckets, patience_s: float = 10.0) -> None:
        self._app = app
        self._token = token.encode()
        self._closed = closed
        self._buckets = buckets
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        asked = Headers(scope=scope)
        has_body = asked.get("content-length", "0") != "0" or "transfer-encoding" in asked
        answer: ASGIApp = self._refusal(scope) or self._app

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
                if has_body and answer is not self._app:
                    headers["Connection"] = "close"  # nobody waits for a body that nobody reads
            await send(message)

        if has_body and answer is self._app:
            try:
                receive = await patience.whole(receive, self._patience_s)
            except TimeoutError:
                answer = problems.response(408, "the body did not come in time")
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else ""
        limited = scope["path"].startswith(LIMITED)
        if limited and (wait_s := self._buckets.take(address, time.monotonic())):
            again = {"Retry-After": str(max(1, round(wait_s)))}
            return problems.response(429, f"more than {PER_S:.0f} requests a second; come again later", again)
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > LARGEST_BODY or "transfer-encoding" in headers:
            return problems.response(413, f"a body has at most {LARGEST_BODY} bytes, and says how many")
        return self._unknown(scope, headers)

    def _unknown(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the refusal of a request that needs the token and has it not; the cookie for one that brings it."""
        if scope["method"] not in SAFE and not scope["path"].startswith(COMPUTES):
            return None if self._is_known(_bearer(headers)) else self._ask("nothing is changed here without the token")
        if not self._closed or scope["path"] in PROBES:
            return None
        brought = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._is_known(brought):
            cookie = f"{COOKIE}={brought}; HttpOnly; SameSite=Strict; Path=/"
            return Response(status_code=303, headers={"Location": "/", "Set-Cookie": cookie})
        if self._is_known(_bearer(headers)) or self._is_known(_cookie(headers)):
            return None
        return self._ask("beyond this machine the console needs its token: open /?token=…, or send it as a bearer token")

    def _is_known(self, brought: str) -> bool:
        return bool(self._token) and hmac.compare_digest(brought.encode(), self._token)

    @staticmethod
    def _ask(detail: str) -> Response:
        return problems.response(401, f"{detail} (TICKCAST_CONSOLE_TOKEN)", {"WWW-Authenticate": "Bearer"})


def _bearer(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
