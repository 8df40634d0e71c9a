"""A server that speaks Binance's public protocol, as ccxt hears it.

After developers.binance.com/docs/binance-spot-api-docs: "WebSocket Streams" (live subscribing, aggregate trade streams), "General
endpoints" (exchange information), "Market Data endpoints" (compressed/aggregate trades list), and "Limits" (429).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tests.producers.vendors.servers import Happened, Server

MARKETS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT", "SOL/USDT": "SOLUSDT"}


class Binance(Server):
    """Pushes aggregate trades, and tells of past ones. What it calls symbols is the test's: BTC/USDT."""

    def routes(self) -> list[web.RouteDef]:
        rest = "/api.binance.com/api/v3"
        return [
            web.get("/stream.binance.com/ws/{stream}", self.socket),
            web.get(f"{rest}/exchangeInfo", self._markets),
            web.get(f"{rest}/aggTrades", self._past),
        ]

    def frames(self, trades: Sequence[Happened]) -> list[str | bytes]:
        return [json.dumps(self._event(one)) for one in trades]

    def _event(self, one: Happened) -> dict[str, Any]:
        return {"e": "aggTrade", "E": one.event_ts_us // 1_000 + 1, "s": MARKETS[one.symbol], **self._fields(one)}

    def _fields(self, one: Happened) -> dict[str, Any]:
        ids = {"a": one.number, "f": one.number, "l": one.number}
        return ids | {"p": f"{one.price:.8f}", "q": f"{one.size:.8f}", "T": one.event_ts_us // 1_000, "m": True, "M": True}

    async def greet(self, socket: web.WebSocketResponse) -> None: ...

    async def heard(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        said = json.loads(data)
        if said["method"] == "SUBSCRIBE":
            await socket.send_str(json.dumps({"result": None, "id": said["id"]}))
            self.streams[socket] = {stream.partition("@")[0].upper() for stream in said["params"]}
            self.sockets.add(socket)

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[web.WebSocketResponse, set[str]] = {}

    def wants(self, socket: web.WebSocketResponse, frame: str | bytes) -> bool:
        return any(name in str(frame) for name in self.streams.get(socket, ()))

    async def _markets(self, request: web.Request) -> web.Response:
        if (busy := self.too_busy(request)) is not None:
            return busy
        if self.refuses == "region":
            said = "Service unavailable from a restricted location according to 'b. Eligibility'"
            return web.json_response({"code": 0, "msg": said}, status=451)
        return web.json_response(
            {"timezone": "UTC", "serverTime": 1565246363776, "rateLimits": [], "symbols": [*map(_market, MARKETS)]}
        )

    async def _past(self, request: web.Request) -> web.Response:
        if (busy := self.too_busy(request)) is not None:
            return busy
        start, end = (int(request.query[name]) for name in ("startTime", "endTime"))
        mine = [one for one in self.happened if MARKETS[one.symbol] == request.query["symbol"]]
        found = sorted((one for one in mine if start <= one.event_ts_us // 1_000 <= end), key=lambda one: one.number)
        return web.json_response([self._fields(one) for one in found[: int(request.query.get("limit", 500))]])


def _market(symbol: str) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {
        "symbol": MARKETS[symbol],
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        ],
        "permissions": ["SPOT"],
    }
