"""Follows the `models` topic, so that a running process always has the model to serve, loaded beside its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kafka import KafkaProducer

from streams import bus, codec
from streams.bus import Record
from streams.clock import wall_ts_us
from streams.errors import BadMessage, TickcastError
from streams.messages import MAX_TS_US, Event, ModelAnnouncement
from streams.settings import Settings

Model = TypeVar("Model")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Held(Generic[Model]):
    """A loaded model, and from which end of a minute on it counts."""

    model_id: str
    from_ts_us: int
    model: Model


class ModelFollower(Generic[Model]):
    """Holds the champion called `name`, and the challenger that runs in its shadow; loading happens on a thread of its own.

    A new champion may be announced for minutes from some time on (`effective_from_ts_us`); the one before it is kept until then.

    Parameters
    ----------
    name : str
        The model's name, the key of its announcements.
    load : Callable[[ModelAnnouncement], Model]
        Makes a model of an announcement; raises a TickcastError where it cannot: the model in place then stays.
    """

    def __init__(self, name: str, load: Callable[[ModelAnnouncement], Model]) -> None:
        self._name = name
        self._load = load
        self._champions: tuple[_Held[Model], ...] = ()  # the newest last; replaced as a whole, because another thread reads it
        self._challenger: _Held[Model] | None = None
        self._offset = -1
        self._settings: Settings | None = None
        self._client: KafkaProducer | None = None  # of the thread that follows, once there is something to refuse
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def current(self, at_ts_us: int = MAX_TS_US) -> Model | None:
        """Return the champion of minutes that end at `at_ts_us`, None before the first; any thread may ask, and it never waits.

        Raises
        ------
        Exception
            Whatever ended the following thread: a process must not go on with a model that will never change.
        """
        if self._failure is not None:
            raise self._failure
        held = self._champions
        effective = [one for one in held if one.from_ts_us <= at_ts_us] or held[:1]
        return effective[-1].model if effective else None

    def challenger(self) -> Model | None:
        """Return the model that runs in the champion's shadow, or None where there is none."""
        held = self._challenger
        return None if held is None else held.model

    def take(self, record: Record) -> None:
        """Take one record of `models`; records already taken are skipped."""
        if record.offset <= self._offset:
            return
        self._offset = record.offset
        try:
            announcement = codec.decode(ModelAnnouncement, record.value)
        except BadMessage as error:
            log.warning("offset %d of `models` is no announcement: %s", record.offset, error)
            self._refuse(record, error)
            return
        if announcement.name == self._name:
            self._heed(announcement, record)

    def _heed(self, announcement: ModelAnnouncement, record: Record) -> None:
        if announcement.promoted:
            newest = self._champions[-1] if self._champions else None
            if (held := self._held(newest, announcement, record)) is not newest and held is not None:
                self._champions = (*self._champions[-1:], held)
        if announcement.shadow and not announcement.promoted:
            self._challenger = self._held(self._challenger, announcement, record)
        else:  # the newest word on a challenger: none runs
            self._challenger = None

    def _held(self, before: _Held[Model] | None, announcement: ModelAnnouncement, record: Record) -> _Held[Model] | None:
        """Return the announced model, loaded; `before` where it is that, or the new one cannot be loaded."""
        if before is not None and before.model_id == announcement.model_id:
            return before
        try:
            model = self._load(announcement)
        except TickcastError as error:
            log.warning("model %s is not used, the one in place stays: %s", announcement.model_id, error)
            self._refuse(record, error)
            return before
        log.info("model %s is announced, and loaded: %s", announcement.model_id, announcement.reason)
        return _Held(announcement.model_id, announcement.effective_from_ts_us, model)

    def _refuse(self, record: Record, error: TickcastError) -> None:
        """Send `record` to `dead_letters`, and an alert; read again after a restart, it is the same letter by its identity."""
        if self._settings is None:
            return
        stage = f"models of {self._name}"
        detail = f"{stage}: the model in place stays: {error}"
        alert = Event(kind="alert", role=self._name, wall_ts_us=wall_ts_us(), detail=detail)
        self._client = self._client or bus.producer(self._settings)
        bus.send(self._client, self._settings, bus.dead_letter(record, stage, error))
        bus.send(self._client, self._settings, bus.outgoing("events", "alert", alert))

    def start(self, settings: Settings) -> None:
        """Take everything that `models` holds, then follow it in the background until :meth:`stop`."""
        self._settings = settings
        self._take_all(bus.read_all(settings, "models"))
        self._thread = threading.Thread(target=self._follow, args=(settings,), name="models", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background thread and its connection."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._client is not None:
            self._client.close()

    def _take_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self.take(record)
        if self._client is not None:
            self._client.flush()

    def _follow(self, settings: Settings) -> None:
        try:
            for batch in bus.follow(settings, "models", stop=self._stop.is_set):
                self._take_all(batch)
        except Exception as error:  # the edge of a thread: `current` raises it again
            self._failure = error
