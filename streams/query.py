"""Runs one Spark query as a process: until it is asked to stop, or fails, saying on `events` how it is."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from streams import bus, spark
from streams.errors import EnvironmentFault, TickcastError
from streams.messages import State
from streams.settings import Settings

STATUS_INTERVAL_S = 1.0
BATCH_FAILED = re.compile(r"^[\w.]+\.BatchFailed: (.+)$", re.MULTILINE)  # an exception from Python, as Spark quotes it
DISK = re.compile(r"(No space left on device|Permission denied|Read-only file system|File too large|Disk quota exceeded)")
FROM_OUTSIDE = re.compile(f"{BATCH_FAILED.pattern}|{DISK.pattern}", re.MULTILINE)


class BatchFailed(TickcastError):
    """A batch's work could not be done, or was told to stop in the middle of it; the next start does it again."""

    retriable = True


def run(  # noqa: PLR0913 - a process is its name, its query, and what Spark needs to run it
    role: str,
    settings: Settings,
    start: Callable[[SparkSession, Settings], StreamingQuery],
    *,
    slots: int,
    jars: list[Path],
    options: Mapping[str, str],
    again: Callable[[StreamingQuery], bool] = lambda _: False,
) -> None:
    """Start the query of `role` and keep it until SIGTERM or SIGINT; raise what made it fail.

    `again` is asked every second whether the query should be stopped and started anew, from its checkpoint.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    bus.ensure_topics(settings)
    status = bus.StatusReporter(settings, role)
    status.say("starting")
    session = spark.session(settings, slots, jars, options)
    query = start(session, settings)
    while query.isActive and not stop.wait(STATUS_INTERVAL_S):
        if again(query):
            query.stop()
            query = start(session, settings)
        status.say(_state(query), query.name or "", read_so_far(query, settings))
    failure = None if stop.is_set() else query.exception()
    query.stop()
    session.stop()
    status.say("failed" if failure else "done", _reason(failure) if failure else "")
    status.flush()
    if failure is not None:
        raise EnvironmentFault(_reason(failure)) if FROM_OUTSIDE.search(str(failure)) else failure


def _reason(failure: Exception) -> str:
    """Return why a query failed, in one line: what the work on a batch said, else the disk's fault, else Spark's first line."""
    if said := BATCH_FAILED.search(str(failure)):
        return said[1]
    if disk := DISK.search(str(failure)):
        return f"the checkpoint cannot be written ({disk[1]}); mend that, and it goes on from the last one: nothing is lost"
    return str(failure).split("\n")[0]


def _state(query: StreamingQuery) -> State:
    """Return `ready` once the query has begun to process; before that Spark is still planning."""
    begun = query.status["isTriggerActive"] and query.status["message"].startswith("Processing")
    return "ready" if begun or query.lastProgress is not None else "starting"


def read_so_far(query: StreamingQuery, settings: Settings) -> dict[str, int]:
    """Return, for each input topic, the sum of the offsets up to which the query has finished."""
    progress = query.lastProgress
    if progress is None:
        return {}
    ends = [source["endOffset"] or {} for source in json.loads(progress.json)["sources"]]
    return {settings.bare_topic(topic): sum(places.values()) for end in ends for topic, places in end.items()}
