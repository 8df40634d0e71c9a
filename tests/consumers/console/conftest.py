"""A console on a free port, for the length of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from playwright.sync_api import expect

from consumers.console.outlooks import Outlooks
from consumers.console.server import Backends, ConsoleServer, listen
from consumers.console.tapes import NoTapes, Tapes
from streams import bus
from streams.messages import Message
from streams.settings import Settings
from streams.testing import eventually
from tests.consumers.console.samples import sent

HOST = "127.0.0.1"
expect.set_options(timeout=30_000)  # milliseconds: what a page says in a moment takes longer where everything runs on two cores
Console = Callable[[], AbstractContextManager[str]]
Produce = Callable[..., None]


@contextmanager
def serving(config: Settings, name: str = HOST, tapes: Tapes | None = None, outlooks: Outlooks | None = None) -> Iterator[str]:
    """Serve the page on a free port of loopback, as if under `name`; yield its address."""
    with listen(HOST, 0) as listener, closing(bus.producer(config)) as client:
        behind = Backends(tapes=tapes or NoTapes(), outlooks=outlooks)
        server = ConsoleServer(config, name, bus.StatusReporter(config, "console", client), behind)
        thread = threading.Thread(target=server.serve_topics, args=(listener,))
        thread.start()
        try:
            eventually(lambda: server.feed.caught_up)
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def console(config: Settings) -> Console:
    """Return what starts a console; each start is a new one on the same topics."""
    return lambda: serving(config)


@pytest.fixture
def produce(config: Settings) -> Iterator[Produce]:
    """Return what sends messages to their topics and waits until the broker has them."""
    with closing(bus.producer(config)) as client:

        def send(*messages: Message, ingest_us: int | None = None) -> None:
            bus.send_all(client, config, [sent(message, ingest_us) for message in messages])

        yield send
