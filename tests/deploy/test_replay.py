"""`tickcast replay`, `record` and `verify replay` as a user runs them: a whole pipeline, recorded, replayed and compared."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from os import environ
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from deploy import recorder, replaying
from deploy.cli import app
from deploy.recorder import Wanted
from deploy.replaying import Played
from deploy.verify import replayed, said
from streams import bus, codec, recording
from streams.clock import MINUTE_US, SECOND_US, wall_ts_us
from streams.errors import SourceError, TickcastError
from streams.messages import DeadLetter, Forecast, Score, Tick
from streams.recording import MANIFEST, Recorded, Recording, Writer
from streams.settings import Settings
from streams.testing import eventually
from tests.deploy.conftest import MINUTES, SYMBOLS, T0, Ran, logs_of
from tests.pipeline import messages, tickcast


@pytest.mark.slow
def test_a_replay_goes_through_every_stage_in_a_namespace_of_its_own(ran: Ran) -> None:
    report = ran.report
    assert re.fullmatch(r"replay-\d{8}-\d{6}-\d{6}\.", report["namespace"])
    rows = {key: row for key, row in said.of(bus.read_all(ran.namespaced, "features")).items() if not row.open}
    assert len(rows) == len(SYMBOLS) * MINUTES
    finals = [one for one in messages(ran.namespaced, "forecasts", Forecast) if not one.provisional]
    assert len(finals) == len(SYMBOLS) * MINUTES * 3
    assert report["records"]["scores"] == sum(1 for _ in messages(ran.namespaced, "scores", Score)) == 2 * (29 + 25 + 15)
    letters = list(messages(ran.namespaced, "dead_letters", DeadLetter))
    assert sorted(letter.error_class for letter in letters) == ["contract", "too_late"]
    assert ran.written == {"runs", f"runs/{report['namespace'].strip('.')}"}, "a replay wrote beside its own folder"


@pytest.mark.slow
def test_a_recording_has_every_record_of_every_topic(ran: Ran) -> None:
    recorded = Recording(ran.folder)
    assert recorded.manifest.whole
    assert recorded.manifest.symbols == list(SYMBOLS)
    for topic in (*recording.INPUTS, *recording.OUTPUTS):
        found = sorted(one.record for one in recorded.merged(topic))
        assert found == sorted(bus.read_all(ran.namespaced, topic))
        assert recorded.count(topic) == ran.report["records"][topic]


@pytest.mark.slow
def test_a_replay_says_the_bytes_that_were_recorded_and_planted_faults_are_named(ran: Ran, tmp_path: Path) -> None:
    """One run shows both: the three planted faults are all that differs."""
    folder = tmp_path / "faulty"
    planted = planted_faults(ran.folder, folder)
    done = tickcast(ran.own, "verify", "replay", "--tape", str(folder), "--quick", "--json", str(tmp_path / "figures.json"))
    assert "the claim DOES NOT hold" in done.stdout, done.stdout + done.stderr + "".join(logs_of(ran.own))
    assert done.returncode == 1
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["compared"]["forecasts"] == len(SYMBOLS) * MINUTES * 3
    assert figures["compared"]["dead_letters"] == 2
    comparison = figures["comparisons"]["replay 1 against the recording"]
    assert sorted(comparison["named"]) == sorted(planted)
    assert not figures["holds"]
    with closing(bus.consumer(ran.own)) as client:
        assert not any(name.startswith("verify-") for name in client.topics()), "the namespace was left"


def planted_faults(folder: Path, faulty: Path) -> list[str]:
    """Write a recording with one feature's close, one forecast's mean and one score lost; return what will be said of them."""
    shutil.copytree(folder, faulty)
    (faulty / MANIFEST).unlink()
    whole = Recording(folder)
    writer = Writer(faulty)
    touched: dict[str, str] = {}
    for one in whole.merged(*recording.INPUTS, *recording.OUTPUTS):
        if (kept := _faulty(one, touched)) is not None:
            writer.add(kept)
    manifest = whole.manifest
    writer.finish(manifest.made_ts_us, manifest.namespace, manifest.partitions, whole=True)
    assert len(touched) == 3
    return list(touched.values())


def _faulty(one: Recorded, touched: dict[str, str]) -> bus.Record | None:
    record, value = one.record, json.loads(one.record.value or b"null")
    in_question = record.topic not in touched
    if (
        record.topic == "features"
        and value["final"]
        and "features" not in touched
        and value["minute_ts_us"] == T0 + 5 * MINUTE_US
    ):
        touched["features"] = f"features {value['symbol']} 2012-06-21T13:35:00+00:00 has other bytes"
        return record._replace(value=json.dumps(value | {"close": value["close"] + 1, "revision": 10**6}).encode())
    if record.topic == "forecasts" and not value["provisional"] and in_question:
        touched["forecasts"] = f"forecasts {value['forecast_id']} has other bytes"
        return record._replace(value=json.dumps(value | {"mean": value["mean"] * 1.001}).encode())
    if record.topic == "scores" and in_question:
        touched["scores"] = f"scores {value['forecast_id']} is too many"
        return None
    return record


def test_equal_runs_hold_and_a_difference_or_nothing_to_compare_does_not(config: Settings) -> None:
    letter = DeadLetter(
        topic="ticks", partition=0, offset=3, stage="features", error_class="contract", message="m", value_base64=""
    )
    score = score_of("a", 1)
    one = said.of(records(config, [bus.outgoing("dead_letters", "ticks", letter), bus.outgoing("scores", "A", score)]))
    moved = msgspec.structs.replace(letter, offset=9, headers={"x": "y"}, timestamp_us=5)
    same = said.of(records(config, [bus.outgoing("dead_letters", "ticks", moved), bus.outgoing("scores", "A", score)]))
    assert said.differences(one, same) == []
    other = said.of(records(config, [bus.outgoing("scores", "A", msgspec.structs.replace(score, error=2.0))]))
    assert [difference.what for difference in said.differences(other, one)] == ["is missing", "has other bytes"]
    twice = said.of(records(config, [bus.outgoing("scores", "A", score), bus.outgoing("scores", "A", score)]))
    assert said.differences(twice, said.of(records(config, [bus.outgoing("scores", "A", score)]))) == []
    torn = said.of(records(config, [bus.outgoing("scores", "A", score), bus.outgoing("scores", "A", score_of("a", 2))]))
    assert len(said.differences(torn, twice)) == 1
    assert not replayed.figures([replayed.Outcome(one, {})], {"x": []})["holds"]


def test_behind_the_end_of_a_recording_nothing_is_asked_for(config: Settings) -> None:
    recorded = said.of(records(config, [bus.outgoing("scores", "A", score_of(str(at), at)) for at in range(5)]))
    more = said.of(records(config, [bus.outgoing("scores", "A", score_of(str(at), at)) for at in range(9)]))
    assert said.differences(more, recorded, recording=True) == []
    assert len(said.differences(more, recorded)) == 4
    other = msgspec.structs.replace(score_of("other", 9), model_id="nobody's")
    letter = DeadLetter(topic="ticks", partition=0, offset=10**6, stage="s", error_class="e", message="m", value_base64="")
    strange = said.of(records(config, [bus.outgoing("scores", "A", other), bus.outgoing("dead_letters", "ticks", letter)]))
    assert [one.what for one in said.differences(more | strange, recorded, recording=True)] == ["is too many"] * 2
    less = {name: item for name, item in more.items() if name != ("scores", "2")}
    assert said.differences(less, recorded, recording=True) == [said.Difference(("scores", "2"), "is missing")]


def score_of(name: str, at: int) -> Score:
    return Score(
        forecast_id=name,
        symbol="A",
        model_id="m",
        role="baseline",
        horizon_min=1,
        as_of_ts_us=T0 + at * MINUTE_US,
        target_ts_us=T0 + (at + 1) * MINUTE_US,
        realised_price=1,
        error=float(at),
        naive_error=0,
        pinball=0,
        crps=0,
        covered={},
    )


def records(_config: Settings, sent: list[bus.Outgoing]) -> list[bus.Record]:
    return [bus.Record(out.topic, 0, at, out.key, out.value, 0) for at, out in enumerate(sent)]


def ticks(*seqs: int) -> list[bus.Outgoing]:
    made = [
        Tick(event_ts_us=T0 + seq * SECOND_US, clock_ts_us=T0 + seq * SECOND_US, symbol="A", price=1, size=1, source="x", seq=seq)
        for seq in seqs
    ]
    return [bus.outgoing("ticks", "A", tick) for tick in made]


def send(config: Settings, sent: list[bus.Outgoing]) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, sent)


def seqs(folder: Path) -> list[int]:
    return [codec.decode(Tick, one.record.value).seq for one in Recording(folder).merged("ticks")]


def test_a_recording_of_a_part_by_the_broker_s_clock(config: Settings, tmp_path: Path) -> None:
    send(config, ticks(0, 1))
    eventually(lambda: wall_ts_us() // 1_000 > max(one.timestamp_ms for one in bus.read_all(config, "ticks")))
    begin = wall_ts_us() // 1_000
    send(config, ticks(2, 3))
    eventually(lambda: wall_ts_us() // 1_000 > max(one.timestamp_ms for one in bus.read_all(config, "ticks")))
    end = wall_ts_us() // 1_000
    send(config, ticks(4))
    stop = threading.Event()
    assert not recorder.record(config, tmp_path / "part", Wanted(begin, end), stop).whole
    assert seqs(tmp_path / "part") == [2, 3]
    assert recorder.record(config, tmp_path / "whole", Wanted(), stop).whole
    assert seqs(tmp_path / "whole") == [0, 1, 2, 3, 4]


def test_a_recording_that_follows_takes_what_arrives_until_ctrl_c(config: Settings, tmp_path: Path) -> None:
    send(config, ticks(0, 1))
    command = [sys.executable, "-m", "deploy", "record", "--out", str(tmp_path / "live"), "--follow"]
    process = subprocess.Popen(command, env=environ | config.environment())
    try:
        eventually(lambda: (tmp_path / "live" / "ticks-0.parquet").exists() or (tmp_path / "live" / "ticks-1.parquet").exists())
        send(config, ticks(2, 3))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    assert seqs(tmp_path / "live") == [0, 1, 2, 3]


def test_an_empty_namespace_and_a_strange_time_are_one_sentence(config: Settings, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there are no topics in the namespace nobody"):
        own = msgspec.structs.replace(config, topic_prefix="nobody.")
        recorder.record(own, tmp_path / "none", Wanted(), threading.Event())
    for arguments, says in (
        (("record", "--out", str(tmp_path / "x"), "--from", "noon"), "--from is a time as 2012-06-21T13:30, not 'noon'"),
        (("replay", str(tmp_path / "none-here")), "does not exist"),
        (("replay", str(tmp_path), "--speed", "fast"), "--speed is a number above 0 or max"),
    ):
        done = tickcast(config, *arguments)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
        assert says in done.stderr


def test_a_loop_begins_again_in_a_new_namespace_and_removes_the_old(
    config: Settings, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline itself is left out: it makes the topics that it would write to."""
    namespaces: list[Settings] = []

    def played(own: Settings, *_: object) -> Played | None:
        bus.ensure_topics(own)
        (own.state / "logs").mkdir(parents=True)
        namespaces.append(own)
        return Played(own, 1.0, (), {"ticks": 1}) if len(namespaces) < 3 else None

    monkeypatch.setattr(replaying, "steered", played)
    for name, value in config.environment().items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(app, ["replay", str(tape), "--loop"]).exit_code == 0
    assert len({own.topic_prefix for own in namespaces}) == 3
    with closing(bus.consumer(config)) as client:
        left = client.topics()
    assert [any(name.startswith(own.topic_prefix) for name in left) for own in namespaces] == [False, False, True]
    assert [own.state.exists() for own in namespaces] == [False, False, True]
    assert config.topic("ticks") in left
    with pytest.raises(TickcastError, match="only a namespace with a prefix"):
        replaying.forget(msgspec.structs.replace(config, topic_prefix=""))


def test_up_does_not_score_again_what_was_recorded(config: Settings, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "recording")
    writer.finish(1, "", 2, whole=True)
    done = tickcast(config, "up", "--headless", "--replay", str(tmp_path / "recording"))
    assert (done.returncode, "`tickcast replay DIR` plays it" in done.stderr) == (2, True)
