"""A way to the broker that can be blocked for a while, as a network does that is parted: nothing is refused, nothing arrives."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

PIECE = 65_536  # bytes
CLOSE_S = 5.0


class Proxy:
    """Passes connections to a port of its own on to `target`, both on 127.0.0.1; a thread of its own does the work.

    Parameters
    ----------
    target : int
        The port that really answers. Kafka's clients go where their broker says that it is, so that must name this port.
    port : int
        Its own.
    """

    def __init__(self, target: int, port: int) -> None:
        self.port = port
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name=f"proxy-{port}")
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._take, "127.0.0.1", port), self._loop).result()

    def block(self) -> None:
        """Let nothing through, in either direction, until :meth:`unblock`; what is under way waits."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def unblock(self) -> None:
        """Let everything through again, what has waited first."""
        self._loop.call_soon_threadsafe(self._open.set)

    def close(self) -> None:
        """End all connections, and take no more."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs this in one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):  # either end may go at any time: then both do
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ways = [asyncio.ensure_future(self._pass(reader, far_writer)), asyncio.ensure_future(self._pass(far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                far_writer.close()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await self._open.wait()
            writer.write(piece)
            await writer.drain()
