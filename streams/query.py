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

from streams import bus, checkpoint, spark
from streams.errors import EnvironmentFault, TickcastError
from streams.messages import State
from streams.settings import Settings

STATUS_INTERVAL_S = 1.0
BATCH_FAILED = re.compile(r"^[\w.]+\.BatchFailed: (.+)$", re.MULTILINE)  # an exception from Python, as Spark quotes it
DISK = re.compile(r"(No space left on device|Permission denied|Read-only file system|File too large|Disk quota exceeded)")


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
    session = spark.session(settings, slots, jars, options, settings.spark_master)
    query = start(session, settings)
    while query.isActive and not stop.wait(STATUS_INTERVAL_S):
        if again(query):
            query.stop()
            query = start(session, settings)
        status.say(_state(query), query.name or "", read_so_far(query, settings))
    failed = None if stop.is_set() else query.exception()
    failure = failed and _explained(failed, settings)
    query.stop()
    session.stop()
    status.say("failed" if failure else "done", str(failure or "").split("\n")[0])
    status.flush()
    if failure is not None:
        raise failure


def _explained(failure: Exception, settings: Settings) -> Exception:
    """Return why a query failed: what the work on a batch said, else that the disk is at fault, else `failure` itself."""
    if said := BATCH_FAILED.search(str(failure)):
        return EnvironmentFault(said[1])
    # a task that cannot write breaks the connections of the others, and Spark may tell of one of those instead
    disk = DISK.search(str(failure))
    if why := disk[1] if disk else checkpoint.unwritable(settings.state / "checkpoints"):
        return EnvironmentFault(
            f"the checkpoint cannot be written ({why}); mend that, and it goes on from the last one: nothing is lost"
        )
    return failure


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
