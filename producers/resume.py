"""What a source has in the topics already, so that a restarted run goes on and repeats nothing.

The topics are read from their ends, so this takes no longer with millions of records there; only a source that is not found
is searched for to the beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing

import msgspec
from kafka import KafkaConsumer, TopicPartition

from producers.base import Told
from streams import bus
from streams.clock import MINUTE_US, wall_ts_us
from streams.settings import Settings

Place = tuple[str, int]
"""A topic's bare name, and a partition."""

TOPICS = ("ticks", "headlines")
NUMBER_HEADER = "number"  # which record of its tape this is in its partition, from 1; decimal text
FIRST_CHUNK = 500  # records; doubled until one of ours is among them


RECENT_MIN = {"ticks": 65, "headlines": 24 * 60}  # ticks: longer than the hour that `live.FARTHEST_US` lets vendors be asked for


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a live source wants to know of its own ticks and headlines."""

    source: str
    event_ts_us: int
    symbol: str = ""
    seq: int = -1
    id: str = ""
    text: str = ""
    closes: bool = False


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a tick or headline is: read also from those that break the contract otherwise."""

    source: str
    seq: int = -1
    closes: bool = False


_saids = msgspec.json.Decoder(Said)
_origins = msgspec.json.Decoder(Origin)


def numbers(settings: Settings, source: str) -> Counter[Place]:
    """Return how many records of the tape `source` each place holds."""
    counts: Counter[Place] = Counter()
    for record in _last(settings, TOPICS, lambda record: _origin(record).source == source):
        counts[record.topic, record.partition] = int(record.header(NUMBER_HEADER) or 0)
    return counts


def sent(settings: Settings, topics: tuple[str, ...]) -> Counter[Place]:
    """Return how many records were ever sent to each partition of `topics`."""
    with closing(bus.consumer(settings)) as client:
        ends = client.end_offsets(bus.partitions_of(client, settings, *topics))
    return Counter({(settings.bare_topic(place.topic), place.partition): end for place, end in ends.items()})


def highest_seq(settings: Settings, source: str) -> int:
    """Return the highest seq of the live `source`, whose trades come in the order of their seq; -1 where it has none."""

    def traded(record: bus.Record) -> bool:
        origin = _origin(record)
        return origin.source == source and not origin.closes

    return max((_origin(record).seq for record in _last(settings, TOPICS[:1], traded)), default=-1)


def recent(settings: Settings, sources: Collection[str]) -> Iterator[Told]:
    """Yield the trades and stories of the live `sources` that came within the last `RECENT_MIN` minutes of their topics."""
    with closing(bus.consumer(settings)) as client:
        for topic, minutes in RECENT_MIN.items():
            places = bus.partitions_of(client, settings, topic)
            since_ms = (wall_ts_us() - minutes * MINUTE_US) // 1_000
            found, ends = client.offsets_for_times(dict.fromkeys(places, since_ms)), client.end_offsets(places)
            starts = {place: ends[place] if found[place] is None else found[place].offset for place in places}
            for record in bus.read_between(client, settings, starts, ends):
                said = _said_of(record)
                if said is not None and not said.closes and said.source in sources:
                    yield Told(said.source, said.event_ts_us, said.symbol, said.seq, said.id, said.text)


def _said_of(record: bus.Record) -> Said | None:
    try:
        return _saids.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _origin(record: bus.Record) -> Origin:
    try:
        return _origins.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Origin(source="")  # somebody else's: its stage dead-letters it


def _last(settings: Settings, topics: tuple[str, ...], mine: Callable[[bus.Record], bool]) -> list[bus.Record]:
    """Return the last record that is `mine` of each place that has one; what was redriven is out of its place."""

    def own(record: bus.Record) -> bool:
        return record.header(bus.REDRIVEN_HEADER) is None and mine(record)

    client = bus.consumer(settings)
    try:
        places = bus.partitions_of(client, settings, *topics)
        oldest, end = client.beginning_offsets(places), client.end_offsets(places)
        found = (_last_in(client, settings, place, range(oldest[place], end[place]), own) for place in places)
        return [record for record in found if record is not None]
    finally:
        client.close()


def _last_in(
    client: KafkaConsumer, settings: Settings, place: TopicPartition, offsets: range, mine: Callable[[bus.Record], bool]
) -> bus.Record | None:
    end, size = offsets.stop, FIRST_CHUNK
    while end > offsets.start:
        start = max(offsets.start, end - size)
        chunk = bus.read_between(client, settings, {place: start}, {place: end})
        if found := [record for record in chunk if mine(record)]:
            return found[-1]
        end, size = start, 2 * size
    return None
