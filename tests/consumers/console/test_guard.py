"""What must not hold a connection of the console for ever, on a real socket and without Kafka."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from consumers.console import server
from streams import settings
from streams.settings import Settings
from streams.testing import eventually

IMPATIENT = settings.load({}, console_token="secret", console_timeout_s=0.5)


@contextmanager
def serving(app: FastAPI, config: Settings) -> Iterator[tuple[str, int]]:
    with server.listen("127.0.0.1", 0) as listener:
        served = uvicorn.Server(server.configured(app, config))
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: served.started)
            yield listener.getsockname()
        finally:
            served.should_exit = True
            thread.join(20)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/control/retrain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n", b"401"),
        (b"POST /v1/control/retrain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n", b"413"),
        (b"POST /v1/outlook/A HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nHost: 127", b"408"),
    ],
)
def test_who_is_refused_before_his_request_is_whole_keeps_no_connection(head: bytes, status: bytes) -> None:
    with serving(server.guarded(IMPATIENT, "127.0.0.1"), IMPATIENT) as address, socket.create_connection(address) as client:
        client.settimeout(3)  # less than a connection may rest
        client.sendall(head)
        said = b""
        while piece := client.recv(4_096):
            said += piece
        assert said.startswith(b"HTTP/1.1 " + status)
