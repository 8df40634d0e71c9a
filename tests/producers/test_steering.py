"""Orders to a running tape, through a real broker: what is sent is what an undisturbed run sends, only when changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import inf
from pathlib import Path

import pytest

from producers.pace import AtSpeed, Course
from producers.replay import Replay
from producers.run import Producing, place_of_tape
from producers.steering import Wheel
from streams import bus, codec, control
from streams.clock import MINUTE_US, SECOND_US
from streams.messages import Control, Event
from streams.settings import Settings
from streams.testing import eventually
from tests.producers.test_run import T0, expected, held, tape

__all__ = ["tape"]  # the fixture


class Run:
    """A tape on its way, and the orders to it."""

    def __init__(self, config: Settings, source: Replay, course: Course) -> None:
        self.config = config
        self.stop = threading.Event()
        self.wheel = Wheel(config, course, self.stop.is_set)
        pace = AtSpeed(self.wheel.at, self.stop.is_set)
        self.producing = Producing(config, source, pace, self.stop, lambda: place_of_tape(source, self.wheel))
        self.wheel.start(lambda: self.producing.clock_ts_us)

    def tell(self, **arguments: str) -> dict[str, str]:
        """Give an order, and return its answer."""
        answer = control.asked(self.config, control.order("replay", "test", arguments), 20)
        assert answer is not None
        return answer.arguments

    @property
    def minute(self) -> float:
        return (self.producing.clock_ts_us - T0) / MINUTE_US


def answers(config: Settings) -> dict[str, Control]:
    words = control.decoded(bus.read_all(config, "control"))
    return {word.command_id: word for word in words if control.is_answer(word)}


@contextmanager
def running(config: Settings, source: Replay, course: Course) -> Iterator[Run]:
    run = Run(config, source, course)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(run.producing.run)
        try:
            yield run
        finally:
            run.stop.set()
            sending.result()


def test_a_tape_is_held_sought_and_hurried_and_sends_what_it_sends_undisturbed(config: Settings, tape: Path) -> None:
    source = Replay.of_folder(tape)
    with running(config, source, Course(1)) as run:
        assert run.tell(do="pause") | {"said": ""} == {"do": "pause", "state": "done", "said": ""}
        sent = len(list(bus.read_all(config, "ticks")))
        assert run.tell(do="seek", to_ts_us=str(T0 + 5 * MINUTE_US))["state"] == "done"
        eventually(lambda: 4.9 < run.minute <= 5)
        assert len(list(bus.read_all(config, "ticks"))) > sent + 300
        eventually(lambda: place_of(config) | {"paused": 1, "seek_ts_us": 0, "speed_milli": 1_000} == place_of(config))
        back = run.tell(do="seek", to_ts_us=str(T0 + 2 * MINUTE_US))
        assert (back["state"], "begins again" in back["said"]) == ("again", True)
        assert 4.9 < run.minute <= 5
        assert run.tell(do="speed", speed="1000")["state"] == "done"
        assert run.tell(do="resume")["state"] == "done"
        eventually(lambda: run.minute > 8.9)
        eventually(lambda: held(config) == expected(config, source))


def test_a_run_that_is_started_again_goes_on_as_it_was_told(config: Settings, tape: Path) -> None:
    source = Replay.of_folder(tape)
    with running(config, source, Course(1)) as run:
        run.tell(do="pause")
        run.tell(do="seek", to_ts_us=str(T0 + 3 * MINUTE_US))
        run.tell(do="seek", to_ts_us=str(T0))
    told = answers(config)
    with running(config, source, Course(1)) as run:
        eventually(lambda: run.wheel.course == Course(1, paused=True, until_us=T0 + 3 * MINUTE_US))
        eventually(lambda: 2.9 < run.minute <= 3)
        run.tell(do="speed", speed="max")
    assert {name: word for name, word in answers(config).items() if name in told} == told


@pytest.mark.parametrize(
    "arguments",
    [
        {"do": "speed", "speed": "fast"},
        {"do": "speed"},
        {"do": "seek", "to_ts_us": "noon"},
        {"do": "seek", "to_ts_us": "9" * 18},
        {"do": "seek"},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(config: Settings, arguments: dict[str, str]) -> None:
    wheel = Wheel(config, Course(inf), lambda: True)
    with pytest.raises(ValueError, match=r"speed|time|float|range"):
        wheel.turned(arguments)
    assert wheel.course == Course(inf)


def place_of(config: Settings) -> dict[str, int]:
    """Return what the newest status says."""
    said = [codec.decode(Event, record.value) for record in bus.read_all(config, "events")]
    return said[-1].counts if said else {}


def test_strange_words_on_control_are_nobody_s_business(config: Settings, tape: Path) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, [bus.Outgoing("control", b"x", value) for value in (b"", b"{}", b"\xff")])
    control.send(config, control.order("retrain", "test"), control.order("replay", "test", {"do": "dance"}))
    with running(config, Replay.of_folder(tape), Course(1)) as run:
        assert run.tell(do="resume")["state"] == "done"
    assert len(answers(config)) == 1
    assert run.producing.clock_ts_us < T0 + 20 * SECOND_US
