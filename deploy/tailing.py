"""Reads the end of a topic, and goes on with what arrives."""

from __future__ import annotations

from collections.abc import Iterator

from streams import bus
from streams.bus import Record
from streams.settings import Settings


def records(settings: Settings, topic: str, last: int, *, follow: bool) -> Iterator[Record]:
    """Yield the `last` records of each partition of `topic` (all where negative), then, with `follow`, new ones for ever."""
    client = bus.consumer(settings)
    try:
        places = bus.partitions_of(client, settings, topic)
        begin, end = client.beginning_offsets(places), client.end_offsets(places)
        start = begin if last < 0 else {place: max(begin[place], end[place] - last) for place in places}
        yield from bus.read_between(client, settings, start, end)
        if not follow:
            return
        client.assign(places)
        for place in places:
            client.seek(place, end[place])
        while True:
            for batch in client.poll(timeout_ms=200).values():
                yield from (bus.as_record(settings, raw) for raw in batch)
    finally:
        client.close()
