"""The feed of benchmarks: the records that the product's producer sends, in the same partitions, and no failure unheard."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka import KafkaException

from deploy.bench_feed import Bygone, Feeding
from producers.base import Event, Trade
from producers.market import Market
from producers.pace import Unpaced
from producers.run import Producing
from streams import bus
from streams.settings import Settings

TICKS = 3_000  # a minute and more, so that there are closings
MARKET = Market(symbols=("AAPL", "TSLA", "S0007"), rate=40.0)


def told(config: Settings, source: Bygone, *, fast: bool) -> dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]]:
    """Return the keys and values that a run over `source` leaves in each partition."""
    own = msgspec.structs.replace(config, topic_prefix=f"{config.topic_prefix}{'fast' if fast else 'slow'}.")
    bus.ensure_topics(own)
    stop = threading.Event()
    (Feeding(own, source, stop) if fast else Producing(own, source, Unpaced(), stop)).run()
    found = defaultdict(list)
    for record in bus.read_all(own, "ticks", "headlines"):
        found[record.topic, record.partition].append((record.key, record.value))
    return found


def test_the_client_in_c_sends_what_the_producer_sends(config: Settings) -> None:
    now_us = 1_700_000_000_000_000
    slow, fast = (told(config, Bygone(MARKET, TICKS, now_us), fast=fast) for fast in (False, True))
    assert sum(len(records) for (topic, _), records in slow.items() if topic == "ticks") > TICKS
    assert slow == fast


class TooLarge(Bygone):
    """One trade of a symbol with a name that no broker takes."""

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        yield Trade(1_700_000_000_000_000, "A" * 2 * 1024 * 1024, 1.0, 1.0, 0)


def test_a_record_that_the_broker_refuses_ends_the_feed(config: Settings) -> None:
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        Feeding(config, TooLarge(MARKET, 1), threading.Event()).run()
