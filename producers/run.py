"""Runs one source: events to messages to Kafka, paced, resumable, with progress on `events`."""

from __future__ import annotations

import collections
import signal
import threading
import time
from collections.abc import Iterator

from kafka import KafkaProducer

from producers.base import Source, Story, Trade
from producers.closings import Closer
from producers.pace import Pace, pace_of
from streams import bus, codec
from streams.errors import BadMessage
from streams.messages import Headline, Tick
from streams.settings import Settings

KINDS: dict[str, type[Tick] | type[Headline]] = {"ticks": Tick, "headlines": Headline}
STATUS_INTERVAL_S = 2.0


class Producing:
    """One run of one source.

    A tape is deterministic, so a restarted run makes the same records again and leaves out, per partition, as many as
    this source has there already. A live source goes on behind its last seq.
    """

    def __init__(self, settings: Settings, source: Source, pace: Pace) -> None:
        self._settings = settings
        self._source = source
        self._pace = pace
        self._client: KafkaProducer = bus.producer(settings)
        self._status = bus.StatusReporter(settings, "produce", self._client)
        self._counts: collections.Counter[str] = collections.Counter()
        self._stop = threading.Event()
        self._said_s = 0.0

    def stop(self) -> None:
        """Ask the run to end before its next event."""
        self._stop.set()

    def run(self) -> None:
        """Send everything, wait until the broker has it, and say that the tape is done."""
        present = Present(self._settings, self._source.name)
        skip = collections.Counter[tuple[str, int]]() if self._source.live else present.counts
        for record in self._records(present.highest_seq if self._source.live else -1):
            place = (record.topic, bus.partition_of(record, self._settings.partitions))
            if skip[place] > 0:
                skip[place] -= 1
                continue
            bus.send(self._client, self._settings, record)
        self._client.flush()
        done = not self._stop.is_set()
        if done:
            self._status.publish("tape", "done", self._source.name, dict(self._counts))
        self._status.say("done" if done else "", self._source.name, dict(self._counts))
        self._client.flush()
        self._client.close()

    def _records(self, resume_after: int) -> Iterator[bus.Outgoing]:
        closer = Closer(self._source.name, self._settings.partitions)
        for event in self._source.events(resume_after):
            if self._stop.is_set():
                return
            self._say()
            self._pace.wait(max(event.event_ts_us, closer.clock_ts_us), closer.open_symbols)
            self._count(event)
            yield from closer.records(event)

    def _count(self, event: object) -> None:
        if isinstance(event, Trade):
            self._counts["ticks"] += 1
        elif isinstance(event, Story):
            self._counts["headlines"] += 1
            self._counts["sentiments"] += len(set(event.symbols))

    def _say(self) -> None:
        if time.monotonic() - self._said_s >= STATUS_INTERVAL_S:
            self._said_s = time.monotonic()
            self._status.say("ready", self._source.name, dict(self._counts))


class Present:
    """What a source has in the topics already."""

    def __init__(self, settings: Settings, source: str) -> None:
        self.counts: collections.Counter[tuple[str, int]] = collections.Counter()
        self.highest_seq = -1
        for record in bus.read_all(settings, *KINDS):
            message = self._message(record)
            if message is None or message.source != source:
                continue
            self.counts[record.topic, record.partition] += 1
            if isinstance(message, Tick):
                self.highest_seq = max(self.highest_seq, message.seq)

    @staticmethod
    def _message(record: bus.Record) -> Tick | Headline | None:
        try:
            return codec.decode(KINDS[record.topic], record.value)
        except BadMessage:
            return None  # somebody else's: its stage dead-letters it


def run(settings: Settings, source: Source, speed: str) -> None:
    """Run `source` to its end, or until SIGTERM or SIGINT."""
    bus.ensure_topics(settings)
    producing = Producing(settings, source, pace_of(source.live, speed, settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: producing.stop())
    producing.run()
