"""A server that speaks the protocol of massive.com (polygon.io), as its client `massive` hears it.

After massive.com/docs: "WebSocket quickstart" (connect, authenticate, subscribe, status messages), "Stocks WebSocket: Trades",
"Stocks REST: Trades" (pages by `next_url`, `correction`), "Ticker overview", "News", and the knowledge base on 429.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.producers.vendors.servers import Happened, Server

KEY = "PK-TEST"


class Massive(Server):
    """Pushes JSON on /stocks, and tells of the past page by page."""

    corrections = ("cancel",)

    def __init__(self) -> None:
        super().__init__()
        self.news: list[dict[str, Any]] = []
        self.codes: dict[tuple[str, int], int] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/stocks", self.socket),
            web.get("/v3/trades/{ticker}", self._past),
            web.get("/v3/reference/tickers/{ticker}", self._details),
            web.get("/v2/reference/news", self._news),
        ]

    def frames(self, trades: Sequence[Happened]) -> list[str | bytes]:
        return [json.dumps([self._event(one)]) for one in trades]

    def _event(self, one: Happened) -> dict[str, Any]:
        price = {"i": str(one.number), "x": 4, "p": one.price, "s": int(one.size), "c": [0, 37], "z": 3}
        return {"ev": "T", "sym": one.symbol, **price, "t": one.event_ts_us // 1_000, "q": one.number}

    async def greet(self, socket: web.WebSocketResponse) -> None:
        await self._status(socket, "connected", "Connected Successfully")

    async def heard(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        said = json.loads(data)
        if said["action"] == "auth":
            if said["params"] != KEY or self.refuses == "key":
                await self._status(socket, "auth_failed", "authentication failed")
            elif self.refuses == "connection":
                await self._status(socket, "max_connections", "Maximum number of websocket connections exceeded.")
                await socket.close()
            else:
                await self._status(socket, "auth_success", "authenticated")
        elif said["action"] == "subscribe" and self.refuses == "subscription":
            await self._status(socket, "error", "not authorized to subscribe to trades")
        elif said["action"] == "subscribe":
            for name in said["params"].split(","):
                await self._status(socket, "success", f"subscribed to: {name}")
            self.sockets.add(socket)

    async def _status(self, socket: web.WebSocketResponse, status: str, message: str) -> None:
        await socket.send_str(json.dumps([{"ev": "status", "status": status, "message": message}]))

    def amend(self, how: str, one: Happened) -> None:
        """Mark a trade as cancelled; only REST tells."""
        if (one.symbol, one.number) not in self.codes and self._now_us() - one.event_ts_us < 5_000_000:
            self.amended.append(one)
            self.codes[one.symbol, one.number] = 8

    def _refusal(self, request: web.Request) -> web.Response | None:
        if (busy := self.too_busy(request)) is not None:
            return busy
        if request.headers.get("Authorization") != f"Bearer {KEY}" or self.refuses == "key":
            return web.json_response({"status": "ERROR", "request_id": "1", "error": "Unknown API Key"}, status=401)
        return None

    async def _details(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        ticker = request.match_info["ticker"]
        if not ticker.isalpha():
            return web.json_response({"status": "NOT_FOUND", "message": "Ticker not found."}, status=404)
        return web.json_response({"status": "OK", "results": {"ticker": ticker, "name": ticker, "market": "stocks"}})

    async def _past(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        ticker, query = request.match_info["ticker"], request.query
        start, end = (int(query[f"timestamp.{name}"]) // 1_000 for name in ("gte", "lte"))
        found = [one for one in self.happened if one.symbol == ticker and start <= one.event_ts_us <= end]
        begin = int(query.get("cursor", 0))
        answer: dict[str, Any] = {"status": "OK", "request_id": "1", "results": [*map(self._told, found[begin : begin + 500])]}
        if len(found) > begin + 500:
            again = {**query, "cursor": str(begin + 500)}
            told = "&".join(f"{name}={value}" for name, value in again.items())
            answer["next_url"] = f"http://{self.address}{request.path}?{told}"
        return web.json_response(answer)

    def _told(self, one: Happened) -> dict[str, Any]:
        code = self.codes.get((one.symbol, one.number))
        times = {"participant_timestamp": one.event_ts_us * 1_000 - 90, "sip_timestamp": one.event_ts_us * 1_000 + 123}
        fields = {
            "conditions": [0, 37],
            "exchange": 4,
            "id": str(one.number),
            "price": one.price,
            "size": int(one.size),
            "tape": 3,
        }
        return {**fields, **times, "sequence_number": one.number} | ({"correction": code} if code else {})

    def write(self, id_: str, title: str, *tickers: str) -> None:
        """Publish a story."""
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        one = {"id": id_, "title": title, "author": "A", "article_url": f"http://127.0.0.1/{id_}", "published_utc": when}
        self.news.append(one | {"tickers": list(tickers), "publisher": {"name": "The Motley Fool", "homepage_url": "u"}})

    async def _news(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        found = [one for one in self.news if request.query["ticker"] in one["tickers"]]
        return web.json_response({"status": "OK", "results": found})
