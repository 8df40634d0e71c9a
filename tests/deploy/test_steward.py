"""Orders that the steward and the schedule of trainings carry out, through a real broker."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from deploy import dead, tapes
from deploy.local.broker import answers
from deploy.local.processes import Process
from deploy.retraining import Plan
from deploy.steward import Steward
from models import registry
from streams import bus, codec, control
from streams.messages import Control, DeadLetter, ModelAnnouncement
from streams.settings import Settings
from streams.testing import eventually
from tests.deploy.test_retraining import begun_and_ended, running
from tests.models.forecaster.samples import stored_onnx

NAME = "forecaster"


@contextmanager
def steward(config: Settings) -> Iterator[Callable[..., dict[str, str]]]:
    """Run a steward; yield what gives it an order and returns the answer."""
    stop = threading.Event()
    thread = threading.Thread(target=Steward(config).run, args=(stop,))
    thread.start()

    def ask(kind: control.Kind, **arguments: str) -> dict[str, str]:
        answer = control.asked(config, control.order(kind, "somebody", arguments), 90)
        assert answer is not None
        return answer.arguments

    try:
        yield ask
    finally:
        stop.set()
        thread.join(30)


def announced(config: Settings) -> list[ModelAnnouncement]:
    return [codec.decode(ModelAnnouncement, record.value) for record in bus.read_all(config, "models")]


def test_promotions_and_roll_backs_are_carried_out_and_say_who_wanted_them(config: Settings, tmp_path: Path) -> None:
    first, second = (stored_onnx(config, tmp_path / f"made {seed}", seed).card.model_id for seed in (1, 2))
    with steward(config) as ask:
        for model_id in (first, second):
            assert ask("promote", model_id=model_id)["said"] == f"{model_id} is the champion"
        assert ask("rollback", name=NAME)["said"] == f"{first} is the champion again"
        nobody = ask("promote", model_id="lstm-9")
        assert (nobody["state"], "lstm-9" in nobody["said"]) == ("refused", True)
        assert ask("promote")["state"] == "refused"
    assert [one.model_id for one in registry.promotions(config, NAME)] == [first, second, first]
    assert registry.promotions(config, NAME)[-1].reason == "rolled back by somebody"
    assert {one.model_id for one in announced(config) if one.promoted} == {first, second}


def test_a_letter_is_sent_again_once(config: Settings) -> None:
    value = base64.b64encode(b"{}").decode()
    letters = [
        DeadLetter(topic="ticks", partition=0, offset=at, stage="features", error_class=kind, message="m", value_base64=value)
        for at, kind in ((7, "contract"), (8, "too_late"))
    ]
    with bus.producing(config) as client:
        bus.send_all(client, config, [bus.outgoing("dead_letters", letter.topic, letter) for letter in letters])
    with steward(config) as ask:
        assert "on its way" in ask("redrive", name="ticks/0/7/features")["said"]
        assert "not sent twice" in ask("redrive", name="ticks/0/7/features")["said"]
        assert ask("redrive", name="ticks/0/8/features")["state"] == "refused"
        assert ask("redrive", name="ticks/0/9/features")["state"] == "refused"
    assert [record.value for record in bus.read_all(config, "ticks")] == [b"{}"]
    assert [state for state, _ in dead.marks(config).values()] == [dead.DONE]


def test_an_order_is_carried_out_once_and_a_stale_one_never(config: Settings, tmp_path: Path) -> None:
    model_id = stored_onnx(config, tmp_path / "made").card.model_id
    stale = msgspec.structs.replace(control.order("promote", "x", {"model_id": model_id}), wall_ts_us=1)
    broken_off = control.order("promote", "x", {"model_id": model_id})
    control.send(config, stale, broken_off, control.answer(broken_off, "steward", "begun", "a steward that was killed"))
    with steward(config) as ask:
        assert ask("promote", model_id=model_id)["state"] == "done"
    with steward(config) as ask:
        assert ask("replay", do="end")["said"] == "no replay was running"
    assert len(registry.promotions(config, NAME)) == 1
    book = control.Book("promote")
    book.take(control.decoded(bus.read_all(config, "control")))
    assert sorted(word.arguments["said"][:12] for word in book.told("refused")) == ["it was broke", "nobody was t"]


def page_program(port: str) -> list[str]:
    """Return a program that listens as the page of a replay does."""
    return [sys.executable, "-c", f"import socket,time\ns=socket.create_server(('127.0.0.1',{port}))\ntime.sleep(600)"]


def test_a_replay_is_started_once_told_of_when_its_page_answers_and_stopped(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline itself is left out: a program with a socket stands in for it (the real one: test_replay_page.py)."""
    (config.home / "tapes" / "june").mkdir(parents=True)
    (config.home / "tapes" / "june" / "ticks.csv").write_text("event_ts_us,symbol,price,size\n1340285400000000,A,1,1\n")

    def start(self: Process) -> None:
        self.handle = subprocess.Popen(page_program(self.arguments[self.arguments.index("--port") + 1]))

    monkeypatch.setattr(Process, "start", start)
    with steward(config) as ask:
        assert "there is no tape" in ask("replay", do="start", tape="../june")["said"]
        assert "speed" in ask("replay", do="start", tape="june", speed="-1")["said"]
        begun = ask("replay", do="start", tape="june", speed="60")
        assert begun["state"] == "done"
        assert answers(int(begun["page"]))
        assert "runs already" in ask("replay", do="start", tape="june")["said"]
        assert ask("replay", do="end")["said"] == "the replay has been stopped"
        assert not answers(int(begun["page"]))
        begun = ask("replay", do="start", tape="june", speed="max")
    assert not answers(int(begun["page"])), "a replay outlived its steward"


def test_the_schedule_trains_when_it_is_told_to_and_one_at_a_time(config: Settings, tmp_path: Path) -> None:
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=3_600), program, path, "2"):
        first, second = (control.order("retrain", "somebody") for _ in range(2))
        control.send(config, first)
        eventually(lambda: (word := told(config, first)) and word.arguments["state"] == "begun")
        control.send(config, second)
        eventually(lambda: (word := told(config, second)) and word.arguments["said"] == "a training runs already")
        eventually(lambda: (word := told(config, first)) and word.arguments["state"] == "done", 20)
    assert (tmp_path / "log").read_text().split() == ["begin", "end"]


def told(config: Settings, asked: Control) -> Control | None:
    """Return the last word on an order."""
    words = control.decoded(bus.read_all(config, "control"))
    return next((word for word in reversed(words) if word.command_id == asked.command_id and control.is_answer(word)), None)


def test_tapes_are_found_with_their_ends_symbols_and_volume(config: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "tapes"
    own = msgspec.structs.replace(config, tapes=str(folder))
    (folder / "june").mkdir(parents=True)
    rows = [f"{1_340_285_400_000_000 + second * 1_000_000},{'AB'[second % 2]},1,{second}" for second in range(240)]
    (folder / "june" / "ticks.csv").write_text("\n".join(["event_ts_us,symbol,price,size", *rows]))
    (folder / "broken").mkdir()
    (folder / "broken" / "ticks.csv").write_text("nothing")
    (folder / "empty").mkdir()
    (found,) = tapes.HomeTapes(own).listed()
    assert (found.name, found.kind, found.symbols) == ("june", "tape", ["A", "B"])
    assert (found.first_ts_us, found.last_ts_us) == (1_340_285_400_000_000, 1_340_285_639_000_000)
    assert (len(found.volume), sum(found.volume), found.volume[0]) == (tapes.PARTS, sum(range(240)), 1)
    assert tapes.HomeTapes(own).running() is None


@pytest.mark.timeout(30)
def test_a_steward_that_fails_ends_so_that_it_is_started_again(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Steward, _stop: threading.Event) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Steward, "_follow", fail)
    with pytest.raises(OSError, match="the disk is full"):
        Steward(config).run(threading.Event())
