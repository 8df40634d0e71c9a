"""What feeds the feature engine in a benchmark: the producer's own records, sent by a client in C.

The product's producer costs 50 to 100 microseconds of CPU a tick, most of it in Kafka's client for Python. At 10,000 ticks/s
that is half of two cores, and the measurement would be of the producer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

from confluent_kafka import Producer

from producers.base import Event, Source
from producers.market import Market
from producers.pace import Unpaced
from producers.run import Producing
from producers.simulated import Simulated
from streams import security
from streams.bus import Outgoing
from streams.clock import SECOND_US, wall_ts_us
from streams.job import PROMPT_MS
from streams.settings import Settings

WAITING = 200_000  # records that may wait in the client
LOOK_EVERY = 1_000  # records between two looks for what the broker has refused
FLUSH_S = 60.0
BY_KEY = -1  # a partition, as the client names it


NAP_S = 0.002  # ten thousand ticks a second, each woken up for by itself, would cost more than all else here


def _nap(seconds: float) -> None:
    time.sleep(max(seconds, NAP_S))


class Bygone:
    """A simulated market of some seconds that end at `end_us` (now, where it is 0), told as fast as it is asked for."""

    live = True
    name = "simulated"

    def __init__(self, market: Market, ticks: int, end_us: int = 0) -> None:
        self._ticks = ticks
        self._now_us = (end_us or wall_ts_us()) - round(ticks / market.rate * SECOND_US)
        self._market = Simulated(market, clock=lambda: self._now_us, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self._now_us += max(1, round(seconds * SECOND_US))

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events."""
        return islice(self._market.events(resume_after), self._ticks)


class Feeding(Producing):
    """One run of one live source through a client in C; a record that the broker refuses ends it."""

    def __init__(self, settings: Settings, source: Source, stop: threading.Event) -> None:
        super().__init__(settings, source, Unpaced(), stop)
        self._topics = {name: settings.topic(name) for name in self._partitions}
        self._sent = 0
        self._fast = Producer(
            {
                "bootstrap.servers": settings.broker,
                **security.of(settings).librdkafka(),
                "linger.ms": max(0, settings.flush_ms - PROMPT_MS),
                "log_level": 0,  # a broker that is gone, at the end of a benchmark, is no news
                "queue.buffering.max.messages": WAITING,
                "partitioner": "murmur2_random",  # as all other clients
                "delivery.report.only.error": True,
                "on_delivery": self._report,
            }
        )

    def _send(self, record: Outgoing) -> None:
        place = BY_KEY if record.partition is None else record.partition
        self._fast.produce(self._topics[record.topic], record.value, record.key, partition=place)
        self._sent += 1
        if self._sent % LOOK_EVERY == 0:
            self._fast.poll(0)
            self._raise_failure()

    def _flush(self) -> None:
        if left := self._fast.flush(FLUSH_S):
            raise TimeoutError(f"{left} records did not reach the broker")
        super()._flush()

    def _report(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed(RuntimeError(str(error)))


@contextmanager
def feeding(settings: Settings, market: Market) -> Iterator[None]:
    """Tell `market` as it happens, on a thread, for the length of a `with` block; raise at its end what went wrong."""
    stop, source = threading.Event(), Simulated(market, sleep=_nap)
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
        fed = pool.submit(Feeding(settings, source, stop).run)
        try:
            yield
        finally:
            stop.set()
    fed.result()
