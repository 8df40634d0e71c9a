"""The schedule of trainings, with trainings that are small programs: when they run, and what failure does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import retraining
from deploy.retraining import Plan, Retrainer
from deploy.training_cli import seconds_of
from streams import bus, codec
from streams.errors import SettingsError
from streams.messages import Event
from streams.settings import Settings
from streams.testing import eventually

DRIFT = Event(kind="drift", role="score", wall_ts_us=1, detail="AAPL: volatility went from 0.1 to 0.4")


@contextmanager
def running(config: Settings, plan: Plan, program: str, *arguments: str) -> Iterator[Retrainer]:
    """Run the schedule; each training is the Python `program`."""
    bus.ensure_topics(config)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", program, *arguments])

    retrainer, stop = Retrainer(config, plan, start), threading.Event()
    thread = threading.Thread(target=retrainer.run, args=(stop,))
    thread.start()
    try:
        yield retrainer
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def begun_and_ended(path: Path) -> tuple[str, str]:
    program = """
import sys, time
with open(sys.argv[1], "a") as file:
    print("begin", file=file, flush=True); time.sleep(float(sys.argv[2])); print("end", file=file, flush=True)
"""
    return program, str(path)


def alerts(config: Settings) -> list[str]:
    return details(config, "alert")


def details(config: Settings, kind: str = "status") -> list[str]:
    events = (codec.decode(Event, record.value) for record in bus.read_all(config, "events"))
    return [event.detail for event in events if event.kind == kind]


def test_trainings_come_by_the_clock_and_never_overlap(config: Settings, tmp_path: Path) -> None:
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=0.3), program, path, "0.5"):
        eventually(lambda: len(lines(tmp_path / "log")) >= 6)
    words = lines(tmp_path / "log")
    assert words[:6] == ["begin", "end"] * 3


def test_a_missed_training_is_made_up_for_at_the_start_and_only_once(config: Settings, tmp_path: Path) -> None:
    last = config.home / "training" / "last"
    last.parent.mkdir(parents=True)
    last.touch()
    long_ago = time.time() - 5 * 86_400
    os.utime(last, (long_ago, long_ago))
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=86_400), program, path, "0"):
        eventually(lambda: last.stat().st_mtime > long_ago + 1)
        assert lines(tmp_path / "log") == ["begin", "end"]


def test_drifts_cause_one_training_once_it_has_settled(config: Settings, tmp_path: Path) -> None:
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=86_400, settle_s=1.0), program, path, "0") as retrainer:
        for _ in range(5):
            retrainer.see(codec.encode(DRIFT))
        retrainer.see(b"nonsense")
        eventually(lambda: lines(tmp_path / "log") == ["begin", "end"])


def test_a_drift_soon_after_a_training_waits(config: Settings, tmp_path: Path) -> None:
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=86_400, settle_s=0.1), program, path, "0") as retrainer:
        retrainer.see(codec.encode(DRIFT))
        eventually((config.home / "training" / "last").exists)
        retrainer.see(codec.encode(DRIFT))
        told = eventually(lambda: [one for one in details(config) if "a training is due in 21" in one])
    assert told
    assert lines(tmp_path / "log") == ["begin", "end"]


def test_a_drift_on_the_topic_is_heard(config: Settings, tmp_path: Path) -> None:
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=86_400, settle_s=0.2), program, path, "0"):

        def told() -> bool:
            with bus.producing(config) as client:
                bus.send(client, config, bus.outgoing("events", "drift", DRIFT))
            return lines(tmp_path / "log")[:1] == ["begin"]

        eventually(told)


@pytest.mark.parametrize(("code", "runs"), [(1, 2), (-9, 2), (retraining.USER_ERROR, 1)])
def test_a_training_that_fails_is_tried_again_unless_the_user_must_act(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, runs: int
) -> None:
    monkeypatch.setattr(retraining, "RETRY_S", 0.3)
    die = f"os.kill(os.getpid(), {-code})" if code < 0 else f"sys.exit({code})"
    program = f"""
import os, sys
with open(sys.argv[1], "a") as file:
    print("begin", file=file)
if sum(1 for _ in open(sys.argv[1])) == 1:
    {die}
"""
    with running(config, Plan(every_s=86_400, settle_s=0.1), program, str(tmp_path / "log")) as retrainer:
        retrainer.see(codec.encode(DRIFT))
        eventually(lambda: len(lines(tmp_path / "log")) == runs and alerts(config))
    (alert,) = alerts(config)
    assert f"exit code {code}" in alert
    assert ("tried again" in alert) == (runs == 2)


def test_a_stop_ends_the_training_that_runs(config: Settings, tmp_path: Path) -> None:
    program, path = begun_and_ended(tmp_path / "log")
    with running(config, Plan(every_s=86_400, settle_s=0.1), program, path, "600") as retrainer:
        retrainer.see(codec.encode(DRIFT))
        eventually(lambda: lines(tmp_path / "log") == ["begin"])
    assert lines(tmp_path / "log") == ["begin"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("1d", 86_400)])
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "0s", "1w"])
def test_what_is_no_length_of_time_is_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match="no length of time"):
        seconds_of(text)
