"""Steers a tape while it runs: takes the orders of kind `replay` on `control` of its own namespace, and answers them.

No order changes what is sent, only when (docs/adr/0012): a place that was sought is run to at full speed, and one that the
tape has passed is answered by `again`, for whoever started the run to begin another. A producer that is started again reads
the orders again, and so goes on as it was told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf

from kafka.errors import KafkaError

from producers.pace import Course, course_of
from streams import bus, control
from streams.clock import SECOND_US, iso
from streams.errors import BrokerGone
from streams.messages import Control
from streams.settings import Settings

ROLE = "produce"
TAKEN = ("pause", "resume", "speed", "seek")  # to stop is for whoever started the run
RETRY_S = 1.0
log = logging.getLogger(__name__)


class Wheel:
    """How a tape is to run: as its command said, and as orders have told since.

    Parameters
    ----------
    course : Course
        The command's.
    stopped : callable
        Ends the thread that reads the orders, once it returns true.

    Attributes
    ----------
    course : Course
        The present one.
    """

    def __init__(self, settings: Settings, course: Course, stopped: Callable[[], bool]) -> None:
        self.course = course
        self._settings = settings
        self._stopped = stopped
        self._clock: Callable[[], int] = lambda: 0
        self._next_us = 0

    def start(self, clock: Callable[[], int]) -> None:
        """Read the orders from now on, on a thread; `clock` tells how far the tape has been sent, microseconds UTC."""
        self._clock = clock
        threading.Thread(target=self._follow, daemon=True, name="control").start()

    def at(self, clock_ts_us: int) -> Course:
        """Return how to run on to the next event, which is at `clock_ts_us`."""
        self._next_us = clock_ts_us
        return self.course

    def counts(self) -> dict[str, int]:
        """Return the course for a status: `speed_milli` is 0 where it is as fast as it can."""
        course = self.course
        milli = 0 if course.speed == inf else max(1, round(course.speed * 1_000))
        seeks = course.until_us if course.until_us > self._next_us else 0
        return {"speed_milli": milli, "paused": int(course.paused), "seek_ts_us": seeks}

    def _follow(self) -> None:
        while not self._stopped():
            try:
                self._read()
            except (KafkaError, BrokerGone) as error:
                log.warning("orders cannot be read: %s", error)
                time.sleep(RETRY_S)

    def _read(self) -> None:
        before = control.Book("replay")
        before.take(control.decoded(bus.read_all(self._settings, "control")))
        answered = {word.command_id: word for word in before.told("done", "refused", "again")}
        for records in bus.follow(self._settings, "control", stop=self._stopped):
            for word in control.decoded(records):
                if word.kind == "replay" and word.arguments.get("do") in TAKEN and not control.is_answer(word):
                    self._take(word, answered.get(word.command_id))

    def _take(self, asked: Control, told: Control | None) -> None:
        """Do what is asked, and tell; what was told before the producer was started again is only done."""
        if told is not None and told.arguments["state"] != "done":
            return
        try:
            self.course, state, said = self.turned(asked.arguments)
        except ValueError as error:
            state, said = "refused", str(error)
        if told is None:
            control.send(self._settings, control.answer(asked, ROLE, state, said))

    def turned(self, arguments: dict[str, str]) -> tuple[Course, control.State, str]:
        """Return the course after an order, and its answer.

        Raises
        ------
        ValueError
            An argument is none.
        """
        course = self.course
        match arguments["do"]:
            case "pause":
                return replace(course, paused=True), "done", "the tape is held"
            case "resume":
                return replace(course, paused=False), "done", "the tape goes on"
            case "speed":
                speed = course_of(arguments.get("speed", "")).speed
                return replace(course, speed=speed), "done", f"the tape runs at {arguments['speed']}"
        return self._sought(course, control.microseconds(arguments, "to_ts_us"))

    def _sought(self, course: Course, place_us: int) -> tuple[Course, control.State, str]:
        place = iso(place_us - place_us % SECOND_US)
        if place_us < self._clock():
            return course, "again", f"the tape is past {place}: it begins again, in topics of its own"
        return replace(course, until_us=place_us), "done", f"the tape runs to {place} as fast as it can"
