"""`tickcast bench week`: whether the engine stays the same size over a simulated trading week.

The engine runs in real time in this process and gets whole sessions of the simulated market, 300 times as fast as they would
happen. After each checkpoint, and a full garbage collection, its sizes are looked at. A checkpoint comes every 25 minutes of the
market, not every five: between two of them more state comes together than in a live week. The checkpoint's folder reaches its
size after some 60 of them, which are five hours of a live week and four sessions here: the week begins behind sessions that
are not counted.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil
from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import StreamingQueryProgress
from pyspark.sql.streaming.query import StreamingQuery
from rich.console import Console
from rich.table import Table

from deploy import roles
from deploy.bench_engine import own_broker, running_roles
from producers.base import Event, SessionEnd
from producers.market import Market
from producers.pace import AtSpeed, Course
from producers.run import Producing
from producers.simulated import Simulated
from streams import bus, job, spark
from streams.clock import wall_ts_us
from streams.settings import Settings

CHECKPOINT_S = 5  # the shortest that there is
SPEED = 300.0  # a session in 78 s: its 15 checkpoints hold a whole round of what is cleaned up at every tenth
WARM_UP = 3  # sessions before the week: with its first day they hold the checkpoints that the folder takes to fill up
TRADES_A_MINUTE = 60.0  # of each symbol
GROWTH = 1.25  # of the last day's greatest size over the second day's: what differs from day to day stays below it
COUNTED = {"spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "true"}
LOOK_S = 0.5
MIB = 2**20


@dataclass(frozen=True)
class Sizes:
    """How large the engine was at one checkpoint of session `day` (from 0; below it: before the week); sizes in MiB.

    Attributes
    ----------
    state_mib : float
        Memory that the state stores say they use, outside of Java's heap.
    heap_mib : float
        What Java's heap holds after a full garbage collection.
    resident_mib : float
        Memory of the engine's process.
    checkpoint_mib : float
        The checkpoint's folder.
    """

    day: int
    aggregation_rows: int
    repeats_rows: int
    state_mib: float
    heap_mib: float
    resident_mib: float
    checkpoint_mib: float


MEASURES = tuple(name for name in Sizes.__dataclass_fields__ if name != "day")


class Sessions:
    """Whole sessions of a simulated market as a tape; `day` is the number of the session that is being told."""

    live = False
    name = "simulated-week"

    def __init__(self, market: Market, days: int, end_ts_us: int) -> None:
        self.day = 0
        self._events = Simulated(market).history(days, end_ts_us, TRADES_A_MINUTE)

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events; it begins at the beginning, wherever a run before has ended."""
        for event in self._events:
            yield event
            self.day += isinstance(event, SessionEnd)


def run(settings: Settings, days: int, symbols: int, console: Console) -> dict[str, Any]:
    """Return the sizes at all checkpoints, the greatest of each of `days` sessions, and how much the last one's grew."""
    names = ",".join(f"S{number:04d}" for number in range(symbols))
    with own_broker(settings) as broker:
        own = msgspec.structs.replace(broker, engine="realtime", checkpoint_s=CHECKPOINT_S, symbols=names, topic_prefix="week.")
        bus.ensure_topics(own)
        with running_roles(own, "sentiment"), _engine(own) as (session, query):
            samples = _watched(own, session, query, days, console)
    return {"days": days, "symbols": symbols} | judged(samples) | {"samples": [asdict(one) for one in samples]}


@contextmanager
def _engine(own: Settings) -> Iterator[tuple[SparkSession, StreamingQuery]]:
    options = job.options(own) | COUNTED
    session = spark.session(own, job.slots(own), roles.spark_jars(own), options)
    query = job.start(session, own)
    try:
        yield session, query
    finally:
        query.stop()
        session.stop()


def _watched(own: Settings, session: SparkSession, query: StreamingQuery, days: int, console: Console) -> list[Sizes]:
    """Feed the sessions and return the sizes at each checkpoint until all have been told."""
    tape = Sessions(Market(symbols=own.symbol_list), WARM_UP + days, wall_ts_us())
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool, console.status("") as status:
        fed = pool.submit(Producing(own, tape, AtSpeed(Course(SPEED), stop.is_set), stop).run)
        try:
            samples = []
            for progress in _checkpoints(query, fed):
                samples.append(sizes(session, own, progress, min(tape.day - WARM_UP, days - 1)))
                status.update(f"session {samples[-1].day + 1} of {days} (before 1: warming up), {len(samples)} checkpoints")
        finally:
            stop.set()
    fed.result()
    return samples


def _checkpoints(query: StreamingQuery, fed: Future[None]) -> Iterator[StreamingQueryProgress]:
    """Yield what the query says of each checkpoint, up to the first one behind the end of the feeding.

    Raises
    ------
    pyspark.errors.StreamingQueryException
        The query has failed.
    """
    seen, over = -1, False
    while not over:
        time.sleep(LOOK_S)
        if failure := query.exception():
            raise failure
        progress = query.lastProgress
        if progress is not None and progress.batchId > seen:
            seen, over = progress.batchId, fed.done()
            yield progress


def sizes(session: SparkSession, own: Settings, progress: StreamingQueryProgress, day: int) -> Sizes:
    """Return how large the engine is now, just after the checkpoint of `progress`."""
    operators = {each["operatorName"]: each for each in json.loads(progress.json)["stateOperators"]}
    rows = {name: int(each["numRowsTotal"]) for name, each in operators.items()}
    java = session.sparkContext._jvm.java.lang  # type: ignore[union-attr] # noqa: SLF001 - the only way to ask the engine's own process
    java.System.gc()
    return Sizes(
        day=day,
        aggregation_rows=sum(count for name, count in rows.items() if name != "dedupe"),
        repeats_rows=rows.get("dedupe", 0),
        state_mib=round(sum(int(each["memoryUsedBytes"]) for each in operators.values()) / MIB, 2),
        heap_mib=round(java.management.ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed() / MIB, 1),
        resident_mib=round(psutil.Process(java.ProcessHandle.current().pid()).memory_info().rss / MIB, 1),
        checkpoint_mib=round(_folder_bytes(job.folder(own)) / MIB, 2),
    )


def _folder_bytes(folder: Path) -> int:
    return sum(_file_bytes(path) for path in folder.rglob("*"))


def _file_bytes(path: Path) -> int:
    """Return the size of a file; 0 of what is none, or has been cleaned up since it was listed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def judged(samples: list[Sizes]) -> dict[str, Any]:
    """Return the greatest size of each day by measure, the last day's over the second day's, and whether all stay in bounds."""
    days = sorted({one.day for one in samples if one.day >= 0})
    greatest = {name: [max(getattr(one, name) for one in samples if one.day == day) for day in days] for name in MEASURES}
    growth = {name: values[-1] / max(values[:2][-1], 1e-9) for name, values in greatest.items()}
    holds = len(days) > 2 and all(each <= GROWTH for each in growth.values())
    return {"greatest": greatest, "growth": growth, "limit": GROWTH, "holds": holds}


def table(figures: dict[str, Any]) -> Table:
    """Return the figures of :func:`run` for people."""
    shown = Table("greatest of each day", *[f"day {day + 1}" for day in range(figures["days"])], "last / second")
    for name, values in figures["greatest"].items():
        cells = [f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in values]
        shown.add_row(name.replace("_mib", " MiB").replace("_", " "), *cells, f"{figures['growth'][name]:.3f}")
    return shown
