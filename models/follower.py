"""Follows the `models` topic, so that a running process always has the newest promoted model, loaded beside its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from streams import bus, codec
from streams.bus import Record
from streams.errors import BadMessage, ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

Model = TypeVar("Model")

log = logging.getLogger(__name__)


class ModelFollower(Generic[Model]):
    """Holds the newest promoted model called `name`; loading happens on a thread of its own.

    Parameters
    ----------
    name : str
        The model's name, the key of its announcements.
    load : Callable[[ModelAnnouncement], Model]
        Makes a model of an announcement; raises ModelError where it cannot: the model in place then stays.
    """

    def __init__(self, name: str, load: Callable[[ModelAnnouncement], Model]) -> None:
        self._name = name
        self._load = load
        self._model: Model | None = None
        self._offset = -1
        self._settings: Settings | None = None
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def current(self) -> Model | None:
        """Return the model to use now, or None before the first; any thread may ask, and it never waits.

        Raises
        ------
        Exception
            Whatever ended the following thread: a process must not go on with a model that will never change.
        """
        if self._failure is not None:
            raise self._failure
        return self._model

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
        if announcement.name == self._name and announcement.promoted:
            self._swap(announcement, record)

    def _refuse(self, record: Record, error: BadMessage | ModelError) -> None:
        """Send `record` to `dead_letters`; read again after a restart, it is the same letter by its identity."""
        if self._settings is not None:
            with bus.producing(self._settings) as client:
                bus.send(client, self._settings, bus.dead_letter(record, f"models of {self._name}", error))

    def _swap(self, announcement: ModelAnnouncement, record: Record) -> None:
        try:
            self._model = self._load(announcement)
        except ModelError as error:
            log.warning("model %s is not used, the one in place stays: %s", announcement.model_id, error)
            self._refuse(record, error)
            return
        log.info("model %s serves from now on: %s", announcement.model_id, announcement.reason)

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
