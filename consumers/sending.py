"""Sends what a handler answered: whole batches for each partition, at a tenth of what one call a record costs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from consumers import credentials
from streams import bus, security
from streams.bus import Outgoing
from streams.settings import Settings
from streams.topics import DEAD_LETTER_BYTES

BATCH_BYTES = 512 * 1024  # half of what topics take at once; a larger record goes alone
TIMEOUT_MS = 60_000  # a broker that does not answer for longer ends the process

Place = tuple[str, int]
"""A topic, as the broker knows it, and a partition."""


class Sender:
    """An idempotent producer of the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = AIOKafkaProducer(
            bootstrap_servers=[address.strip() for address in settings.broker.split(",")],
            **credentials.aiokafka(security.of(settings)),
            enable_idempotence=True,
            request_timeout_ms=TIMEOUT_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=DEAD_LETTER_BYTES,
        )

    async def start(self) -> None:
        """Connect to the broker."""
        await self._client.start()

    async def stop(self) -> None:
        """Wait for what is under way, and disconnect."""
        await self._client.stop()

    async def send(self, records: Iterable[Outgoing]) -> None:
        """Return once the broker has all of `records`; those of a partition are there in their order.

        Raises
        ------
        KafkaError
            The broker refused one, or did not answer in time.
        """
        by_place: defaultdict[Place, list[Outgoing]] = defaultdict(list)
        for record in records:
            by_place[await self._place(record)].append(record)
        await asyncio.gather(*[self._send(place, some) for place, some in by_place.items()])

    async def _place(self, record: Outgoing) -> Place:
        topic = self._settings.topic(record.topic)
        return topic, bus.partition_of(record, len(await self._client.partitions_for(topic)))

    async def _send(self, place: Place, records: Sequence[Outgoing]) -> None:
        topic, partition = place
        underway = [await self._client.send_batch(batch, topic, partition=partition) for batch in self._batches(records)]
        await asyncio.gather(*underway)

    def _batches(self, records: Sequence[Outgoing]) -> list[Any]:
        """Return `records` in as few batches as hold them."""
        batches = [self._client.create_batch()]
        for record in records:
            while batches[-1].append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is None:
                batches.append(self._client.create_batch())
        return batches
