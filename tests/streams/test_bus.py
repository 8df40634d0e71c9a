"""The Kafka helpers against a real broker."""

from __future__ import annotations

from streams import bus
from streams.messages import Tick
from streams.settings import Settings
from streams.topics import TOPICS


def tick(seq: int) -> Tick:
    return Tick(event_ts_us=seq, clock_ts_us=seq, symbol="AAPL", price=1.5, size=1, source="test", seq=seq)


def test_what_is_sent_is_read_back_once_and_in_order(config: Settings) -> None:
    client = bus.producer(config)
    sent = [bus.outgoing("ticks", "AAPL", tick(seq), [("ingest_ts_us", b"7")]) for seq in range(1000)]
    assert bus.send_all(client, config, sent) == 1000
    client.close()
    records = list(bus.read_all(config, "ticks"))
    assert [record.value for record in records] == [record.value for record in sent]
    assert records[0].header(bus.INGEST_HEADER) == "7"
    assert {record.topic for record in records} == {"ticks"}


def test_topics_are_created_once_with_their_declared_shape(config: Settings) -> None:
    assert bus.ensure_topics(config) == []
    client = bus.consumer(config)
    counts = {name: len(bus.partitions_of(client, config, name)) for name in TOPICS}
    client.close()
    assert counts == {name: config.partitions if topic.spread else 1 for name, topic in TOPICS.items()}


def test_a_broker_that_stamps_takes_no_ones_word_for_the_time(config: Settings) -> None:
    bus.ensure_topics(config)
    bus.let_broker_stamp(config, "scores")
    with bus.producing(config) as client:
        for topic in ("scores", "events"):
            client.send(config.topic(topic), b"v", b"k", timestamp_ms=1_000)
    times = {record.topic: record.timestamp_ms for record in bus.read_all(config, "scores", "events")}
    assert times["events"] == 1_000
    assert times["scores"] > 1_000_000_000_000
