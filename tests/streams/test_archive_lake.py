"""The archive fills the lake: every good record once, for every reader, whatever happens to the archive."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.dataset
import pytest
from polars.testing import assert_frame_equal
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from streams import archive, bus, codec, lake
from streams import query as queries
from streams.bus import Outgoing
from streams.messages import DeadLetter, Event
from streams.settings import Settings
from streams.testing import eventually
from tests.streams.lakes import expected, headline, held, outgoing, raw, row, send, sentiment, tick

pytestmark = pytest.mark.slow

KILLS = 3


@pytest.fixture
def query(spark: SparkSession, config: Settings) -> Iterator[StreamingQuery]:
    running = archive.start(spark, config)
    yield running
    running.stop()


def everything(start: int, end: int) -> Iterator[Outgoing]:
    yield from outgoing("ticks", map(tick, range(start, end)))
    yield from outgoing("headlines", map(headline, range(start, end, 10)))
    yield from outgoing("sentiment", map(sentiment, range(start, end, 10)))
    yield from outgoing("features", (row(number, 2, final=number % 6 > 0) for number in range(start, end, 4)))
    yield from outgoing("features", (row(number, revision) for number in range(start, end, 4) for revision in (3, 1)))


def test_the_lake_holds_every_good_record_once_for_every_reader(
    spark: SparkSession, config: Settings, query: StreamingQuery
) -> None:
    for start in (0, 300, 600):
        send(config, everything(start, start + 300))
        query.processAllAvailable()
    for topic in archive.SCHEMAS:
        wanted = expected(config, topic)
        assert_frame_equal(held(config, topic), wanted)
        assert_frame_equal(raw(config, topic), wanted)
        place = lake.archive_root(config) / topic
        assert pyarrow.dataset.dataset(place, format="parquet").count_rows() == wanted.height
        assert spark.read.option("recursiveFileLookup", "true").parquet(str(place)).count() == wanted.height
    eventually(lambda: queries.read_so_far(query, config).get("ticks") == 900, timeout_s=60)
    assert not list(bus.read_all(config, "dead_letters"))


def test_bad_records_stay_outside_and_do_not_hold_up_the_good_ones(config: Settings, query: StreamingQuery) -> None:
    good = codec.encode(headline(1))
    bad = [b"", b"{}", good.replace(b'["AAPL"]', b"[1]"), good.replace(b'"h1"', b'""'), good.replace(b'"v":1', b'"v":2')]
    send(config, (Outgoing("headlines", b"key", value) for value in (*bad, good)))
    send(config, (Outgoing("features", b"key", value) for value in (b"x", b"{}", codec.encode(row(1)))))
    send(config, (Outgoing("ticks", b"key", value) for value in (b"x", codec.encode(tick(1)))))
    query.processAllAvailable()
    assert {topic: held(config, topic).height for topic in ("headlines", "features", "ticks")} == {
        "headlines": 1,
        "features": 1,
        "ticks": 1,
    }
    letters = [codec.decode(DeadLetter, record.value) for record in bus.read_all(config, "dead_letters")]
    assert [letter.topic for letter in letters] == ["ticks"]


def test_a_batch_run_again_replaces_its_own_files(spark: SparkSession, config: Settings) -> None:
    """As after a kill between the last file and the commit: the offsets are planned, the batch is not known as done."""
    send(config, everything(0, 60))
    for _ in range(2):
        running = archive.start(spark, config)
        running.processAllAvailable()
        running.stop()
        commits = list((config.state / "checkpoints" / "lake" / "commits").iterdir())
        assert "0" in {path.name for path in commits}
        for path in commits:  # the checksums beside them, too
            path.unlink()
        for topic in archive.SCHEMAS:
            assert_frame_equal(raw(config, topic), expected(config, topic))


def test_a_lake_that_cannot_be_written_is_one_sentence_and_nothing_is_lost(config: Settings) -> None:
    place = lake.archive_root(config) / "features"
    place.parent.mkdir(parents=True)
    place.write_text("a file where a folder should be")
    send(config, everything(0, 60))
    with archiving(config, stderr=subprocess.PIPE) as process:
        assert (
            f"EnvironmentFault: the lake {place.parent} cannot be written" in process.communicate()[1].decode().splitlines()[-1]
        )
    place.unlink()
    with archiving(config) as process:
        eventually(lambda: archived(config) >= 60 or process.poll() is not None, timeout_s=90, interval_s=0.5)
    for topic in archive.SCHEMAS:
        assert_frame_equal(raw(config, topic), expected(config, topic))


@contextmanager
def archiving(config: Settings, stderr: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKCAST_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.streams.archive_worker"],
        env=environment | config.environment(),
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def archived(config: Settings) -> int:
    """Return how many ticks the archive says that it has finished."""
    events = [codec.decode(Event, record.value) for record in bus.read_all(config, "events")]
    return max((event.counts.get("ticks", 0) for event in events if event.role == "archive"), default=0)


def test_what_is_killed_at_any_point_leaves_every_record_once(config: Settings) -> None:
    chance, sent = random.Random(7), 0  # noqa: S311 - where to kill, not a secret
    for _ in range(KILLS):
        with archiving(config) as process:
            before, more = archived(config), chance.randrange(1, 60)
            while more > 0:  # once a batch is through, some more records come, and then the kill
                more -= archived(config) > before
                sent += 30
                send(config, everything(sent - 30, sent))
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
    with archiving(config) as process:
        eventually(lambda: archived(config) >= sent or process.poll() is not None, timeout_s=90, interval_s=0.5)
    for topic in archive.SCHEMAS:
        assert_frame_equal(held(config, topic), expected(config, topic))
        assert_frame_equal(raw(config, topic), expected(config, topic))
