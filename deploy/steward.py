"""Carries out what people order on the page: promote, roll back, redrive, and replays beside what runs (`tickcast steward`).

It reads the orders on `control` and answers them there (`streams/control.py`). `retrain` is for the role of that name, and how a
tape runs for its producer.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

import msgspec
from kafka.errors import KafkaError

from deploy import tapes
from deploy.local.broker import answers, free_port
from deploy.local.processes import GIVES_WAY, Process
from producers.pace import course_of
from streams import bus, control
from streams.clock import wall_ts_us
from streams.errors import BrokerGone, SettingsError, TickcastError
from streams.messages import Control
from streams.settings import Settings

ROLE = "steward"
STATUS_S = 2.0
RETRY_S = 1.0
log = logging.getLogger(__name__)


class Steward:
    """Takes orders one after another.

    Parameters
    ----------
    settings : Settings
        Of the namespace whose `control` it reads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._book = control.Book("promote", "rollback", "redrive", "replay")
        self._replay: Process | None = None
        self._starting: Control | None = None
        self._client = bus.producer(settings)
        self._reporter = bus.StatusReporter(settings, ROLE, self._client)
        self._does: dict[str, Callable[[Control], None]] = {
            "promote": self._promote,
            "rollback": self._roll_back,
            "redrive": self._redrive,
            "replay": self._begin_or_end,
        }

    def run(self, stop: threading.Event) -> None:
        """Carry out orders until `stop` is set; what it has started ends with it."""
        teller = threading.Thread(target=self._tell_how, args=(stop,), daemon=True, name="status")
        teller.start()
        try:
            while not stop.is_set():
                try:
                    self._follow(stop)
                except (KafkaError, BrokerGone) as error:
                    log.warning("orders cannot be read: %s", error)
                    stop.wait(RETRY_S)
        finally:
            stop.set()  # also where it fails: who says "ready" for ever, and carries out nothing, is never started again
            teller.join()
            self._end_replay()
            self._client.flush()
            self._client.close()

    def _follow(self, stop: threading.Event) -> None:
        self._book.take(control.decoded(bus.read_all(self._settings, "control")))
        for asked in self._mine(self._book.begun()):
            if asked is not self._starting:
                self._tell(asked, "refused", "it was broken off on the way: look how things stand, and ask again")
        for records in bus.follow(self._settings, "control", stop=stop.is_set):
            self._book.take(control.decoded(records))
            for asked in self._mine(self._book.waiting()):
                self._carry_out(asked)
            self._watch_replay()

    @staticmethod
    def _mine(orders: list[Control]) -> list[Control]:
        return [asked for asked in orders if asked.kind != "replay" or asked.arguments.get("do") in {"start", "end"}]

    def _carry_out(self, asked: Control) -> None:
        if control.is_stale(asked, wall_ts_us()):
            self._tell(asked, "refused", "nobody was there to carry it out in time; ask again")
            return
        try:
            self._does[asked.kind](asked)
        except (TickcastError, ValueError, KeyError) as error:
            self._tell(asked, "refused", str(error))

    def _tell(self, asked: Control, state: control.State, said: str, **more: str) -> None:
        word = control.answer(asked, ROLE, state, said, **more)
        control.send(self._settings, word)
        self._book.take([word])

    def _promote(self, asked: Control) -> None:
        from models import promoting  # noqa: PLC0415 - imports Keras

        self._tell(asked, "begun", "it is being promoted")
        reason = asked.arguments.get("reason") or f"by {asked.asked_by}"
        done = promoting.promote(self._settings, asked.arguments["model_id"], reason)
        self._tell(asked, "done", f"{done.model_id} is the champion")

    def _roll_back(self, asked: Control) -> None:
        from models import promoting  # noqa: PLC0415 - imports Keras

        self._tell(asked, "begun", "it is being rolled back")
        reason = asked.arguments.get("reason") or f"rolled back by {asked.asked_by}"
        done = promoting.rollback(self._settings, asked.arguments.get("name", "forecaster"), reason)
        self._tell(asked, "done", f"{done.model_id} is the champion again")

    def _redrive(self, asked: Control) -> None:
        from deploy import dead  # noqa: PLC0415 - reads all letters

        chosen = list(dead.choose(dead.letters(self._settings), [asked.arguments["name"]], topic="", stage="", reason=""))
        done = dead.redrive(self._settings, chosen)
        if done.refused:
            self._tell(asked, "refused", "too_late and from_the_future stay dead: nothing makes them timely")
        else:
            self._tell(asked, "done", "it is on its way again" if done.sent else "it had been sent before, and is not sent twice")

    def _begin_or_end(self, asked: Control) -> None:
        if asked.arguments["do"] == "end":
            told = "the replay has been stopped" if self._end_replay() else "no replay was running"
            self._tell(asked, "done", told)
            return
        if self._replay is not None:
            raise SettingsError("a replay runs already: stop it first, this machine is not made for two")
        course_of(asked.arguments.get("speed", "max"))
        self._start_replay(asked, str(tapes.place(self._settings, asked.arguments["tape"]).resolve()))

    def _start_replay(self, asked: Control, path: str) -> None:
        port = free_port()
        own = msgspec.structs.replace(self._settings, console_port=port)
        options = ("--speed", asked.arguments.get("speed", "max"), "--page", "--port", str(port), "--stay")
        self._replay = Process("replay", own, (path, *options), GIVES_WAY)
        self._replay.start()
        self._starting = asked
        self._tell(asked, "begun", "the replay starts; its page comes up in about half a minute", page=str(port))

    def _watch_replay(self) -> None:
        """Say when the page of a replay that was started answers, and when the replay has ended."""
        if self._replay is None:
            return
        if self._replay.broken:
            if self._starting is not None:
                self._tell(self._starting, "refused", f"the replay ended: {self._replay.last_line()}")
            self._replay = self._starting = None
        elif self._starting is not None and answers(self._replay.settings.console_port):
            page = self._replay.settings.console_port
            self._tell(self._starting, "done", f"the replay's page is at http://127.0.0.1:{page}", page=str(page))
            self._starting = None

    def _end_replay(self) -> bool:
        process, self._replay = self._replay, None
        if process is None:
            return False
        process.stop()
        if self._starting is not None:
            self._tell(self._starting, "refused", "the replay was stopped before its page came up")
            self._starting = None
        return True

    def _tell_how(self, stop: threading.Event) -> None:
        """Say how it goes from a thread: a promotion may take longer than anybody listens."""
        while not stop.is_set():
            running = self._replay
            page = 0 if running is None else running.settings.console_port
            try:
                self._reporter.say("ready", "a replay runs beside" if page else "", {"replay_page": page} if page else {})
            except KafkaError as error:
                log.warning("the steward cannot report its status: %s", error)
            stop.wait(STATUS_S)


def run(settings: Settings) -> None:
    """Carry out orders until SIGTERM or SIGINT."""
    bus.ensure_topics(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Steward(settings).run(stop)
