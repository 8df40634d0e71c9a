"""Servers on 127.0.0.1 that speak vendors' protocols, and misbehave as they are told.

Each keeps a ledger of all trades that happened, whether a line was up or not: that is what must arrive, once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from deploy.local.broker import free_port
from streams.clock import wall_ts_us
from streams.testing import eventually


@dataclass(frozen=True)
class Happened:
    """One trade at a vendor. `number` counts those of its symbol from 1."""

    event_ts_us: int
    symbol: str
    price: float
    size: float
    number: int


class Server(ABC):
    """A vendor on one port: a WebSocket that pushes, REST that tells of the past.

    Attributes
    ----------
    refuses : str
        key, subscription, symbol: what it refuses; empty: nothing.
    busy : int
        So many REST requests are still answered with 429.
    silent : bool
        Whether sockets stay open and say nothing.
    away : bool
        Whether it answers everything with 503.
    amended : list
        The trades that were taken back or corrected.
    ahead_us : int
        How far its clock is ahead.
    told : list
        What was pushed to a line that was up, and when, in seconds of the monotonic clock.
    breaks : list
        When lines were broken, by the same clock, and when that has reached both ends for certain.
    """

    FIRST_NUMBER = 1_000
    corrections: tuple[str, ...] = ()  # what `amend` can do
    tells_past = True  # whether it can be asked for what a line has missed

    def __init__(self) -> None:
        self.port = free_port()
        self.refuses = ""
        self.busy = 0
        self.silent = False
        self.away = False
        self.amended: list[Happened] = []
        self.ahead_us = 0
        self.happened: list[Happened] = []
        self.told: list[tuple[float, Happened]] = []
        self.breaks: list[float] = []
        self.sockets: set[web.WebSocketResponse] = set()
        self.connections = 0
        self.requests: list[str] = []
        self._numbers: dict[str, int] = {}
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Return what the vendor answers."""

    @abstractmethod
    def frames(self, trades: Sequence[Happened]) -> list[str | bytes]:
        """Return the messages that tell of `trades`."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # what a test does

    def trade(self, symbol: str, *, price: float = 100.0, size: float = 1.0, ts_us: int = 0) -> Happened:
        """Let a trade happen, without telling of it."""
        number = self._numbers.get(symbol, self.FIRST_NUMBER) + 1
        self._numbers[symbol] = number
        # vendors that tell milliseconds lose no more than the test's
        at_us = (ts_us or self._now_us()) // 1_000 * 1_000
        one = Happened(at_us, symbol, price, size, number)
        self.happened.append(one)
        return one

    def tell(self, *trades: Happened) -> None:
        """Push `trades` to every line that is up."""
        if not self.silent:
            if self.sockets:
                self.told += [(time.monotonic(), one) for one in trades]
            self.push(*self.frames(trades))

    def trades(self, symbol: str, n: int = 1) -> list[Happened]:
        """Let `n` trades happen, and tell of each."""
        made = []
        for k in range(n):
            made.append(self.trade(symbol, price=100 + k / 8))
            self.tell(made[-1])
        return made

    def push(self, *frames: str | bytes, to: set[web.WebSocketResponse] | None = None) -> None:
        """Send frames as they are, to the lines of trades or to others."""
        asyncio.run_coroutine_threadsafe(self._push(frames, self.sockets if to is None else to), self._loop).result(10)

    def garble(self, *trades: Happened) -> None:
        """Send the first half of what tells of `trades`."""
        self.broken()
        self.push(*(frame[: len(frame) // 2] for frame in self.frames(trades)))

    def amend(self, how: str, one: Happened) -> None:
        """Correct or cancel a past trade, and tell of it."""
        raise NotImplementedError(how)

    def cut(self) -> None:
        """Break every line in the middle, without a word."""
        self.broken()
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def broken(self) -> None:
        """Note that lines end about now; what is pushed to them in the next second may be heard by nobody."""
        self.breaks += [time.monotonic(), time.monotonic() + 1]

    def lines(self) -> int:
        """Return how many lines have subscribed."""
        return len(self.sockets)

    # how it works

    def _now_us(self) -> int:
        return wall_ts_us() + self.ahead_us

    async def _push(self, frames: Sequence[str | bytes], sockets: set[web.WebSocketResponse]) -> None:
        for socket in list(sockets):
            for frame in (one for one in frames if self.wants(socket, one)):
                try:
                    await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
                except ConnectionError:
                    sockets.discard(socket)

    async def _cut(self) -> None:
        for socket in list(self.sockets):
            self.sockets.discard(socket)
            request = socket._req  # noqa: SLF001 - aiohttp has no way to break a connection rudely
            if request is not None and request.transport is not None:
                request.transport.abort()

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Serve one line: greet it, then hear what it says until it goes."""
        if self.away:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        await self.greet(socket)
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY) and not socket.closed:
                await self.heard(socket, message.data)
        self.sockets.discard(socket)
        return socket

    def wants(self, socket: web.WebSocketResponse, frame: str | bytes) -> bool:
        """Return whether a line has subscribed to what `frame` is about; by default to everything."""
        return True

    @abstractmethod
    async def greet(self, socket: web.WebSocketResponse) -> None:
        """Say what the vendor says first."""

    @abstractmethod
    async def heard(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        """Answer what a line says; one that subscribes becomes one of `sockets`."""

    def too_busy(self, request: web.Request) -> web.Response | None:
        """Note a REST request, and return 429 while the server is busy."""
        self.requests.append(request.path_qs)
        if self.away:
            return web.Response(status=503)
        if self.busy > 0:
            self.busy -= 1
            return web.json_response({"message": "too many requests.", "code": -1003}, status=429, headers={"Retry-After": "1"})
        return None

    def start(self) -> None:
        """Serve, on a thread of its own."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="vendor")
        self._thread.start()
        eventually(lambda: self._runner is not None)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._begin())
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _begin(self) -> None:
        app = web.Application()
        app.add_routes(self.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        await self.also(runner)
        self._runner = runner

    async def also(self, runner: web.AppRunner) -> None:  # noqa: B027 - most vendors have one port
        """Serve on further ports."""

    async def not_any_more(self) -> None:  # noqa: B027 - as above
        """Close them."""

    def stop(self) -> None:
        """Take the server away."""
        self.cut()
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self.not_any_more(), self._loop).result(10)
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
            self._runner = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve for the length of a `with` block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
