"""One Faust worker that runs any `Handler` (`base.py`) until SIGTERM or SIGINT.

Records flow: Faust's stream → `_collect` (one agent) → `_pump` → the handler, on a thread of its own → a producer
(`sending.py`) → acknowledged → committed by Faust. What others fell into, and what is done about it here:

* Every output's delivery is awaited before its batch is acknowledged, and nothing is committed that was not acknowledged. So
  a crash repeats records and loses none.
* Faust's producer takes records one by one, which costs more than the forecasts that they carry: `sending.py` does not.
* Faust takes a tenth of a millisecond for each record that it hands on: `chunks.py` has it hand on many at once.
* Faust restarts an agent that raised, behind the record that it raised on. The handler therefore runs outside of the agent,
  and its exception crashes the app: the process ends with an exit code other than 0.
* States, which are records for compacted topics, are sent once the rest of their batch was acknowledged: none runs ahead of it.
* A crashed or killed batch is never acknowledged, so waiting for the streams to empty would hang the way out.
* `stream.take` waits its whole time for company. Here the first record wakes the pump at once, and whatever arrives
  while a batch is worked on is the next batch.
* A slow handler must not stall heartbeats: it has its thread, and Faust's consumer another.
* A rebalance and a stop wait for what was read and not acknowledged, and a crash repeats it. So a batch is at most
  `max_batch` records, which a handler that knows its speed keeps to a few seconds, and one batch at most waits behind it: then
  Faust stops reading. A member keeps its place in the group however slow its model is and however far behind it is.
* A rebalance may bring other partitions: state is forgotten and rebuilt (`memory.py`) before any record of the new
  assignment is handled. Faust's own assignor gives the same partition numbers of all inputs to one worker; aiokafka's
  round robin, which Faust takes where `table_standby_replicas` is 0, does not.
* One rebalance may overtake another, and Faust then skips records: `order.py` has them read again.
* A killed member holds its partitions until the session times out, by default 60 s: here 10.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from aiokafka.errors import IllegalStateError
from faust.types import TP
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from consumers import credentials
from consumers.base import Handler
from consumers.chunks import BUFFERED, Chunk, Transport, fitting
from consumers.memory import past
from consumers.order import PATIENCE_MS, Order, first_left, starts_of
from consumers.sending import Sender
from streams import bus, security
from streams.bus import Outgoing, Record
from streams.messages import State
from streams.settings import Settings
from streams.topics import TOPICS

REPORT_EVERY_S = 2.0
LOOK_EVERY_S = 5.0  # whether a partition stands still
STOP_WITHIN_S = 20.0  # Faust's threads do not stop without a broker: then the process ends itself, with exit code 1
CHATTY = ("faust", "mode", "aiokafka", "kafka")

log = logging.getLogger(__name__)


def run(handler: Handler, settings: Settings) -> None:
    """Run `handler` in this process, whose main thread this is, until SIGTERM or SIGINT.

    Raises
    ------
    Exception
        Whatever ended the run otherwise: the handler's own exception, or Kafka's. Nothing of the batch at hand is committed.
    """
    _log_to_stderr()
    bus.ensure_topics(settings)
    reporter = bus.StatusReporter(settings, handler.name)
    reporter.say("starting")
    hang = threading.Timer(STOP_WITHIN_S, os._exit, [1])
    hang.daemon = True
    try:
        asyncio.run(_Worker(handler, settings, reporter).live(hang.start))
    except BaseException as error:
        reporter.say("failed", repr(error)[:500])
        raise
    finally:
        reporter.flush()
        hang.cancel()


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _app(handler: Handler, settings: Settings) -> faust.App:
    settings.state.mkdir(parents=True, exist_ok=True)  # Faust makes the last folder of its `datadir` only
    app = faust.App(
        settings.topic(handler.name),
        broker=[f"kafka://{address.strip()}" for address in settings.broker.split(",")],
        broker_credentials=credentials.faust(security.of(settings)),
        datadir=settings.state / "faust",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        stream_wait_empty=True,
        stream_buffer_maxsize=BUFFERED,
        table_standby_replicas=1,  # keeps Faust's co-partitioning assignor; there are no tables
    )
    app.transport = Transport(app, handler)
    return app


class _Worker:
    """The moving parts of one run; all of its methods run on the event loop, the handler on a thread."""

    def __init__(self, handler: Handler, settings: Settings, reporter: bus.StatusReporter) -> None:
        self._handler = handler
        self._settings = settings
        self._reporter = reporter
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=handler.name)
        self._events: list[Any] = []
        self._assigned: frozenset[int] | None = None
        self._restored = False
        self._order = Order({})
        self._working = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._counts = {"in": 0, "out": 0, "dead": 0, "per_s": 0}  # per_s: records in, since the last report

    async def live(self, stopping: Callable[[], None]) -> None:
        """Run the app until a signal or a crash, call `stopping`, and stop it."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._app = self._build()
        self._sender = Sender(self._settings)
        running = asyncio.create_task(self._start_and_wait())
        signalled = asyncio.create_task(stop.wait())
        await asyncio.wait({running, signalled}, return_when=asyncio.FIRST_COMPLETED)
        stopping()
        await self._stop(running)
        signalled.cancel()
        await self._say("done")

    def _build(self) -> faust.App:
        app = _app(self._handler, self._settings)
        topic = app.topic(
            *(self._settings.topic(name) for name in self._handler.inputs),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )
        app.agent(topic, name="collect")(self._collect)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        return app

    async def _start_and_wait(self) -> None:
        await self._sender.start()
        self._app.add_future(self._pump())
        self._app.add_future(self._report())
        self._app.add_future(self._look())
        await self._app.start()
        await self._app.wait_until_stopped()

    async def _stop(self, running: asyncio.Task[None]) -> None:
        await self._app.stop()
        if self._app.crash_reason is not None:
            raise self._app.crash_reason
        if running.done():
            running.result()
        running.cancel()
        await self._sender.stop()
        self._thread.shutdown(wait=False)

    async def _on_revoked(self, _app: faust.App, _revoked: Any, **_: Any) -> None:
        self._assigned = None
        self._restored = False
        self._events.clear()  # not acknowledged, so whoever has their partitions next reads them again
        self._room.set()

    async def _on_assigned(self, _app: faust.App, assigned: Any, **_: Any) -> None:
        self._assigned = frozenset(place.partition for place in assigned)
        self._wake.set()

    async def _collect(self, stream: Any) -> None:
        async for event in stream.noack().events():
            self._events.append(event)
            self._wake.set()
            if self._waiting() >= self._handler.max_batch:
                self._room.clear()
                await self._room.wait()

    async def _pump(self) -> None:
        try:
            while True:
                due = not await self._woken()
                if self._assigned is not None and not self._restored:
                    await self._restore(self._assigned)
                if self._restored and (self._events or due):
                    self._working = True
                    await self._work_off()
                    self._working = False
        except Exception:
            self._app.conf.stream_wait_empty = False  # the batch at hand will never be acknowledged
            raise

    async def _woken(self) -> bool:
        """Wait for records, and for their company where they are no whole batch; return False where the handler is due before."""
        try:
            await asyncio.wait_for(self._wake.wait(), self._handler.due_s if self._restored else None)
        except TimeoutError:
            return False
        self._wake.clear()
        if self._waiting() < self._handler.max_batch:
            await asyncio.sleep(self._handler.company_s)
        return True

    async def _restore(self, partitions: frozenset[int]) -> None:
        order, count = await asyncio.get_running_loop().run_in_executor(self._thread, self._remember, partitions)
        log.info("%s: partitions %s, %d records of the past", self._handler.name, sorted(partitions), count)
        self._order = order
        self._restored = partitions is self._assigned  # else it has changed hands again
        await self._say("ready")

    def _remember(self, partitions: frozenset[int]) -> tuple[Order, int]:
        order = Order(starts_of(self._handler, self._settings, partitions))
        self._handler.forget()
        count = 0
        for count, record in enumerate(past(self._handler, self._settings, partitions), start=1):  # noqa: B007
            self._handler.restore(record)
        return order, count

    async def _work_off(self) -> None:
        count = fitting(self._events, self._handler.max_batch)
        events, self._events = self._events[:count], self._events[count:]
        self._room.set()
        if self._events:
            self._wake.set()
        next_ones = self._order.take([event.message for event in events])
        left = {event.message for event in events} - {chunk for chunk, _ in next_ones}
        for chunk in left:  # the stream keeps its last one alive
            self._app.consumer.let_go(chunk)
        if left:
            log.info("%s: %d of %d chunks out of their turn", self._handler.name, len(left), len(events))
        if next_ones or not events:
            await self._handle(next_ones)

    async def _handle(self, chunks: Sequence[tuple[Chunk, Sequence[Any]]]) -> None:
        records = [_record(one, self._settings) for _, some in chunks for one in some]
        answer = await asyncio.get_running_loop().run_in_executor(self._thread, self._handler.handle, records)
        await self._deliver(answer)
        for chunk, _ in chunks:
            chunk.ack(self._app.consumer)
        self._count(len(records), answer)

    async def _deliver(self, answer: Sequence[Outgoing]) -> None:
        is_state = {name: topic.cleanup == "compact" for name, topic in TOPICS.items()}
        await self._sender.send(record for record in answer if not is_state[record.topic])
        await self._sender.send(record for record in answer if is_state[record.topic])

    def _count(self, read: int, answer: Sequence[Outgoing]) -> None:
        dead = sum(record.topic == "dead_letters" for record in answer)
        self._counts["in"] += read
        self._counts["out"] += len(answer) - dead
        self._counts["dead"] += dead

    async def _report(self) -> None:
        while True:
            before = self._counts["in"]
            await asyncio.sleep(REPORT_EVERY_S)
            self._counts["per_s"] = round((self._counts["in"] - before) / REPORT_EVERY_S)
            if self._restored:
                await self._say("ready")

    async def _look(self) -> None:
        """Have partitions read again that stand still while there is nothing to do."""
        client = await asyncio.to_thread(bus.consumer, self._settings)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._is_idle():
                try:
                    await self._read_again(client, self._order)
                except (KafkaError, IllegalStateError) as error:
                    log.warning("%s: whether records are missing could not be seen: %s", self._handler.name, error)

    async def _read_again(self, client: KafkaConsumer, order: Order) -> None:
        ends = await asyncio.to_thread(client.end_offsets, order.places, timeout_ms=PATIENCE_MS)
        stuck = order.stuck(ends) if self._is_idle() and order is self._order else []
        for place in stuck:
            begin = order.next_of(place)
            at = await asyncio.to_thread(first_left, client, place, begin)
            if at is not None and order is self._order and order.next_of(place) == begin:  # else it went on meanwhile
                log.warning("%s: %s-%d stood still and is read again from %d", self._handler.name, *place, at)
                order.pass_over(place, at)
                await self._app.consumer.seek(TP(*place), at)

    def _waiting(self) -> int:
        return sum(len(event.message.records) for event in self._events)

    def _is_idle(self) -> bool:
        return self._restored and not self._events and not self._working

    async def _say(self, state: State) -> None:
        counts = self._counts | {"waiting": self._waiting()}
        try:
            await asyncio.to_thread(self._reporter.say, state, self._handler.describe(), counts)
        except KafkaError as error:
            log.warning("the status could not be told: %s", error)


def _record(one: Any, settings: Settings) -> Record:
    """Return aiokafka's record as ours."""
    return Record(
        settings.bare_topic(one.topic), one.partition, one.offset, one.key, one.value, one.timestamp, tuple(one.headers or ())
    )
