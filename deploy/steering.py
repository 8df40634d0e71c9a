"""What is left to whoever started a tape: to stop it, to begin again where it has to go back, to answer behind its end.

The producer takes all other orders (`producers/steering.py`, docs/adr/0012).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from kafka.errors import KafkaError

from producers.pace import Course
from producers.steering import TAKEN
from streams import bus, control
from streams.errors import BrokerGone
from streams.messages import Control, Event
from streams.settings import Settings

ROLE = "replay"
RETRY_S = 1.0


@dataclass(frozen=True)
class Again:
    """A run has to begin again, and to run as `course` says: to the place that was sought, then on as before.

    `repeated` says why, where nobody sought back: something came twice, and nobody had looked for that.
    """

    course: Course
    repeated: bool = False


class Steering:
    """Follows the orders of one run on a thread.

    Attributes
    ----------
    ended : bool
        Set once the tape has been sent: from then on nobody else answers.
    """

    def __init__(self, settings: Settings) -> None:
        self.ended = False
        self._settings = settings
        self._stop = threading.Event()
        self._book = control.Book("replay")
        self._verdict: Again | bool = False
        self._course = Course(inf)
        threading.Thread(target=self._follow, daemon=True, name="steering").start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def heard(self, status: Event | None) -> None:
        """Take the producer's newest status: how the tape ran is how it runs on after it began again."""
        if status is not None and "speed_milli" in status.counts:
            milli = status.counts["speed_milli"]
            self._course = Course(milli / 1_000 if milli else inf, bool(status.counts.get("paused")))

    @property
    def verdict(self) -> Again | bool:
        """What the run has to do: begin again, stop (True), or go on (False)."""
        return self._verdict

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                for records in bus.follow(self._settings, "control", stop=self._stop.is_set):
                    self._book.take(control.decoded(records))
                    self._look()
            except (KafkaError, BrokerGone):  # it is on its way back
                time.sleep(RETRY_S)

    def _look(self) -> None:
        for word in self._book.told("again"):
            self._begin_again(word)
        for asked in self._book.waiting():
            done = asked.arguments.get("do")
            if done == "stop":
                self._tell(asked, "done", "the replay stops")
                self._verdict = True
            elif self.ended and done in TAKEN:
                self._answer_behind_the_end(asked)

    def _answer_behind_the_end(self, asked: Control) -> None:
        """Answer in place of the producer, which has gone."""
        if asked.arguments["do"] != "seek":
            self._tell(asked, "refused", "the tape has ended: seek back, or stop")
            return
        try:
            control.microseconds(asked.arguments, "to_ts_us")
        except ValueError as error:
            self._tell(asked, "refused", str(error))
        else:
            self._tell(asked, "again", "the tape has ended: it begins again, in topics of its own")

    def _tell(self, asked: Control, state: control.State, said: str) -> None:
        word = control.answer(asked, ROLE, state, said)
        control.send(self._settings, word)
        self._book.take([word])

    def _begin_again(self, word: Control) -> None:
        if self._verdict is False:
            self._verdict = self._again(control.microseconds(word.arguments, "to_ts_us"))

    def begin_again(self, place_us: int) -> None:
        """Have the run begin again, and look for repeats; it runs to `place_us` at once."""
        self._verdict = replace(self._again(place_us), repeated=True)

    def _again(self, place_us: int) -> Again:
        return Again(Course(self._course.speed, self._course.paused, place_us))


def carry_over(settings: Settings, course: Course) -> None:
    """Order the run in the namespace of `settings`, before it begins, to run as `course` says."""
    control.send(settings, *_orders(course))


def _orders(course: Course) -> Sequence[Control]:
    wanted = [{"do": "speed", "speed": "max" if course.speed == inf else f"{course.speed:g}"}]
    wanted += [{"do": "pause"}] if course.paused else []
    wanted += [{"do": "seek", "to_ts_us": str(course.until_us)}] if course.until_us else []
    return [control.order("replay", ROLE, arguments) for arguments in wanted]
