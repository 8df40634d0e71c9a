"""Follows the `models` topic, so that a running process always has the model to serve, loaded beside its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from streams import bus, codec
from streams.bus import Record
from streams.clock import wall_ts_us
from streams.errors import BadMessage, TickcastError
from streams.messages import Event, ModelAnnouncement
from streams.settings import Settings

Model = TypeVar("Model")
Slot = Literal["champion", "challenger"]

log = logging.getLogger(__name__)


class ModelFollower(Generic[Model]):
    """Holds the champion called `name`, and the challenger that runs in its shadow; loading happens on a thread of its own.

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
        self._models: dict[Slot, tuple[str, Model]] = {}
        self._offset = -1
        self._settings: Settings | None = None
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def current(self) -> Model | None:
        """Return the champion to use now, or None before the first; any thread may ask, and it never waits.

        Raises
        ------
        Exception
            Whatever ended the following thread: a process must not go on with a model that will never change.
        """
        if self._failure is not None:
            raise self._failure
        return self._in("champion")

    def challenger(self) -> Model | None:
        """Return the model that runs in the champion's shadow, or None where there is none."""
        return self._in("challenger")

    def _in(self, slot: Slot) -> Model | None:
        _, model = self._models.get(slot, ("", None))
        return model

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
            self._swap("champion", announcement, record)
        if announcement.shadow and not announcement.promoted:
            self._swap("challenger", announcement, record)
        else:  # the newest word on a challenger: none runs
            self._models.pop("challenger", None)

    def _swap(self, slot: Slot, announcement: ModelAnnouncement, record: Record) -> None:
        model_id, _ = self._models.get(slot, ("", None))
        if model_id == announcement.model_id:
            return
        try:
            self._models[slot] = announcement.model_id, self._load(announcement)
        except TickcastError as error:
            log.warning("model %s is not used, the one in place stays: %s", announcement.model_id, error)
            self._refuse(record, error)
            return
        log.info("model %s is %s from now on: %s", announcement.model_id, slot, announcement.reason)

    def _refuse(self, record: Record, error: TickcastError) -> None:
        """Send `record` to `dead_letters`, and an alert; read again after a restart, it is the same letter by its identity."""
        if self._settings is None:
            return
        stage = f"models of {self._name}"
        detail = f"{stage}: the model in place stays: {error}"
        alert = Event(kind="alert", role=self._name, wall_ts_us=wall_ts_us(), detail=detail)
        with bus.producing(self._settings) as client:
            bus.send(client, self._settings, bus.dead_letter(record, stage, error))
            bus.send(client, self._settings, bus.outgoing("events", "alert", alert))

    def start(self, settings: Settings) -> None:
        """Take everything that `models` holds, then follow it in the background until :meth:`stop`."""
        self._settings = settings
        for record in bus.read_all(settings, "models"):
            self.take(record)
        self._thread = threading.Thread(target=self._follow, args=(settings,), name="models", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background thread and its connection."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _follow(self, settings: Settings) -> None:
        try:
            for batch in bus.follow(settings, "models", stop=self._stop.is_set):
                for record in batch:
                    self.take(record)
        except Exception as error:  # the edge of a thread: `current` raises it again
            self._failure = error
