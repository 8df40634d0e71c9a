"""The running engine, in both of its modes and through changes between them, on a real broker against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from deploy import bench_week
from deploy.verify import truth
from streams import bus, codec, job
from streams.bus import Outgoing
from streams.clock import MINUTE_US
from streams.messages import Features, Tick
from streams.settings import Engine, Settings
from streams.testing import eventually
from tests.streams import batch, running, tapes
from tests.streams.strategies import T0
from tests.streams.tapes import Tape

pytestmark = pytest.mark.slow


@pytest.fixture
def every() -> list[Tape]:
    return running.all_tapes()


@pytest.fixture(params=[("realtime", True), ("microbatch", True), ("realtime", False)])
def engine(request: pytest.FixtureRequest, config: Settings) -> Settings:
    choice: tuple[Literal["realtime", "microbatch"], bool] = request.param
    return msgspec.structs.replace(config, engine=choice[0], repeats=choice[1])


@pytest.fixture
def query(spark: SparkSession, engine: Settings) -> Iterator[StreamingQuery]:
    started = job.start(spark, engine)
    yield started
    started.stop()


def test_the_newest_row_of_each_minute_is_the_truth_and_final_where_all_closings_are_in(
    engine: Settings, query: StreamingQuery, every: list[Tape]
) -> None:
    running.send(engine, running.records(every))
    final = {minute for tape in every for minute in tape.final_minutes()}
    assert truth.minutes(*tapes.facts(every)).height - len(final) == len(running.SYMBOLS)
    eventually(lambda: query.exception() or running.is_true(engine, every), timeout_s=120, interval_s=1)
    assert query.exception() is None


def test_a_symbol_s_minutes_become_final_in_their_order_however_many_do_at_once(
    spark: SparkSession, engine: Settings, every: list[Tape]
) -> None:
    running.send(engine, running.records(every))
    query = job.start(spark, engine)
    try:
        eventually(lambda: query.exception() or running.is_true(engine, every), timeout_s=120, interval_s=1)
    finally:
        query.stop()
    assert query.exception() is None
    running.assert_final_in_order(engine)


def test_of_a_minute_whose_ticks_are_all_fleeting_only_final_rows_are_told(
    spark: SparkSession, config: Settings, every: list[Tape]
) -> None:
    rushing, other, *_ = running.SYMBOLS
    half_us = T0 + running.MINUTES // 2 * MINUTE_US

    def sent(record: Outgoing) -> Outgoing:
        tick = record.topic == "ticks" and codec.decode(Tick, record.value)
        fleets = tick and tick.symbol == rushing and tick.clock_ts_us <= half_us
        return record._replace(headers=[(bus.FLEETING_HEADER, b"")]) if fleets else record

    own = msgspec.structs.replace(config, engine="realtime")
    query = job.start(spark, own)
    expected = {
        symbol: sorted(minute for one in every for name, minute in one.final_minutes() if name == symbol)
        for symbol in running.SYMBOLS
    }
    try:
        running.send(own, [sent(record) for record in running.records(every)])
        eventually(lambda: query.exception() or running.final_minutes(own) == expected, timeout_s=60, interval_s=1)
    finally:
        query.stop()
    assert query.exception() is None
    rows = [codec.decode(Features, record.value) for record in bus.read_all(own, "features")]
    drafts = {symbol: {row.minute_ts_us for row in rows if row.symbol == symbol and not row.final} for symbol in running.SYMBOLS}
    late = 5 * MINUTE_US  # a trade may come so late, and was then no fleeting one any more
    assert min(drafts[rushing]) >= half_us - late
    assert min(drafts[other]) < half_us - late


def test_an_engine_tells_how_large_it_is(spark: SparkSession, config: Settings, every: list[Tape]) -> None:
    own = msgspec.structs.replace(config, engine="microbatch")
    running.send(own, running.records(every))
    before = {name: spark.conf.get(name) or "" for name in bench_week.COUNTED}
    for name, value in bench_week.COUNTED.items():
        spark.conf.set(name, value)
    query = job.start(spark, own)
    query.processAllAvailable()
    sizes = bench_week.sizes(spark, own, query.recentProgress[-1], 3)
    query.stop()
    for name, value in before.items():
        spark.conf.set(name, value)
    rows = truth.minutes(*tapes.facts(every)).height
    assert sizes.day == 3
    assert sizes.aggregation_rows >= rows
    assert sizes.repeats_rows > sum(len(tape.ticks()) for tape in every)
    assert sizes.heap_mib < sizes.resident_mib
    assert min(sizes.state_mib, sizes.heap_mib, sizes.checkpoint_mib) > 0


def shifted(gear: job.Gear, query: StreamingQuery, to: Engine) -> bool:
    assert query.exception() is None
    return gear.shift(query) and gear.engine == to


def test_auto_works_off_a_backlog_in_micro_batches_and_changes_back_and_forth_without_gap_or_double_effect(
    spark: SparkSession, config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = running.all_tapes()
    own = msgspec.structs.replace(config, engine="auto", checkpoint_s=5)
    records = running.records(every)
    third = len(records) // 3
    monkeypatch.setattr(job, "FAR_BEHIND", third // 2)
    running.send(own, records[:third])
    gear = job.Gear(own)
    query = gear.start(spark, own)
    assert query.name == "microbatch"
    eventually(lambda: shifted(gear, query, "realtime"), timeout_s=60, interval_s=0.5)
    query.stop()
    query = gear.start(spark, own)
    running.send(own, records[third : 2 * third])
    monkeypatch.setattr(job, "FAR_BEHIND", -1)  # from now on everything is far behind
    eventually(lambda: shifted(gear, query, "microbatch"), timeout_s=60, interval_s=0.5)
    query.stop()
    query = gear.start(spark, own)
    running.send(own, records[2 * third :])
    eventually(lambda: query.exception() or running.is_true(own, every), timeout_s=60, interval_s=1)
    query.stop()
    running.assert_final_in_order(own)
    values = {topic: [record.value or b"" for record in bus.read_all(own, topic)] for topic in job.INPUTS}
    plan = batch.rows(spark, tmp_path, values["ticks"], values["sentiment"])
    counted = {key: row.revision for key, row in running.newest(own).items()}
    assert counted == {(symbol, minute): revision for symbol, minute, revision in plan.select(*truth.KEY, "revision").rows()}


def test_real_time_is_the_engine_of_auto_where_nothing_waits(config: Settings) -> None:
    assert job.Gear(msgspec.structs.replace(config, engine="auto")).engine == "realtime"
