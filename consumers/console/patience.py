"""For how long the console waits for a request: a head or a body that comes byte by byte must not hold a connection for ever.

Uvicorn itself closes connections that rest between two requests, and waits without end for a head that has begun.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def patient(seconds: float) -> type[H11Protocol]:
    """Return the protocol that refuses heads which take longer than `seconds`, from the connection or their first byte on."""

    class Patient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._deadline = self.loop.call_later(seconds, self._refuse)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self._refuse)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _refuse(self) -> None:
            self._deadline = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self.transport.write(TOO_SLOW)
                self.transport.close()

    return Patient


async def whole(receive: Receive, seconds: float) -> Receive:
    """Return what gives the body at once, having read it.

    Raises
    ------
    TimeoutError
        It did not come within `seconds`.
    """
    parts: list[Message] = []
    async with asyncio.timeout(seconds):
        while not parts or parts[-1].get("more_body", False):
            parts.append(await receive())
    left = iter(parts)

    async def again() -> Message:
        return next(left, None) or await receive()

    return again
