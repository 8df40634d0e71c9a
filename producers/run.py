"""Runs one source: events to messages to Kafka, paced, resumable, with progress on `events`."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from kafka import KafkaProducer

from producers import resume
from producers.base import Event, Pulse, Remembering, Report, Source, Story, Trade
from producers.closings import Closer
from producers.pace import Pace, course_of, pace_of
from producers.recorded import Closed, RecordedTape, is_ahead
from producers.steering import Wheel
from streams import bus, codec
from streams.clock import MINUTE_US, minute_start_us
from streams.errors import BadMessage
from streams.messages import ModelAnnouncement
from streams.recording import INPUTS, Recorded
from streams.settings import Settings

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 2.0
TAPE_LINGER_MS = 10  # that records of a tape wait for company: a request for each costs broker and producer most of their time
SWAP_S = 30.0  # a forecaster loads a model in a second and says so every two
FLEETING = (bus.FLEETING_HEADER, b"")
CLOCK = "clock_ts_us"  # among the counts of a status: where the tape stands


class Producing:
    """One run of one source.

    A tape is deterministic, so a restarted run makes the same records again and leaves out, per partition, as many as
    this tape has there already. A recording has its topics to itself, so what they hold is what was sent of it. A live source
    goes on behind its last seq.

    Parameters
    ----------
    stop : threading.Event
        Once set, the run ends before its next event.
    about : callable
        What else belongs into a status.

    Attributes
    ----------
    clock_ts_us : int
        How far the tape's clock has been sent.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        pace: Pace,
        stop: threading.Event,
        about: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._settings = settings
        self._source = source
        self._pace = pace
        self._stop = stop
        self._client: KafkaProducer = bus.producer(settings, linger_ms=0 if source.live else TAPE_LINGER_MS)
        self._status = bus.StatusReporter(settings, "produce", self._client)
        self._counts: Counter[str] = Counter()
        self._partitions = {topic: len(self._client.partitions_for(settings.topic(topic))) for topic in resume.TOPICS}
        self._about = about
        self._failure: BaseException | None = None
        self.clock_ts_us = 0

    def run(self) -> None:
        """Send everything, wait until the broker has it, and say that the tape is done.

        Raises
        ------
        SourceError
            The source cannot be read on.
        kafka.errors.KafkaError
            The broker did not take a record; a restarted run goes on from what it has.
        """
        with closing(self._client):
            with self._telling():
                self._send_whole()
                self._flush()
            done = not self._stop.is_set()
            if done:
                self._status.publish("tape", "done", self._source.name, dict(self._counts))
            self._status.say("done" if done else "", self._source.name, self._told())
            self._flush()

    def _send_whole(self) -> None:
        if isinstance(self._source, RecordedTape):
            self._send_recorded(self._source)
        elif self._source.live:
            self._send_live()
        else:
            self._send_tape()

    def _send_live(self) -> None:
        source = getattr(self._source, "inner", self._source)
        if isinstance(source, Remembering):
            source.remember(resume.recent(self._settings, source.lines))
            after = -1
        else:
            after = resume.highest_seq(self._settings, self._source.name)
        for record in self._records(after):
            self._send(record)

    def _send_tape(self) -> None:
        present = resume.numbers(self._settings, self._source.name)
        number: Counter[resume.Place] = Counter()
        for record in self._records(-1):
            place = (record.topic, bus.partition_of(record, self._partitions[record.topic]))
            number[place] += 1
            if number[place] > present[place]:
                header = (resume.NUMBER_HEADER, str(number[place]).encode())
                self._send(bus.Outgoing(record.topic, record.key, record.value, [*record.headers, header], place[1]))

    def _send_recorded(self, tape: RecordedTape) -> None:
        present = resume.sent(self._settings, INPUTS)
        number: Counter[resume.Place] = Counter()
        closed = Closed()
        for recorded in tape.records():
            place = (recorded.record.topic, recorded.record.partition)
            clock_ts_us = max(self.clock_ts_us, recorded.clock_ts_us)
            self._pace.wait(clock_ts_us, closed.open_symbols(clock_ts_us))
            if self._stop.is_set():
                return
            self.clock_ts_us = clock_ts_us
            closed.take(recorded)
            number[place] += 1
            self._counts[place[0]] += 1
            if number[place] > present[place]:
                self._send_again(recorded)
                if place[0] == "models" and recorded.clock_ts_us:
                    self._await_swap(recorded.record)

    def _await_swap(self, announcement: bus.Record) -> None:
        """Let the forecaster load an announced model before the minutes come that it is for; who refuses it keeps nobody."""
        self._flush()
        try:
            said = codec.decode(ModelAnnouncement, announcement.value)
        except BadMessage:
            return
        deadline_s = time.monotonic() + SWAP_S
        loaded = threading.Event()

        def over() -> bool:
            return loaded.is_set() or self._stop.is_set() or time.monotonic() > deadline_s

        for records in bus.follow(self._settings, "events", stop=over, from_end=True):
            if any(said.model_id.encode() in (record.value or b"") for record in records):
                loaded.set()

    def _send_again(self, recorded: Recorded) -> None:
        record, _ = recorded
        self._raise_failure()
        # a clock ahead of the broker's was refused for it, and shall be again; all else is stamped when it comes
        kept_ms = record.timestamp_ms if is_ahead(record) else None
        where = self._settings.topic(record.topic)
        key = bus.sendable_key(record)
        # of a recording every row is told: not all that was recorded need ever be closed
        headers = [header for header in record.headers if header != FLEETING] or None
        sent = self._client.send(where, record.value, key, headers, record.partition, kept_ms)
        sent.add_errback(self._failed)

    def _records(self, resume_after: int) -> Iterator[bus.Outgoing]:
        closer = Closer(self._source.name, self._partitions["headlines"], self._settings.lateness_min)
        for event in self._source.events(resume_after):
            if isinstance(event, Report):
                self._take_report(event)
            for step in steps(event, closer):
                self.clock_ts_us = closer.clock_ts_us
                fleeting = self._pace.wait(max(step.event_ts_us, closer.clock_ts_us), closer.open_symbols)
                if self._stop.is_set():
                    return
                for record in closer.records(step):
                    yield record._replace(headers=[FLEETING]) if fleeting else record
            self._count(event)

    def _send(self, record: bus.Outgoing) -> None:
        self._raise_failure()
        bus.send(self._client, self._settings, record).add_errback(self._failed)

    def _flush(self) -> None:
        self._client.flush()
        self._raise_failure()

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _count(self, event: object) -> None:
        if isinstance(event, Trade):
            self._counts["ticks"] += 1
            if event.excluded:
                self._counts[f"excluded {event.excluded.partition(' ')[0]}"] += 1
        elif isinstance(event, Story):
            self._counts["headlines"] += 1
            self._counts["sentiments"] += len(set(event.symbols))

    def _take_report(self, report: Report) -> None:
        self._counts.update({name: count - self._counts[name] for name, count in report.counts.items()})
        if report.detail:
            log.warning(report.detail)
            self._status.publish("alert", "", report.detail, dict(report.counts))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say how it goes for the length of a block, from a thread: a pace may wait for longer than anybody listens."""
        over = threading.Event()
        teller = threading.Thread(target=self._tell, args=(over,), daemon=True, name="status")
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()

    def _told(self) -> dict[str, int]:
        return dict(self._counts) | {CLOCK: self.clock_ts_us} | self._about()

    def _tell(self, over: threading.Event) -> None:
        while True:
            self._status.say("ready", self._source.name, self._told())
            if over.wait(STATUS_INTERVAL_S):
                return


def steps(event: Event, closer: Closer) -> Iterator[Event]:
    """Yield a pulse at each minute boundary that `closer` has yet to pass on the way to `event`, then `event`.

    A pace may wait before each. Without the pulses it could wait, before an event 15 quiet minutes ahead, for the rows of
    minutes that only this event would close.
    """
    moves = not isinstance(event, Report) and not getattr(event, "ahead", False)
    while moves and closer.open_symbols and (boundary_us := minute_start_us(closer.clock_ts_us) + MINUTE_US) <= event.event_ts_us:
        yield Pulse(boundary_us)
    yield event


def place_of_tape(source: Source, wheel: Wheel) -> dict[str, int]:
    """Return what a tape's status says of its course and its ends; nothing of a live source."""
    if source.live:
        return {}
    first_us, last_us = getattr(source, "span_us", (0, 0))
    return wheel.counts() | {"first_ts_us": first_us, "last_ts_us": last_us}


def run(settings: Settings, source: Source, speed: str) -> None:
    """Run `source` to its end, or until SIGTERM or SIGINT; a tape at `speed` (a number above 0, or max), as orders change it."""
    bus.ensure_topics(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wheel = Wheel(settings, course_of(speed), stop.is_set)
    try:
        pace = pace_of(source.live, wheel.at, settings, stop.is_set)
        producing = Producing(settings, source, pace, stop, lambda: place_of_tape(source, wheel))
        if not source.live:
            wheel.start(lambda: producing.clock_ts_us)
        producing.run()
    finally:
        stop.set()  # whatever the pace has started ends with the run
