"""`tickcast replay` steered from another terminal: held, hurried, sought forward and back, it says what it said undisturbed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from deploy import control_cli, doctor, drained, running
from deploy.steering import Again, Steering, carry_over
from deploy.verify import replayed, said
from producers.pace import Course
from streams import bus, codec, control
from streams.clock import MINUTE_US
from streams.errors import SettingsError
from streams.messages import Event
from streams.recording import Recording
from streams.settings import Settings
from streams.testing import eventually
from tests.deploy.conftest import T0, Ran, logs_of
from tests.pipeline import tickcast


@contextmanager
def replaying(own: Settings, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `tickcast replay` beside, for the length of a block."""
    command = [sys.executable, "-m", "deploy", "replay", *arguments]
    with log.open("wb") as kept:
        process = subprocess.Popen(command, env=os.environ | own.environment(), stdout=kept, stderr=kept)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def standing(own: Settings) -> dict[str, int]:
    """Return what the producer of the run that goes on here says of its tape; nothing before it says anything."""
    found = running.replays(own)
    if not found:
        return {}
    event = doctor.newest(msgspec.structs.replace(own, topic_prefix=found[0].namespace)).get("produce")
    return event.counts if event and event.state == "ready" else {}


def told(own: Settings, *arguments: str) -> str:
    done = tickcast(own, "control", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def namespaced(own: Settings) -> Settings:
    return msgspec.structs.replace(own, topic_prefix=running.replays(own)[0].namespace)


def minutes_in(own: Settings) -> float:
    """Return how many minutes of the tape have been sent."""
    return (standing(own).get("clock_ts_us", T0) - T0) / MINUTE_US


def is_through(own: Settings) -> bool:
    """Return whether the tape has ended and every stage has finished it."""
    events = [codec.decode(Event, record.value) for record in bus.read_all(own, "events")]
    return any(event.kind == "tape" for event in events) and not drained.behind(own)


@pytest.mark.slow
def test_a_replay_that_is_held_hurried_and_sought_says_the_bytes_of_its_recording(ran: Ran, tape: Path, tmp_path: Path) -> None:
    own = msgspec.structs.replace(ran.own, home=tmp_path / "home")
    with replaying(own, tmp_path / "log", str(tape), "--speed", "1", "--stay") as process:
        eventually(lambda: standing(own).get("clock_ts_us"), 180)
        first = namespaced(own)
        assert "is held" in told(own, "pause")
        assert "as fast as it can" in told(own, "seek", "13:50")
        eventually(lambda: 19.5 < minutes_in(own) <= 20 and standing(own)["seek_ts_us"] == 0, 60)
        assert "held, speed 1" in told(own, "show")
        assert "begins again" in told(own, "seek", "2012-06-21T13:35")
        eventually(lambda: running.replays(own) and namespaced(own) != first, 60)
        eventually(lambda: 4.5 < minutes_in(own) <= 5 and standing(own)["seek_ts_us"] == 0, 180)
        assert standing(own)["paused"] == 1, "a run that begins again runs as it was told before"
        told(own, "speed", "max")
        told(own, "resume")
        eventually(lambda: is_through(namespaced(own)), 180)
        assert tickcast(own, "control", "pause").returncode == 2, "behind the end there is nothing to hold"
        found = said.of(bus.read_all(namespaced(own), *said.TOPICS))
        told(own, "stop")
        assert process.wait(60) == 0, (tmp_path / "log").read_text() + "".join(logs_of(own))
    assert said.differences(found, replayed.said_by(Recording(ran.folder))) == []
    with closing(bus.consumer(own)) as client:
        assert not any(name.startswith(first.topic_prefix) for name in client.topics()), "the first run's topics were left"


def test_whoever_started_a_tape_begins_again_stops_and_answers_behind_its_end(config: Settings) -> None:
    steering = Steering(config)
    try:
        status = Event(kind="status", role="produce", wall_ts_us=1, counts={"speed_milli": 60_000, "paused": 1})
        steering.heard(status)
        back = control.order("replay", "test", {"do": "seek", "to_ts_us": str(T0)})
        control.send(config, back)
        assert steering.verdict is False, "while the tape runs its producer answers"
        control.send(config, control.answer(back, "produce", "again", "it is past that"))
        assert eventually(lambda: steering.verdict) == Again(Course(60.0, paused=True, until_us=T0))
    finally:
        steering.stop()
    behind = Steering(config)
    try:
        behind.ended = True
        pause = control.asked(config, control.order("replay", "test", {"do": "pause"}), 20)
        assert pause is not None
        assert "the tape has ended" in pause.arguments["said"]
        stop = control.asked(config, control.order("replay", "test", {"do": "stop"}), 20)
        assert stop is not None
        assert stop.arguments["state"] == "done"
    finally:
        behind.stop()


def test_a_course_is_carried_over_as_orders(config: Settings) -> None:
    carry_over(config, Course(0.5, paused=True, until_us=T0))
    book = control.Book("replay")
    book.take(control.decoded(bus.read_all(config, "control")))
    assert [asked.arguments for asked in book.waiting()] == [
        {"do": "speed", "speed": "0.5"},
        {"do": "pause"},
        {"do": "seek", "to_ts_us": str(T0)},
    ]


def test_only_a_tape_that_runs_here_is_steered(config: Settings) -> None:
    done = tickcast(config, "control", "pause")
    assert (done.returncode, "no tape runs here" in done.stderr) == (2, True)
    assert len(done.stderr.strip().splitlines()) == 1
    with running.noted(msgspec.structs.replace(config, topic_prefix="a."), "tape", 0):
        assert running.steerable(config, "").topic_prefix == "a."
        with (
            running.noted(msgspec.structs.replace(config, topic_prefix="b."), "tape", 0),
            pytest.raises(SettingsError, match=r"several replays run: --namespace says which of a\., b\."),
        ):
            running.steerable(config, "")
    assert running.steerable(config, "") == config
    with pytest.raises(SettingsError, match=r"no replay runs in 'c\.'"):
        running.steerable(msgspec.structs.replace(config, broker=""), "c.")


def test_a_time_of_a_tape_is_of_the_day_where_it_stands() -> None:
    assert control_cli.moment_us("14:30", T0) == control_cli.moment_us("2012-06-21T14:30", 0) == T0 + 60 * MINUTE_US
    with pytest.raises(SettingsError, match="a time of the tape is as 2012-06-21T14:30 or 14:30, not 'noon'"):
        control_cli.moment_us("noon", T0)
