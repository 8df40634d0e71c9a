"""Kafka through kafka-python: clients with our defaults, topics from the contract, and the few ways we read and write.

Faust consumers have clients of their own (`consumers/base.py`); Spark has its own (`streams/job.py`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import AuthorizationError, KafkaError, SaslAuthenticationFailedError, TopicAlreadyExistsError
from kafka.partitioner.default import murmur2

from streams import codec, security
from streams.clock import wall_ts_us
from streams.errors import BrokerGone, EnvironmentFault
from streams.messages import Event, EventKind, Message, State
from streams.settings import Settings
from streams.topics import TOPICS

Client = TypeVar("Client")

DENIED = (AuthorizationError, SaslAuthenticationFailedError)
# Of a partition's batch. Behind a full one kafka-python wakes its sender up at every record: 85 us of CPU each with its own
# 16 KiB, 37 with these.
BATCH_BYTES = 256 * 1024
PATIENT_BYTES = 1024 * 1024  # what a patient reader wants at once: more than comes in its time
INGEST_HEADER = "ingest_ts_us"  # when the tick behind a record reached the broker, wall clock, decimal text
FLEETING_HEADER = "fleeting"  # of a tick of a tape whose minutes pass too fast to be looked at: only final rows are told of them
REDRIVEN_HEADER = "redriven"  # of a record that `tickcast dead redrive` sent again: which dead letter it was


class Record(NamedTuple):
    """One record of a topic, as every stage sees it. `topic` is without the namespace prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Sequence[tuple[str, bytes]] = ()

    def header(self, name: str) -> str | None:
        """Return the text of header `name`, or None where the record has none."""
        return next((value.decode() for key, value in self.headers if key == name), None)


class Outgoing(NamedTuple):
    """One record to send. `topic` is without the namespace prefix; `partition` only where the key does not decide."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


def outgoing(topic: str, key: str, message: Message, headers: Sequence[tuple[str, bytes]] = ()) -> Outgoing:
    """Return the record that carries `message`."""
    return Outgoing(topic, key.encode(), codec.encode(message), headers)


def dead_letter(record: Record, stage: str, error: Exception) -> Outgoing:
    """Return the record for `dead_letters` that tells what `stage` could not use, and why."""
    letter = codec.dead_letter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        stage=stage,
        error=error,
        timestamp_us=max(0, record.timestamp_ms) * 1_000,
        headers={name: value.decode(errors="replace") for name, value in record.headers},
    )
    return outgoing("dead_letters", record.topic, letter)


def address_file(settings: Settings) -> Path:
    """Return where `tickcast up` says which broker it runs, and for which namespace."""
    return settings.home / "broker-address"


def find_broker(settings: Settings) -> Settings:
    """Return `settings` with the broker that is set, or else the one that `tickcast up` runs from the same home.

    Raises
    ------
    EnvironmentFault
        There is neither.
    """
    if settings.broker:
        return settings
    file = address_file(settings)
    address, _, prefix = file.read_text().partition(" ") if file.exists() else ("", "", "")
    if not address or not _answers(address):
        raise EnvironmentFault("no broker runs here; start one with `tickcast up`, or set TICKCAST_BROKER=host:port")
    return msgspec.structs.replace(settings, broker=address, topic_prefix=settings.topic_prefix or prefix)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 0.5).close()
    except OSError:
        return False
    return True


def _connected(make: Callable[..., Client], settings: Settings, **options: Any) -> Client:
    try:
        return make(bootstrap_servers=settings.broker, **security.of(settings).kafka_python(), **options)
    except DENIED as error:
        raise denied(settings, error) from error
    except (KafkaError, ValueError) as error:
        raise BrokerGone(
            f"no Kafka broker answers at {settings.broker!r} ({error}); start one with `tickcast up`, or set TICKCAST_BROKER, "
            "and TICKCAST_KAFKA_SECURITY where it asks who one is"
        ) from error


def denied(settings: Settings, error: Exception) -> EnvironmentFault:
    """Return what to say where the broker knows this client not, or does not let it do what it wants."""
    why = type(error).__name__.removesuffix("Error")  # Kafka's own text quotes the whole request
    return EnvironmentFault(
        f"the broker at {settings.broker} refuses {security.of(settings)} ({why}); SECURITY.md lists the rights that roles need"
    )


def admin(settings: Settings) -> KafkaAdminClient:
    """Return a client that creates, removes and describes."""
    return _connected(KafkaAdminClient, settings)


def producer(settings: Settings, **options: Any) -> KafkaProducer:
    """Return an idempotent producer that waits for all replicas."""
    sizes = {"max_request_size": TOPICS["dead_letters"].max_message_bytes, "batch_size": BATCH_BYTES}
    return _connected(KafkaProducer, settings, **sizes | options)


@contextmanager
def producing(settings: Settings) -> Iterator[KafkaProducer]:
    """Lend a producer for the length of a `with` block, and wait until the broker has what was sent."""
    client = producer(settings)
    try:
        yield client
    finally:
        client.flush()
        client.close()


def consumer(settings: Settings, **options: Any) -> KafkaConsumer:
    """Return a consumer without topics; it commits nothing by itself and starts at the beginning."""
    return _connected(KafkaConsumer, settings, **{"auto_offset_reset": "earliest", "enable_auto_commit": False} | options)


def ensure_topics(settings: Settings) -> list[str]:
    """Create the topics of the contract that are missing; return the names created."""
    client = admin(settings)
    try:
        present = set(client.list_topics())
        missing = [topic for topic in TOPICS.values() if settings.topic(topic.name) not in present]
        for topic in missing:
            count = settings.partitions if topic.spread else 1
            new = NewTopic(settings.topic(topic.name), count, 1, topic_configs=topic.configs())
            _create(client, new)
        return [settings.topic(topic.name) for topic in missing]
    except DENIED as error:
        raise denied(settings, error) from error
    finally:
        client.close()


def _create(client: KafkaAdminClient, topic: NewTopic) -> None:
    try:
        client.create_topics([topic], wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return  # another role was quicker: what we want is there


def let_broker_stamp(settings: Settings, *topics: str) -> None:
    """Have the broker stamp what comes to `topics` from now on; by default a record has the time at which it was made."""
    admin = _connected(KafkaAdminClient, settings)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), stamped) for name in topics])
    finally:
        admin.close()


def as_record(settings: Settings, raw: Any) -> Record:
    """Return what a Kafka client read (kafka-python's or aiokafka's record) as a :class:`Record`."""
    return Record(
        settings.bare_topic(raw.topic), raw.partition, raw.offset, raw.key, raw.value, raw.timestamp, tuple(raw.headers or ())
    )


def send(client: KafkaProducer, settings: Settings, record: Outgoing) -> Any:
    """Hand `record` to `client`; the future that it returns resolves once the broker has it."""
    return client.send(
        settings.topic(record.topic),
        value=record.value,
        key=record.key,
        headers=list(record.headers) or None,
        partition=record.partition,
    )


def sendable_key(record: Record) -> bytes | None:
    """Return the key to send `record` again with: kafka-python sends none without key and value, so that one's is empty."""
    return b"" if record.key is None and record.value is None else record.key


def partition_of(record: Outgoing, partitions: int) -> int:
    """Return the partition, of `partitions`, that `record` goes to: its own, or what every client derives from its key."""
    return record.partition if record.partition is not None else (_hash(record.key) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=10_000)
def _hash(key: bytes) -> int:
    return int(murmur2(key))


def partitions_of(client: KafkaConsumer, settings: Settings, *topics: str) -> list[TopicPartition]:
    """Return all partitions of `topics` (bare names)."""
    return [
        TopicPartition(settings.topic(topic), partition)
        for topic in topics
        for partition in sorted(client.partitions_for_topic(settings.topic(topic)) or ())
    ]


def read_all(settings: Settings, *topics: str) -> Iterator[Record]:
    """Yield every record that `topics` hold now, oldest first in each partition, and stop."""
    client = consumer(settings)
    try:
        places = partitions_of(client, settings, *topics)
        yield from read_between(client, settings, client.beginning_offsets(places), client.end_offsets(places))
    finally:
        client.close()


def read_between(
    client: KafkaConsumer, settings: Settings, start: dict[TopicPartition, int], end: dict[TopicPartition, int]
) -> Iterator[Record]:
    """Yield the records from offset `start` up to, and without, offset `end` of each partition."""
    left = {place: offset for place, offset in end.items() if start[place] < offset}
    client.assign(list(left))
    for place in left:
        client.seek(place, start[place])
    while left:
        for batch in client.poll(timeout_ms=200).values():
            yield from (as_record(settings, raw) for raw in batch if raw.offset < end[TopicPartition(raw.topic, raw.partition)])
        left = {place: offset for place, offset in left.items() if client.position(place) < offset}


def follow(
    settings: Settings,
    *topics: str,
    stop: Callable[[], bool],
    from_end: bool = False,
    last: int | None = None,
    patience_ms: int = 0,
) -> Generator[list[Record], None, None]:
    """Yield what arrives on all partitions of `topics`, a poll at a time (empty lists too), until `stop()`.

    It starts at the beginning, at the end (`from_end`), or at most `last` records before the end of each partition. With
    `patience_ms` the broker lets records wait so long for company: many small answers cost both sides much.
    """
    patience = {"fetch_min_bytes": PATIENT_BYTES, "fetch_max_wait_ms": patience_ms} if patience_ms else {}
    client = consumer(settings, **patience)
    try:
        places = partitions_of(client, settings, *topics)
        client.assign(places)
        (client.seek_to_end if from_end else client.seek_to_beginning)(*places)
        if last is not None:
            _seek_back(client, places, last)
        while not stop():
            batches = client.poll(timeout_ms=100).values()
            yield [as_record(settings, raw) for batch in batches for raw in batch]
    finally:
        client.close()


def _seek_back(client: KafkaConsumer, places: list[TopicPartition], last: int) -> None:
    oldest, end = client.beginning_offsets(places), client.end_offsets(places)
    for place in places:
        client.seek(place, max(oldest[place], end[place] - last))


class StatusReporter:
    """Tells `events` how this process is; the supervisor, the page and `tickcast doctor` read it."""

    def __init__(self, settings: Settings, role: str, client: KafkaProducer | None = None) -> None:
        self._settings = settings
        self._role = role
        self._client = client or producer(settings)

    def say(self, state: State, detail: str = "", counts: dict[str, int] | None = None) -> None:
        """Publish `state` (starting, ready, training, done, failed); does not wait for the broker."""
        self.publish("status", state, detail, {"pid": os.getpid()} | (counts or {}))

    def publish(self, kind: EventKind, state: State = "", detail: str = "", counts: dict[str, int] | None = None) -> None:
        """Publish any other kind of event in this role's name."""
        event = Event(
            kind=kind,
            role=self._role,
            wall_ts_us=wall_ts_us(),
            state=state,
            detail=detail,
            counts=counts or {},
        )
        send(self._client, self._settings, outgoing("events", kind, event))

    def flush(self) -> None:
        """Wait until the broker has all that was said."""
        self._client.flush()


def send_all(client: KafkaProducer, settings: Settings, records: Iterable[Outgoing]) -> int:
    """Send `records` and wait until the broker has every one; return how many."""
    futures = [send(client, settings, record) for record in records]
    client.flush()
    for future in futures:
        future.get(timeout=30)
    return len(futures)
