"""What a consumer's state is rebuilt from: the past of its `memory` topics, read with kafka-python before Faust goes on.

Inputs are read up to the group's committed offset, because what follows is yet to be handled; other topics (the
handler's own outputs among them) to their end. Topics that are keyed by symbol are co-partitioned, so partition p of
all of them is merged by record timestamp; the handler sees one symbol's past in about the order in which it came.

Most of a week's records are provisional and of no use to anybody who starts, so a handler says how far back it must look.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import msgspec
from kafka import KafkaConsumer, TopicPartition

from consumers.base import Handler
from streams import bus
from streams.bus import Record
from streams.settings import Settings
from streams.topics import TOPICS


class _Provisional(msgspec.Struct):
    provisional: bool = False


_decoder = msgspec.json.Decoder(_Provisional)


def is_provisional(record: Record) -> bool:
    """Return whether `record` is a provisional forecast, at a tenth of what decoding it costs; they outnumber all others."""
    try:
        return record.topic == "forecasts" and _decoder.decode(record.value or b"").provisional
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def past(handler: Handler, settings: Settings, partitions: frozenset[int]) -> Iterator[Record]:
    """Yield the past of `handler.memory` in the partitions numbered `partitions`.

    A topic with a single partition (`Topic.spread` is false) is read once, with the lowest number. Blocks.
    """
    # One client a topic: each of the merged readers has a position of its own.
    clients = {topic: bus.consumer(settings, group_id=settings.topic(handler.name)) for topic in handler.memory}
    try:
        for partition in sorted(partitions):
            topics = [topic for topic in handler.memory if TOPICS[topic].spread or partition == min(partitions)]
            past_of = _Past(handler, settings, clients, partition)
            yield from heapq.merge(*map(past_of.read, topics), key=lambda record: record.timestamp_ms)
    finally:
        for client in clients.values():
            client.close()


@dataclass(frozen=True)
class _Past:
    """The past of one partition number."""

    handler: Handler
    settings: Settings
    clients: dict[str, KafkaConsumer]
    partition: int

    def read(self, topic: str) -> Iterator[Record]:
        """Yield what the handler is to remember of `topic`."""
        client, place = self.clients[topic], self._place(topic)
        is_input = topic in self.handler.inputs
        end = (client.committed(place) or 0) if is_input else client.end_offsets([place])[place]
        start = self._start(topic)
        if start < end:
            yield from bus.read_between(client, self.settings, {place: start}, {place: end})

    def _start(self, topic: str) -> int:
        client, place = self.clients[topic], self._place(topic)
        beginning: int = client.beginning_offsets([place])[place]
        if topic not in self.handler.lookback_min or (handled_ms := self._handled_ms) is None:
            return beginning
        since_ms = max(0, handled_ms - self.handler.lookback_min[topic] * 60_000)
        found = client.offsets_for_times({place: since_ms})[place]
        return beginning if found is None else int(found.offset)

    @cached_property
    def _handled_ms(self) -> int | None:
        """When the last handled record of the input that is furthest behind was written; None where one has none."""
        times = [self._last_ms(topic) for topic in self.handler.inputs]
        return min((time for time in times if time is not None), default=None) if None not in times else None

    def _last_ms(self, topic: str) -> int | None:
        client, place = self.clients[topic], self._place(topic)
        end = client.committed(place) or 0
        if end <= client.beginning_offsets([place])[place]:
            return None
        last = bus.read_between(client, self.settings, {place: end - 1}, {place: end})
        return next((record.timestamp_ms for record in last), None)

    def _place(self, topic: str) -> TopicPartition:
        return TopicPartition(self.settings.topic(topic), self.partition if TOPICS[topic].spread else 0)
