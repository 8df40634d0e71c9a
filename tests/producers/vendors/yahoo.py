"""A server that speaks Yahoo's protocols, as yfinance hears them: prices on a WebSocket, charts and news by a proxy with TLS.

After yfinance's documentation and its `pricing.proto` (WebSocket: base64 of a protobuf in JSON), Ticker.history (chart's `meta`),
Ticker.news. Yahoo publishes no documentation of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yfinance.pricing_pb2 import PricingData

from deploy.local.broker import free_port
from tests.producers.vendors.servers import Happened, Server

HOSTS = ("*.finance.yahoo.com", "*.yahoo.com")


class Yahoo(Server):
    """Pushes prices, and answers charts and news behind a CONNECT proxy whose certificate is the test's."""

    tells_past = False

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.proxy_port = free_port()
        self.news: list[dict[str, Any]] = []
        self.subscribed: list[str] = []
        self._folder = folder
        self._ends: list[asyncio.StreamWriter] = []
        self._volumes: dict[str, int] = {}

    @property
    def authority(self) -> Path:
        """The certificate that a client has to trust."""
        assert self._folder is not None
        return self._folder / "authority.pem"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.socket),
            web.get("/v1/test/getcrumb", self._crumb),
            web.get("/v8/finance/chart/{symbol}", self._chart),
            web.post("/xhr/ncp", self._news),
        ]

    def frames(self, trades: Sequence[Happened]) -> list[str | bytes]:
        return [json.dumps({"type": "pricing", "message": base64.b64encode(self._price(one)).decode()}) for one in trades]

    def _price(self, one: Happened) -> bytes:
        said = PricingData(
            id=one.symbol, price=one.price, time=one.event_ts_us // 1_000, currency="USD", exchange="NMS", quote_type=8
        )
        said.day_volume = one.number * 10
        said.last_size = int(one.size)
        return bytes(said.SerializeToString())

    async def greet(self, socket: web.WebSocketResponse) -> None: ...

    async def heard(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        self.subscribed = json.loads(data)["subscribe"]
        self.sockets.add(socket)

    async def _crumb(self, request: web.Request) -> web.Response:
        return web.Response(text="crumb")

    async def _chart(self, request: web.Request) -> web.Response:
        if (busy := self.too_busy(request)) is not None:
            return busy
        symbol = request.match_info["symbol"]
        last = next((one for one in reversed(self.happened) if one.symbol == symbol), None)
        if last is None:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return web.json_response({"chart": {"result": None, "error": error}}, status=404)
        seconds = last.event_ts_us // 1_000_000
        meta: dict[str, Any] = {
            **{
                "currency": "USD",
                "symbol": symbol,
                "exchangeName": "NMS",
                "instrumentType": "EQUITY",
                "firstTradeDate": 345479400,
            },
            **{"regularMarketTime": seconds, "gmtoffset": -18000, "timezone": "EST", "exchangeTimezoneName": "America/New_York"},
            **{"regularMarketPrice": last.price, "regularMarketVolume": last.number * 10, "chartPreviousClose": 99.0},
            **{"priceHint": 2, "dataGranularity": "1m", "range": "1d", "validRanges": ["1d", "5d", "1mo"]},
        }
        period = {"timezone": "EST", "start": seconds - 3_600, "end": seconds + 3_600, "gmtoffset": -18000}
        meta["currentTradingPeriod"] = dict.fromkeys(("pre", "regular", "post"), period)
        meta["tradingPeriods"] = [[period]]
        bar = {"open": [99.0], "high": [101.0], "low": [98.0], "close": [last.price], "volume": [10]}
        result = {"meta": meta, "timestamp": [seconds // 60 * 60], "indicators": {"quote": [bar]}}
        return web.json_response({"chart": {"result": [result], "error": None}})

    def write(self, id_: str, title: str) -> None:
        """Publish an article."""
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        content = {
            "id": id_,
            "contentType": "STORY",
            "title": title,
            "pubDate": when,
            "canonicalUrl": {"url": f"http://127.0.0.1/{id_}"},
        }
        self.news.append({"id": id_, "content": content})

    async def _news(self, request: web.Request) -> web.Response:
        if (busy := self.too_busy(request)) is not None:
            return busy
        return web.json_response({"data": {"tickerStream": {"stream": self.news}}})

    async def also(self, runner: web.AppRunner) -> None:
        if self._folder is None:
            return
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=certified(self._folder)).start()
        self._proxy = await asyncio.start_server(lambda *ends: self._connect(port, *ends), "127.0.0.1", self.proxy_port)

    async def not_any_more(self) -> None:
        if self._folder is not None:
            self._proxy.close()
            for writer in self._ends:
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _connect(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer CONNECT, whatever host is asked for, with the server behind `port`."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inner = await asyncio.open_connection("127.0.0.1", port)
        self._ends += [writer, inner[1]]
        await asyncio.gather(_pipe(reader, inner[1]), _pipe(inner[0], writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.CancelledError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def certified(folder: Path) -> ssl.SSLContext:
    """Return what serves TLS in the names of Yahoo's hosts; `folder`/authority.pem is what vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tickcast tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "authority.pem", folder / "key.pem")
    return context
