"""The topics for programs: typed messages, each once, from where one stopped or from a time, through any outage.

    from consumers.subscribe import subscribe

    for forecast in subscribe("forecasts", symbols=["AAPL"]):
        print(forecast.symbol, forecast.mean)

The same object serves `async for`. :func:`history` reads what a topic holds into a table; of rows older than the topics keep, the
lake has those that were archived (`streams/lake.py`). Nothing here is needed to read the plain topics: `docs/topics.md`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterator
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypedDict, TypeVar, Unpack, cast, overload

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from streams import bus, codec
from streams import settings as environment
from streams.bus import Record
from streams.errors import BadMessage, EnvironmentFault, SettingsError
from streams.messages import (
    Calibration,
    Control,
    DeadLetter,
    Event,
    Features,
    Forecast,
    Headline,
    Message,
    ModelAnnouncement,
    Score,
    Sentiment,
    Tick,
)
from streams.settings import Settings
from streams.topics import TOPICS

if TYPE_CHECKING:
    import polars as pl

POLL_MS = 200
COMMIT_S = 1.0
COMMIT_AGAIN_S = 5.0  # after one that failed: it waits for the broker while nothing is read
LONGEST_PAUSE_MS = 2_000  # between two attempts to reach the broker
REMEMBERED = 100_000  # ids of the newest messages: a stage that starts again repeats thousands at most
LOOK_BACK = 5_000  # records of each partition before the first one, so that repeats of what came earlier are known too

M = TypeVar("M", bound=Message)
Since = datetime | timedelta | Literal["beginning", "now"]
Version = tuple[Hashable, int]
"""What a message is about, and its revision: of two with equal names the higher one is news, the other a repeat."""
log = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """Options of :func:`subscribe`.

    Attributes
    ----------
    symbols : collection of str
        Only messages about these; default: all.
    group : str
        A name under which the broker keeps the place: the next subscription with that name goes on there. One at a time.
    since : datetime, timedelta, "beginning" or "now"
        Where to begin, by the time at which the broker got the messages, where there is no place to go on from: a moment with
        its zone, so long ago, all that is kept, or what comes from now on (the default).
    settings : Settings
        Broker and namespace; default: the environment's, or the broker that `tickcast up` runs in this folder.
    """

    symbols: Collection[str]
    group: str
    since: Since
    settings: Settings


# What repeats have in common. Topics that are not here (models, events) tell nothing twice but in a crash of their teller.
_VERSIONS: dict[str, Callable[[Any], Version]] = {
    "ticks": lambda tick: ((tick.source, tick.symbol, tick.seq), 0),
    "headlines": lambda headline: (headline.id, 0),
    "sentiment": lambda sentiment: ((sentiment.headline_id, sentiment.symbol, sentiment.model_id), 0),
    "features": lambda row: ((row.symbol, row.minute_ts_us), row.revision),
    "forecasts": lambda forecast: (forecast.forecast_id, 0),
    "scores": lambda score: (score.forecast_id, 0),
    "calibration": lambda state: ((state.symbol, state.horizon_min, state.model_id), state.as_of_ts_us),
    "dead_letters": lambda letter: ((letter.topic, letter.partition, letter.offset, letter.stage), 0),
    "control": lambda order: (order.command_id, 0),
}


class _Sieve:
    """Which messages of one topic a subscriber gets: its symbols', no closings, nothing twice."""

    def __init__(self, topic: str, symbols: Collection[str]) -> None:
        if topic not in TOPICS:
            raise SettingsError(f"there is no topic {topic!r}; there are {', '.join(TOPICS)}")
        self._kind: type[Message] = TOPICS[topic].message
        self._version = _VERSIONS.get(topic)
        self._symbols = frozenset([symbols] if isinstance(symbols, str) else symbols)
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self.malformed = 0

    def take(self, record: Record) -> Message | None:
        """Return the message of `record`, or None where the subscriber does not get it."""
        try:
            message = codec.decode(self._kind, record.value)
        except BadMessage as error:
            self.malformed += 1
            log.warning("%s/%d@%d is passed over: %s", record.topic, record.partition, record.offset, error)
            return None
        return message if self._is_asked_for(message) and self._is_news(message) else None

    def name_of(self, message: Message) -> Hashable:
        """Return what `message` is about, None where nothing repeats it."""
        return self._version(message)[0] if self._version else None

    def _is_asked_for(self, message: Any) -> bool:
        if getattr(message, "closes", False):
            return False
        about = getattr(message, "symbols", None) or [getattr(message, "symbol", None)]
        return not self._symbols or not self._symbols.isdisjoint(about)

    def _is_news(self, message: Message) -> bool:
        if self._version is None:
            return True
        name, revision = self._version(message)
        if self._seen.get(name, -1) >= revision:
            return False
        self._seen[name] = revision
        self._seen.move_to_end(name)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True


class Subscription(Generic[M]):
    """The messages of one topic, for `for` and `async for`; made by :func:`subscribe`.

    A message counts as done when the next one is asked for, and when the subscription is closed in order; a group goes on behind
    the last one that is done. So a program that is killed sees its last messages again, with the same ids, and misses none.
    Where the broker is away it waits, and goes on where it was. Messages that break the contract are logged and passed over,
    closings (which end minutes) left out.
    """

    def __init__(self, topic: str, options: Options) -> None:
        self._sieve = _Sieve(topic, options.get("symbols", ()))
        self._settings = bus.find_broker(options.get("settings") or environment.load())
        self._topic = topic
        self._group = options.get("group", "")
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._commit_due_s = 0.0
        self._in_hand: tuple[TopicPartition, int] | None = None
        self._stopped = False
        self._client = self._connect()
        try:
            self._begin(options.get("since", "now"))
        except BaseException:
            self._client.close()
            raise

    @property
    def malformed(self) -> int:
        """How many records were passed over because they break the contract."""
        return self._sieve.malformed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if kind is not None:
            self._take_back()
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def __iter__(self) -> Iterator[M]:
        return self

    def __next__(self) -> M:
        while not self._stopped:
            if (message := self._buffered()) is not None:
                return message
            self._fill()
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[M]:
        return self

    async def __anext__(self) -> M:
        while not self._stopped:
            if (message := self._buffered()) is not None:
                return message
            # a cancelled call leaves the thread to itself; what it reads is there for the next call
            await asyncio.to_thread(self._fill)
        raise StopAsyncIteration

    def close(self) -> None:
        """End the iteration and tell the broker how far it came; may be called from any thread, and again."""
        self._stopped = True
        with self._lock:
            if self._client is not None:
                self._commit()
                self._client.close()
                self._client = None

    def _take_back(self) -> None:
        """Count the message in hand as not done."""
        if self._in_hand is not None:
            place, offset = self._in_hand
            self._next[place] = offset

    def _connect(self) -> Any:
        group = self._settings.topic(self._group) if self._group else None
        pauses = {"reconnect_backoff_ms": 100, "reconnect_backoff_max_ms": LONGEST_PAUSE_MS}
        # what is gone from the broker is found by `_read`: the client would begin again at an end of the topic
        return bus.consumer(self._settings, group_id=group, auto_offset_reset="none", **pauses)

    def _begin(self, since: Since) -> None:
        places = _places(self._client, self._settings, self._topic)
        starts = _starts(self._client, places, since)
        if self._group:
            kept = {place: self._client.committed(place) for place in places}
            starts |= {place: offset for place, offset in kept.items() if offset is not None}
        self._next = starts
        self._correct()
        self._look_back()
        self._client.assign(places)
        self._seek()

    def _look_back(self) -> None:
        """Learn the ids of the messages before the first one."""
        oldest = self._client.beginning_offsets(list(self._next))
        before = {place: max(oldest[place], offset - LOOK_BACK) for place, offset in self._next.items()}
        for record in bus.read_between(self._client, self._settings, before, self._next):
            self._sieve.take(record)

    def _seek(self) -> None:
        for place, offset in self._next.items():
            self._client.seek(place, offset)

    def _correct(self) -> None:
        """Go on with what is left of a partition where its place is no more."""
        places = list(self._next)
        first, end = self._client.beginning_offsets(places), self._client.end_offsets(places)
        for place, at in self._next.items():
            if at < first[place]:
                log.warning("%d records of %s are gone from the broker and missing here", first[place] - at, place)
            elif at > end[place]:  # what was read is no more: a repeat is better than a gap
                log.warning("%s ends before the place kept for %r and is read from its beginning", place, self._group)
            self._next[place] = at if first[place] <= at <= end[place] else first[place]

    def _buffered(self) -> M | None:
        """Return the next message of those already read; with that the one before is done."""
        with self._lock:
            self._in_hand = None
            while self._records:
                record = self._records.popleft()
                place = TopicPartition(self._settings.topic(record.topic), record.partition)
                self._next[place] = record.offset + 1
                if (message := self._sieve.take(record)) is not None:
                    self._in_hand = (place, record.offset)
                    return cast(M, message)  # what the topic holds
        return None

    def _fill(self) -> None:
        """Read what has come, waiting for it a little; everything read before is done."""
        with self._lock:
            if self._client is None:
                return
            if time.monotonic() >= self._commit_due_s:
                self._commit()
            try:
                self._read()
            except KafkaError as error:
                if not error.retriable:
                    raise EnvironmentFault(f"the broker at {self._settings.broker} refuses {self._topic!r}: {error}") from error
                log.warning("%s is read again in a moment: %s", self._topic, str(error))
                time.sleep(POLL_MS / 1_000)

    def _read(self) -> None:
        try:
            batches = self._client.poll(timeout_ms=POLL_MS).values()
        except OffsetOutOfRangeError:
            self._correct()
            self._seek()
            return
        self._records.extend(bus.as_record(self._settings, raw) for batch in batches for raw in batch)

    def _commit(self) -> None:
        self._commit_due_s = time.monotonic() + COMMIT_S
        if not self._group or self._next == self._committed:
            return
        done = dict(self._next)
        try:
            self._client.commit({place: OffsetAndMetadata(offset, "", -1) for place, offset in done.items()})
        except KafkaError as error:  # the next attempt says the same and more
            log.warning("the place of %r is not kept yet: %s", self._group, str(error))
            self._commit_due_s += COMMIT_AGAIN_S
        else:
            self._committed = done


def _places(client: KafkaConsumer, settings: Settings, topic: str) -> list[TopicPartition]:
    if places := bus.partitions_of(client, settings, topic):
        return places
    raise EnvironmentFault(
        f"the broker at {settings.broker} has no topic {settings.topic(topic)!r} for this client; `tickcast up` makes them"
    )


def _starts(client: KafkaConsumer, places: list[TopicPartition], since: Since) -> dict[TopicPartition, int]:
    if since == "beginning":
        return dict(client.beginning_offsets(places))
    end: dict[TopicPartition, int] = client.end_offsets(places)
    if since == "now":
        return end
    found = client.offsets_for_times(dict.fromkeys(places, _milliseconds(since)))
    return {place: end[place] if found.get(place) is None else int(found[place].offset) for place in places}


def _milliseconds(since: datetime | timedelta) -> int:
    moment = datetime.now(UTC) - since if isinstance(since, timedelta) else since
    if moment.tzinfo is None:
        raise SettingsError(f"since={since!r} has no zone; datetime.now(UTC) has one")
    return max(0, round(moment.timestamp() * 1_000))


# fmt: off
@overload
def subscribe(topic: Literal["ticks"], **options: Unpack[Options]) -> Subscription[Tick]: ...
@overload
def subscribe(topic: Literal["headlines"], **options: Unpack[Options]) -> Subscription[Headline]: ...
@overload
def subscribe(topic: Literal["sentiment"], **options: Unpack[Options]) -> Subscription[Sentiment]: ...
@overload
def subscribe(topic: Literal["features"], **options: Unpack[Options]) -> Subscription[Features]: ...
@overload
def subscribe(topic: Literal["forecasts"], **options: Unpack[Options]) -> Subscription[Forecast]: ...
@overload
def subscribe(topic: Literal["scores"], **options: Unpack[Options]) -> Subscription[Score]: ...
@overload
def subscribe(topic: Literal["models"], **options: Unpack[Options]) -> Subscription[ModelAnnouncement]: ...
@overload
def subscribe(topic: Literal["dead_letters"], **options: Unpack[Options]) -> Subscription[DeadLetter]: ...
@overload
def subscribe(topic: Literal["calibration"], **options: Unpack[Options]) -> Subscription[Calibration]: ...
@overload
def subscribe(topic: Literal["events"], **options: Unpack[Options]) -> Subscription[Event]: ...
@overload
def subscribe(topic: Literal["control"], **options: Unpack[Options]) -> Subscription[Control]: ...
@overload
def subscribe(topic: str, **options: Unpack[Options]) -> Subscription[Any]: ...
# fmt: on
def subscribe(topic: str, **options: Unpack[Options]) -> Subscription[Any]:
    """Return the messages of `topic` as they come, for `for` or `async for`; see :class:`Options` and :class:`Subscription`.

    Raises
    ------
    EnvironmentFault
        No broker answers, or it lacks the topic.
    SettingsError
        There is no such topic, or `since` has no zone.
    """
    return Subscription(topic, options)


def history(
    topic: str, *, symbols: Collection[str] = (), since: Since = "beginning", settings: Settings | None = None
) -> pl.DataFrame:
    """Return what `topic` holds now as a table: a row a message, a column a field; `.to_pandas()` makes it pandas'.

    No row comes twice, closings are left out, and of `features` each minute has its newest revision only. Columns named
    `*_ts_us` are moments in UTC, with microseconds.

    Parameters
    ----------
    topic, symbols, since, settings
        As in :class:`Options`.

    Raises
    ------
    EnvironmentFault
        No broker answers, or it lacks the topic.
    SettingsError
        There is no such topic, or `since` has no zone.
    """
    sieve, newest = _Sieve(topic, symbols), dict[Hashable, Message]()
    config = bus.find_broker(settings or environment.load())
    client = bus.consumer(config)
    try:
        places = _places(client, config, topic)
        start, end = _starts(client, places, since), client.end_offsets(places)
        for number, record in enumerate(bus.read_between(client, config, start, end)):
            if (message := sieve.take(record)) is not None:
                newest[sieve.name_of(message) or number] = message
    finally:
        client.close()
    return _table(TOPICS[topic].message, list(newest.values()))


def _table(kind: type[Message], messages: list[Message]) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - a subscriber needs none of it

    names = list(kind.__struct_fields__)
    rows = [[getattr(message, name) for name in names] for message in messages]
    columns = [pl.Series(name, [msgspec.to_builtins(row[at]) for row in rows], strict=False) for at, name in enumerate(names)]
    moments = [pl.col(name).cast(pl.Int64).cast(pl.Datetime("us", "UTC")) for name in names if name.endswith("_ts_us")]
    return pl.DataFrame(columns).with_columns(moments)
