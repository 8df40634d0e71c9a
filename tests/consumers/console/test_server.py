"""The server on a real broker: what is produced comes out as JSON and as server-sent events."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from msgspec import structs

from consumers.console.server import listen, run
from streams.clock import wall_ts_us
from streams.errors import EnvironmentFault
from streams.settings import Secret, Settings
from streams.testing import eventually
from tests.consumers.console.conftest import HOST, Console, Produce, serving
from tests.consumers.console.samples import bar, forecast, headline, score, sentiment, status

ORDER = b"POST /v1/control/retrain HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer secret\r\n"

pytestmark = pytest.mark.timeout(60)


def snapshot(address: str) -> Any:
    return httpx.get(f"{address}/v1/snapshot").raise_for_status().json()


def events(response: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """Yield (kind, id, content) of each server-sent event."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], fields["id"], json.loads(fields["data"])
            fields = {}


def symbols_of(page: Any) -> list[str]:
    return [row["symbol"] for row in page.get("symbols", [])]


def closes_of(page: Any) -> list[float]:
    return [shown["close"] for row in page.get("symbols", []) for shown in row["bars"]]


def test_what_was_produced_is_in_the_snapshot_also_after_a_restart(console: Console, produce: Produce) -> None:
    produce(*(bar(minute) for minute in range(5)), forecast(4), score(0), ingest_us=wall_ts_us() - 5_000)
    produce(headline(1), sentiment(1), status("produce", detail="simulated", ticks=9))
    for _start in range(2):
        with console() as address:
            page = snapshot(address)
            [row] = page["symbols"]
            assert row["price"] == pytest.approx(bar(4).close)
            assert row["forecasts"][0]["forecast_id"] == forecast(4).forecast_id
            assert row["skills"][0]["covered"]["80"] == [1, 1]
            assert page["headlines"][0]["scores"][0]["score"] == 0.62
            assert (page["mode"], page["caught_up"]) == ("SIMULATED", True)
            assert page["health"]["tick_to_feature"]["n"] == 5
            bars = httpx.get(f"{address}/v1/bars", params={"symbol": "AAPL"}).json()
            assert [shown["close"] for shown in bars] == pytest.approx([bar(minute).close for minute in range(5)])


def test_the_stream_starts_with_a_snapshot_and_brings_what_changes(console: Console, produce: Produce) -> None:
    produce(bar(0))
    with console() as address, httpx.stream("GET", f"{address}/v1/stream") as response:
        stream = events(response)
        kind, _, page = next(stream)
        assert (kind, symbols_of(page)) == ("snapshot", ["AAPL"])
        produce(bar(1, 600.0))
        assert 600.0 in next(closes for kind, _, page in stream if kind == "update" and 600.0 in (closes := closes_of(page)))


def test_a_browser_that_comes_back_gets_what_it_missed_and_no_snapshot(console: Console, produce: Produce) -> None:
    with console() as address:
        with httpx.stream("GET", f"{address}/v1/stream") as response:
            _, last_id, _ = next(events(response))
        produce(bar(0))
        eventually(lambda: symbols_of(snapshot(address)))
        with httpx.stream("GET", f"{address}/v1/stream", headers={"Last-Event-ID": last_id}) as response:
            kinds = []
            for kind, _, page in events(response):
                kinds.append(kind)
                if symbols_of(page) == ["AAPL"]:
                    break
            assert set(kinds) == {"update"}


def test_fifty_browsers_get_the_same_frames_and_one_that_leaves_is_forgotten(console: Console, produce: Produce) -> None:
    async def read(client: httpx.AsyncClient) -> list[str]:
        seen = []
        async with client.stream("GET", "/v1/stream") as response:
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    seen.append(line)
                if '"close":777.0' in line:
                    return seen
        raise AssertionError("the stream ended")

    async def all_of_them(address: str) -> list[list[str]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=30) as client:
            readers = [asyncio.create_task(read(client)) for _ in range(50)]
            while (await client.get("/v1/health")).json()["browsers"] < 50:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(produce, bar(1, 777.0))
            return await asyncio.gather(*readers)

    with console() as address:
        seen = asyncio.run(all_of_them(address))
        assert len({lines[-1] for lines in seen}) == 1
        eventually(lambda: httpx.get(f"{address}/v1/health").json()["browsers"] == 0)


def test_an_id_of_another_start_gets_a_snapshot(console: Console) -> None:
    with console() as address:
        for strange in ("1-1", "nonsense", "-", "9" * 30):
            with httpx.stream("GET", f"{address}/v1/stream", headers={"Last-Event-ID": strange}) as response:
                assert next(events(response))[0] == "snapshot"


def test_the_console_reports_its_own_status(console: Console) -> None:
    with console() as address:
        roles = eventually(lambda: snapshot(address)["health"]["roles"])
        assert roles[0]["role"] == "console"


def test_probes_headers_and_refusals(console: Console) -> None:
    with console() as address:
        assert httpx.get(f"{address}/healthz").json() == {"alive": True}
        assert httpx.get(f"{address}/readyz").json() == {"ready": True}
        page = httpx.get(address)
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert httpx.get(f"{address}/v1/bars", params={"symbol": "NOPE"}).status_code == 404
        assert httpx.get(f"{address}/v1/bars", params={"symbol": "x" * 33}).status_code == 422
        assert httpx.get(address, headers={"Host": "elsewhere.example"}).status_code == 400
        assert httpx.post(f"{address}/v1/snapshot").status_code == 401
        assert httpx.get(f"{address}/../server.py").status_code == 404


def test_a_taken_port_is_told_in_one_sentence(config: Settings) -> None:
    with listen(HOST, 0) as taken, pytest.raises(EnvironmentFault, match="TICKCAST_CONSOLE_PORT"):
        run(config, port=taken.getsockname()[1])


@pytest.mark.parametrize(
    ("begun", "answered"),
    [
        (b"", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"HTTP/1.1 408"),
        (ORDER + b"Content-Length: 9\r\n\r\n{", b"HTTP/1.1 408"),
        (ORDER + b"Content-Length: 99999\r\n\r\n{", b"HTTP/1.1 413"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000, b"HTTP/1.1 400"),
    ],
)
def test_slow_and_oversized_requests_are_refused_and_leave_nothing(config: Settings, begun: bytes, answered: bytes) -> None:
    own = structs.replace(config, console_timeout_s=1.0, console_token=Secret("secret"))
    with serving(own) as address:
        place = ("127.0.0.1", int(address.rpartition(":")[2]))
        sockets = [socket.create_connection(place, timeout=20) for _ in range(20)]
        for connection in sockets:
            connection.sendall(begun)
        for connection in sockets:
            assert connection.recv(100).startswith(answered)
            while connection.recv(4_096):
                pass  # until the server has closed it
            connection.close()
        eventually(lambda: not open_connections(place[1]))
        assert httpx.get(f"{address}/healthz").status_code == 200


def open_connections(port: int) -> list[object]:
    """Return the connections of this process, where the server runs too, that have not ended at the server's side."""
    return [one for one in psutil.Process().net_connections() if one.laddr[1] == port and one.status != psutil.CONN_LISTEN]


def test_a_patient_server_takes_requests_that_come_in_pieces_one_after_another(config: Settings) -> None:
    with serving(config) as address, socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=20) as one:
        for _ in range(3):
            for part in (b"GET /healthz HT", b"TP/1.1\r\nHost: 127.0.0.1", b"\r\n\r\n"):
                one.sendall(part)
            answer = b""
            while not answer.endswith(b"}"):
                answer += one.recv(4_096)
            assert answer.startswith(b"HTTP/1.1 200")
