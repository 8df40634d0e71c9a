"""Checkpoints: what cannot be gone on from, or not be written, is one sentence, and nothing is lost by it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import psutil
import pytest
from pyspark.sql import SparkSession

from streams import bus, checkpoint, features, job
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually
from tests.streams import running

MADE_FOR = {"features": "one", "partitions": 2}


def with_a_finished_batch(folder: Path) -> Path:
    checkpoint.prepare(folder, MADE_FOR)
    (folder / "commits").mkdir()
    (folder / "commits" / "0").touch()
    return folder


@pytest.mark.parametrize(("name", "value"), [("features", "two"), ("partitions", 3)])
def test_a_checkpoint_made_for_something_else_says_what_to_do_and_is_left_as_it_is(
    tmp_path: Path, name: str, value: object
) -> None:
    folder = with_a_finished_batch(tmp_path / "checkpoint")
    with pytest.raises(EnvironmentFault) as fault:
        checkpoint.prepare(folder, MADE_FOR | {name: value})
    assert f"{name} was {MADE_FOR[name]} and is {value}; set it back, or remove that folder" in str(fault.value)
    assert "\n" not in str(fault.value)
    checkpoint.prepare(folder, MADE_FOR)
    assert checkpoint.last_commit(folder) == 0


def test_a_checkpoint_without_a_finished_batch_is_no_obstacle_and_is_begun_anew(tmp_path: Path) -> None:
    checkpoint.prepare(tmp_path, MADE_FOR)
    (tmp_path / "offsets").mkdir()
    (tmp_path / "offsets" / "0").touch()
    checkpoint.prepare(tmp_path, MADE_FOR | {"partitions": 3})
    assert not (tmp_path / "offsets").exists()


def test_batches_that_nobody_noted_what_for_are_not_gone_on_from(tmp_path: Path) -> None:
    folder = with_a_finished_batch(tmp_path / "checkpoint")
    (folder / checkpoint.NOTE).unlink()
    with pytest.raises(EnvironmentFault, match="features was another and is one"):
        checkpoint.prepare(folder, MADE_FOR)


def test_the_place_is_named_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with pytest.raises(
        EnvironmentFault, match=r"checkpoints/features cannot be written .*; mend that and start again: nothing is"
    ):
        checkpoint.prepare(tmp_path / "checkpoints" / "features", MADE_FOR)


def test_nothing_is_finished_where_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.last_commit(tmp_path / "none") is None
    assert checkpoint.finished_offsets(tmp_path / "none") == {}


def test_a_folder_that_takes_no_file_says_why_and_one_that_does_keeps_nothing(tmp_path: Path) -> None:
    assert checkpoint.unwritable(tmp_path) == ""
    assert not list(tmp_path.iterdir())
    assert checkpoint.unwritable(tmp_path / "none") == "No such file or directory"


def ends(config: Settings) -> dict[str, dict[int, int]]:
    with closing(bus.consumer(config)) as client:
        found = client.end_offsets(bus.partitions_of(client, config, *job.INPUTS))
    by_topic: dict[str, dict[int, int]] = {}
    for place, offset in found.items():
        by_topic.setdefault(place.topic, {})[place.partition] = offset
    return by_topic


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["realtime", "microbatch"])
def test_the_offsets_of_a_real_checkpoint_are_those_that_its_batches_have_finished(
    spark: SparkSession, config: Settings, engine: Literal["realtime", "microbatch"]
) -> None:
    own = msgspec.structs.replace(config, engine=engine, checkpoint_s=5)
    records = running.records(running.all_tapes())[:100]
    query = job.start(spark, own)
    for part in (records[:60], records[60:]):
        running.send(own, part)
        eventually(
            lambda: query.exception() or checkpoint.finished_offsets(job.folder(own)) == ends(own), timeout_s=60, interval_s=0.5
        )
    query.stop()
    assert sum(sum(places.values()) for places in checkpoint.finished_offsets(job.folder(own)).values()) == len(records)
    with pytest.raises(EnvironmentFault, match="partitions was 2 and is 3; set it back, or remove that folder"):
        job.start(spark, msgspec.structs.replace(own, partitions=3))


@pytest.mark.slow
def test_an_engine_of_other_features_does_not_go_on_from_this_checkpoint(
    spark: SparkSession, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = msgspec.structs.replace(config, engine="microbatch")
    query = job.start(spark, own)
    running.send(own, running.records(running.all_tapes())[:10])
    query.processAllAvailable()
    query.stop()
    now = features.version()
    monkeypatch.setattr(features, "version", lambda **_: "another")
    with pytest.raises(EnvironmentFault, match=f"features was {now} and is another"):
        job.start(spark, own)


@contextmanager
def engine_process(config: Settings) -> Iterator[subprocess.Popen[str]]:
    """Run the engine as `tickcast stream` does, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKCAST_")}
    command = [sys.executable, "-m", "deploy", "stream"]
    with subprocess.Popen(command, env=environment | config.environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()


def last_words(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=200)[1].strip().splitlines()[-1]


def limit_files(process: subprocess.Popen[str]) -> None:
    """Let no file of the process or its Java grow any more: to a program this is what a full disk is."""
    for part in (process.pid, *[child.pid for child in psutil.Process(process.pid).children(recursive=True)]):
        resource.prlimit(part, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are a thing of Linux")
@pytest.mark.parametrize("engine", ["realtime", "microbatch"])
def test_an_engine_whose_disk_fills_ends_with_one_sentence_and_goes_on_with_nothing_lost(
    config: Settings, engine: Literal["realtime", "microbatch"]
) -> None:
    own = msgspec.structs.replace(config, engine=engine, checkpoint_s=5)
    every = running.all_tapes()
    records = running.records(every)
    half = len(records) // 2
    with engine_process(own) as process:
        running.send(own, records[:half])
        eventually(lambda: checkpoint.last_commit(job.folder(own)) is not None or process.poll(), timeout_s=200, interval_s=0.5)
        limit_files(process)
        running.send(own, records[half:])
        assert "the checkpoint cannot be written (File too large); mend that, and it goes on" in last_words(process)
        assert process.returncode == 2
    with engine_process(own) as process:
        eventually(lambda: running.is_true(own, every) or process.poll(), timeout_s=200, interval_s=1)
        assert process.poll() is None


@pytest.mark.slow
def test_an_engine_that_cannot_write_its_checkpoint_says_so_and_starts_once_it_can(config: Settings) -> None:
    own = msgspec.structs.replace(config, engine="microbatch")
    every = running.all_tapes()
    running.send(own, running.records(every))
    place = job.folder(own).parent
    place.parent.mkdir(parents=True)
    place.write_text("a file where a folder should be")
    with engine_process(own) as process:
        assert last_words(process).startswith(f"tickcast: the checkpoint {place / 'features'} cannot be written")
        assert process.returncode == 2
    place.unlink()
    with engine_process(own) as process:
        eventually(lambda: running.is_true(own, every) or process.poll(), timeout_s=200, interval_s=1)
        assert process.poll() is None
