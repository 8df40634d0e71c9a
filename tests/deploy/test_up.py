"""What `tickcast up --replay` does where somebody seeks back; `test_control.py` has the same for all of `tickcast replay`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from deploy import doctor, replaying, up
from deploy.steering import Again, Steering
from producers.catalog import Choice
from producers.pace import Course
from producers.replay import Replay
from streams import bus
from streams.clock import MINUTE_US
from streams.settings import Settings
from streams.testing import eventually
from tests.producers.test_run import T0, held, tape
from tests.producers.test_steering import Run, running

__all__ = ["tape"]  # the fixture
Values = dict[tuple[str, int], list[bytes | None]]


def is_held(own: Settings, steering: Steering) -> bool:
    """Let `up` hear what the producer said last, as it does by itself; return whether that was that it stands where it shall."""
    status = doctor.newest(own).get("produce")
    steering.heard(status)
    return status is not None and (status.counts.get("paused"), status.counts.get("seek_ts_us")) == (1, 0)


def stands_at(run: Run, minute: int) -> bool:
    return minute - 0.1 < run.minute <= minute


def sent(own: Settings) -> Values:
    """Return what each partition of the topics that the producer writes has, under their names without the namespace."""
    return {(own.bare_topic(topic), partition): values for (topic, partition), values in held(own).items()}


def test_a_tape_that_is_sought_back_begins_again_in_topics_of_its_own_and_says_the_same(config: Settings, tape: Path) -> None:
    choice = Choice(("replay", str(tape)), ("replay", str(tape)))
    options = up.Options(choice, ("--source", f"replay:{tape}"), headless=True)
    first = msgspec.structs.replace(config, topic_prefix="replay-20120621-133000.")
    bus.ensure_topics(first)
    first.state.mkdir(parents=True)
    bus.address_file(first).write_text(f"{first.broker} {first.topic_prefix}")
    source = Replay.of_folder(tape)
    steering = Steering(first)
    try:
        with running(first, source, Course(60)) as run:
            run.tell(do="pause")
            run.tell(do="seek", to_ts_us=str(T0 + 5 * MINUTE_US))
            eventually(lambda: stands_at(run, 5))
            eventually(lambda: is_held(first, steering))
            assert run.tell(do="seek", to_ts_us=str(T0 + 2 * MINUTE_US))["state"] == "again"
            verdict = eventually(lambda: steering.verdict)
    finally:
        steering.stop()
    assert verdict == Again(Course(60.0, paused=True, until_us=T0 + 2 * MINUTE_US))
    before = sent(first)
    again = up.begun_again(first, options, verdict)
    try:
        assert (again.topic_prefix.startswith("replay-"), again.topic_prefix != first.topic_prefix) == (True, True)
        assert not first.state.exists()
        assert bus.find_broker(msgspec.structs.replace(config, broker="", topic_prefix="")).topic_prefix == again.topic_prefix
        with closing(bus.consumer(again)) as client:
            eventually(lambda: not any(name.startswith(first.topic_prefix) for name in client.topics()))
        with running(again, source, Course(1)) as run:
            eventually(lambda: stands_at(run, 2) and run.wheel.course == verdict.course)
        after = sent(again)
    finally:
        replaying.forget(again)
    assert after.keys() == before.keys()
    assert {place: values[: len(after[place])] for place, values in before.items()} == after
    assert len(before["ticks", 0]) > len(after["ticks", 0]) > 0


def test_the_namespace_that_its_owner_chose_is_left_as_it_is(config: Settings, tape: Path) -> None:
    options = up.Options(Choice(("replay", str(tape)), None), (), headless=True)
    again = up.begun_again(config, options, Again(Course(1.0, until_us=T0)))
    try:
        with closing(bus.consumer(config)) as client:
            assert {config.topic("ticks"), again.topic("ticks")} <= client.topics()
    finally:
        replaying.forget(again)
