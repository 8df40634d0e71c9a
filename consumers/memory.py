"""What a consumer's state is rebuilt from: the past of its `memory` topics, read with kafka-python before Faust goes on.

Inputs are read up to the group's committed offset, because what follows is yet to be handled; other topics (the
handler's own outputs among them) to their end. Topics that are keyed by symbol are co-partitioned, so partition p of
all of them is merged by record timestamp; the handler sees one symbol's past in about the order in which it came.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition

from consumers.base import Handler
from streams import bus
from streams.bus import Record
from streams.settings import Settings
from streams.topics import TOPICS


def past(handler: Handler, settings: Settings, partitions: frozenset[int]) -> Iterator[Record]:
    """Yield the past of `handler.memory` in the partitions numbered `partitions`.

    A topic with a single partition (`Topic.spread` is false) is read once, with the lowest number. Blocks.
    """
    # One client a topic: each of the merged readers has a position of its own.
    clients = {topic: bus.consumer(settings, group_id=settings.topic(handler.name)) for topic in handler.memory}
    try:
        for partition in sorted(partitions):
            topics = [topic for topic in handler.memory if TOPICS[topic].spread or partition == min(partitions)]
            readers = [_read(clients[topic], handler, settings, topic, partition) for topic in topics]
            yield from heapq.merge(*readers, key=lambda record: record.timestamp_ms)
    finally:
        for client in clients.values():
            client.close()


def _read(client: KafkaConsumer, handler: Handler, settings: Settings, topic: str, partition: int) -> Iterator[Record]:
    place = TopicPartition(settings.topic(topic), partition if TOPICS[topic].spread else 0)
    start = client.beginning_offsets([place])
    end = {place: client.committed(place) or 0} if topic in handler.inputs else client.end_offsets([place])
    if start[place] < end[place]:
        yield from bus.read_between(client, settings, start, end)
