"""What the roles say of themselves on `events`, followed on a thread."""

from __future__ import annotations

import logging
import threading

from kafka.errors import KafkaError

from streams import bus, codec
from streams.errors import BadMessage, BrokerGone
from streams.messages import Event
from streams.settings import Settings

log = logging.getLogger(__name__)


class Statuses:
    """The newest status of each role, and the tape's end where one came."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._newest: dict[str, Event] = {}
        self.tape: Event | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="statuses")
        self._thread.start()

    def of(self, role: str, pid: int = 0) -> Event | None:
        """Return the newest status of `role`; with `pid`, only one that this very process gave."""
        event = self._newest.get(role)
        return event if event is not None and pid in (0, event.counts.get("pid")) else None

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                for records in bus.follow(self._settings, "events", stop=self._stop.is_set):
                    for record in records:
                        self._take(record)
            except (KafkaError, BrokerGone) as error:  # read again from the beginning: the newest word counts
                log.warning("what the roles say cannot be read: %s", error)
                self._stop.wait(1)

    def _take(self, record: bus.Record) -> None:
        try:
            event = codec.decode(Event, record.value)
        except BadMessage:
            return  # nothing of ours depends on a stranger's event
        if event.kind == "status":
            self._newest[event.role] = event
        elif event.kind == "tape":
            self.tape = event
