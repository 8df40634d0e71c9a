"""How fast each topic grows and how far behind each consumer group is, asked of the broker every few seconds.

The feature engine and the archive keep their places in Spark's checkpoints, not at the broker: they are no groups, and how
far behind they are is not told here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from consumers.console.feed import Feed
from consumers.console.flowing import Flow, Lag, Rates
from streams import bus
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.topics import TOPICS

LOOK_S = 2.0
MAX_GROUPS = 50
log = logging.getLogger(__name__)


def look(settings: Settings, feed: Feed) -> None:
    """Keep `feed` told of the flow until it is stopped; an outage of the broker is waited out."""
    rates = Rates()
    while not feed.stopped:
        try:
            with_clients(settings, feed, rates)
        except (KafkaError, EnvironmentFault) as error:
            log.warning("the consumers' lag cannot be told: %s", str(error))
            feed.wait(LOOK_S)


def with_clients(settings: Settings, feed: Feed, rates: Rates) -> None:
    """Look every :data:`LOOK_S` seconds, with one pair of clients, until `feed` is stopped."""
    client, admin = bus.consumer(settings), bus.admin(settings)
    try:
        places = bus.partitions_of(client, settings, *TOPICS)
        while not feed.stopped:
            feed.flow = _seen(settings, client, admin, places, rates)
            feed.wait(LOOK_S)
    finally:
        client.close()
        admin.close()


def _seen(settings: Settings, client: KafkaConsumer, admin: KafkaAdminClient, places: list[TopicPartition], rates: Rates) -> Flow:
    ends: dict[TopicPartition, int] = client.end_offsets(places)
    totals = dict.fromkeys(TOPICS, 0)
    for place, end in ends.items():
        totals[settings.bare_topic(place.topic)] += end
    rates.add(time.monotonic(), totals)
    return Flow(time.time_ns() // 1_000, rates.flows(), _lags(settings, admin, ends))


def _lags(settings: Settings, admin: KafkaAdminClient, ends: Mapping[TopicPartition, int]) -> list[Lag]:
    names = (group["group_id"] for group in admin.list_groups())
    groups = sorted(name for name in names if name.startswith(settings.topic_prefix))
    kept = admin.list_group_offsets(groups[:MAX_GROUPS]) if groups else {}
    return [
        Lag(settings.bare_topic(group), settings.bare_topic(place.topic), place.partition, at.offset, ends[place], lag)
        for group, places in kept.items()
        for place, at in sorted(places.items())
        if place in ends and at.offset >= 0
        for lag in [max(0, ends[place] - at.offset)]
    ]
