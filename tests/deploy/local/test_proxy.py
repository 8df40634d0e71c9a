"""A way that is blocked loses nothing and refuses nobody; a way that is closed ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from deploy.local.broker import answers, free_port
from deploy.local.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """Return the port of a server that says everything again, to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=repeat, args=(client,), daemon=True).start()

        def repeat(client: socket.socket) -> None:
            with client:
                while piece := client.recv(65_536):
                    client.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


def heard(client: socket.socket, count: int) -> bytes:
    said = b""
    while len(said) < count and (piece := client.recv(65_536)):
        said += piece
    return said


def test_what_is_blocked_waits_and_comes_whole(echo: int) -> None:
    with closing(Proxy(echo, free_port())) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        client.sendall(b"before")
        assert heard(client, 6) == b"before"
        proxy.block()
        said = bytes(range(256)) * 2_000
        client.sendall(said[:60_000])
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as late:
            late.sendall(b"late")
            for one in (client, late):
                one.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    one.recv(1)
                one.settimeout(10)
            proxy.unblock()
            assert heard(late, 4) == b"late"
        assert heard(client, 60_000) == said[:60_000]


def test_an_end_that_goes_is_told_to_the_other(echo: int) -> None:
    proxy = Proxy(echo, free_port())
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        client.sendall(b"x")
        assert heard(client, 1) == b"x"
        proxy.close()
        assert client.recv(1) == b""
    assert not answers(proxy.port)


def test_nobody_behind_it_is_an_end_at_once() -> None:
    with closing(Proxy(free_port(), free_port())) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        assert client.recv(1) == b""
