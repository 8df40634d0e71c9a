"""A server that speaks Alpaca's market data protocol, as alpaca-py hears it.

After docs.alpaca.markets: "Streaming Market Data" (connection, authentication, subscription, errors), "Real-time Stock Data"
(trades, trade corrections, trade cancels/errors), "Real-time News", "Historical trades", "Latest trades", "News articles".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgpack
from aiohttp import web

from tests.producers.vendors.servers import Happened, Server

KEY, SECRET = "AK-TEST", "S3CRET-TEST"
ERRORS = {
    "key": (402, "auth failed"),
    "subscription": (409, "insufficient subscription"),
    "connection": (406, "connection limit exceeded"),
    "symbols": (405, "symbol limit exceeded"),
}


class Alpaca(Server):
    """Pushes msgpack on /v2/iex and /v1beta1/news, and tells JSON of the past."""

    corrections = ("correct", "cancel")

    def __init__(self) -> None:
        super().__init__()
        self.news: list[dict[str, Any]] = []
        self.updates: dict[tuple[str, int], str] = {}
        self.readers: set[web.WebSocketResponse] = set()
        self._corrected: dict[tuple[str, int], int] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/iex", self.socket),
            web.get("/v1beta1/news", self._news),
            web.get("/v2/stocks/trades", self._past),
            web.get("/v2/stocks/trades/latest", self._latest),
        ]

    def frames(self, trades: Sequence[Happened]) -> list[str | bytes]:
        return [msgpack.packb([{"T": "t", "S": one.symbol, **self._fields(one), "t": _stamp(one.event_ts_us)}]) for one in trades]

    def _fields(self, one: Happened) -> dict[str, Any]:
        return {"i": one.number, "x": "V", "p": one.price, "s": one.size, "c": ["@", "I"], "z": "C"}

    async def greet(self, socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(msgpack.packb([{"T": "success", "msg": "connected"}]))

    async def heard(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        said = msgpack.unpackb(data)
        if said["action"] == "auth":
            good = (said["key"], said["secret"]) == (KEY, SECRET)
            await socket.send_bytes(msgpack.packb([self._authenticated(good)]))
        elif "news" in said:
            await socket.send_bytes(msgpack.packb([{"T": "subscription", "news": said["news"]}]))
            self.readers.add(socket)
        elif self.refuses in ("subscription", "symbols"):
            code, message = ERRORS[self.refuses]
            await socket.send_bytes(msgpack.packb([{"T": "error", "code": code, "msg": message}]))
        else:
            await socket.send_bytes(msgpack.packb([{"T": "subscription", "trades": said["trades"]}]))
            self.sockets.add(socket)

    def _authenticated(self, good: bool) -> dict[str, Any]:
        wrong = "key" if not good else self.refuses if self.refuses in ("key", "connection") else ""
        if wrong:
            return {"T": "error", "code": ERRORS[wrong][0], "msg": ERRORS[wrong][1]}
        return {"T": "success", "msg": "authenticated"}

    def amend(self, how: str, one: Happened) -> None:
        if (one.symbol, one.number) in self.updates:
            return
        self.amended.append(one)
        now = _stamp(self._now_us())
        if how == "cancel":
            self.updates[one.symbol, one.number] = "canceled"
            message = {
                "T": "x",
                "S": one.symbol,
                "i": one.number,
                "x": "V",
                "p": one.price,
                "s": one.size,
                "a": "C",
                "z": "C",
                "t": now,
            }
        else:
            self.updates[one.symbol, one.number] = "incorrect"
            new = 10_000_000 + one.number
            self._corrected[one.symbol, one.number] = new
            original = {"oi": one.number, "op": one.price, "os": one.size, "oc": ["@"]}
            corrected = {"ci": new, "cp": one.price + 0.5, "cs": one.size, "cc": ["@"]}
            message = {"T": "c", "S": one.symbol, "x": "V", **original, **corrected, "z": "C", "t": now}
        if not self.silent:
            self.push(msgpack.packb([message]))

    def write(self, id_: int, headline: str, *symbols: str, tell: bool = True) -> dict[str, Any]:
        """Let a story be written, and tell of it."""
        at_us = self._now_us()
        one = {"id": id_, "headline": headline, "summary": "", "author": "A", "url": f"http://127.0.0.1/{id_}", "content": ""}
        self.news.append(one | {"symbols": list(symbols), "source": "benzinga", "at_us": at_us})
        if tell:
            times = {"created_at": _stamp(at_us), "updated_at": _stamp(at_us)}
            self.push(
                msgpack.packb([{"T": "n", **one, **times, "symbols": list(symbols), "source": "benzinga"}]), to=self.readers
            )
        return self.news[-1]

    def _keyed(self, request: web.Request) -> bool:
        given = request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY")
        return given == (KEY, SECRET) and self.refuses != "key"

    async def _latest(self, request: web.Request) -> web.Response:
        if (busy := self.too_busy(request)) is not None:
            return busy
        if not self._keyed(request):
            return web.json_response({"message": "forbidden."}, status=403)
        symbols = request.query["symbols"].split(",")
        if wrong := [symbol for symbol in symbols if not symbol.isalpha()]:
            return web.json_response({"message": f"invalid symbol: {wrong[0]}"}, status=400)
        return web.json_response({"trades": {}})

    async def _past(self, request: web.Request) -> web.Response:
        if (busy := self.too_busy(request)) is not None:
            return busy
        if not self._keyed(request):
            return web.json_response({"message": "forbidden."}, status=403)
        start, end = (_us(request.query[name]) for name in ("start", "end"))
        symbols = request.query["symbols"].split(",")
        found = [one for one in self.happened if one.symbol in symbols and start <= one.event_ts_us <= end]
        page, size = int(request.query.get("page_token") or 0), min(500, int(request.query["limit"]))
        trades: dict[str, list[dict[str, Any]]] = {}
        for one in found[page : page + size]:
            trades.setdefault(one.symbol, []).extend(self._told(one))
        token = str(page + size) if len(found) > page + size else None
        return web.json_response({"trades": trades, "next_page_token": token})

    def _told(self, one: Happened) -> list[dict[str, Any]]:
        plain = {**self._fields(one), "t": _text(one.event_ts_us)}
        update = self.updates.get((one.symbol, one.number))
        told = [plain | {"u": update} if update else plain]
        if (new := self._corrected.get((one.symbol, one.number))) is not None:
            told.append(plain | {"i": new, "p": one.price + 0.5, "u": "corrected"})
        return told

    async def _news(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.socket(request)
        if not self._keyed(request):
            return web.json_response({"message": "forbidden."}, status=403)
        start, end = (_us(request.query[name]) for name in ("start", "end"))
        found = [one for one in self.news if start <= one["at_us"] <= end]
        told = [{**one, "created_at": _text(one["at_us"]), "updated_at": _text(one["at_us"])} for one in found]
        return web.json_response({"news": told, "next_page_token": None})


def _stamp(ts_us: int) -> msgpack.Timestamp:
    return msgpack.Timestamp(ts_us // 1_000_000, ts_us % 1_000_000 * 1_000)


def _text(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ts_us % 1_000_000:06d}123Z"


def _us(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e6)
