"""The second Spark application: good records go to the lake, what the feature engine refuses goes to `dead_letters`.

It reads the same topics with the same predicate (`features.tick_reason`): every tick and every sentiment is in the lake and
in the features, or in `dead_letters` with its bytes and the reason. Headlines and feature rows that break the contract
are left to the roles that consume them, which dead-letter them; the lake takes the good ones. Closings are archived too,
as `closes`: ticks and sentiment of the lake give the features again by the batch plan.

Ordinary micro-batches: it may lag, it may not slow the engine. A batch is the same records whenever it is run, and its files
are named by its number and the checkpoint's id, so that a batch run again after a crash replaces its own files
(`streams/lake.py`). Dead letters are at least once; (topic, partition, offset, stage) identifies each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from pathlib import Path

import polars as pl
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from streams import compaction, features, lake, query, spark
from streams.errors import EnvironmentFault
from streams.messages import MAX_TS_US
from streams.settings import Settings

STAGE = "features"
TRIGGER = "2 seconds"
# What a batch brings into this process at most, as Arrow columns: about 100 MB.
LARGEST_BATCH = 300_000
COMPACT_EVERY = 16  # batches
OPTIONS = {"spark.app.name": "tickcast-archive", "spark.driver.memory": "1g"}
HEADLINE_SCHEMA = (
    "v int, event_ts_us long, clock_ts_us long, id string, symbols array<string>, text string, source string, url string, "
    "closes boolean, partitions int"
)
FEATURE_SCHEMA = (
    "v int, minute_ts_us long, symbol string, open double, high double, low double, close double, volume double, n_ticks long, "
    "ma7 double, ma21 double, bars7 int, bars21 int, last_event_ts_us long, revision long, final boolean, flat boolean, "
    "ret double, sent_mean double, sent_n long, sentiment_complete boolean"
)
SCHEMAS = {
    "ticks": features.TICK_SCHEMA,
    "headlines": HEADLINE_SCHEMA,
    "sentiment": features.SENTIMENT_SCHEMA,
    "features": FEATURE_SCHEMA,
}


def _refusals(settings: Settings) -> dict[str, Column]:
    """Return why a decoded record of each topic whose refused ones are dead letters is refused; null for a good one."""
    return {"ticks": features.tick_reason(settings), "sentiment": features.sentiment_reason(settings)}


def _letter(reason: Column, settings: Settings) -> Column:
    """Return a :class:`streams.messages.DeadLetter` as JSON, from a decoded record and why it was refused."""
    fields = {
        "v": F.lit(1),
        "topic": F.substring(F.col("record_topic"), len(settings.topic_prefix) + 1, 1000),
        "partition": F.col("record_partition"),
        "offset": F.col("record_offset"),
        "stage": F.lit(STAGE),
        "error_class": F.split_part(reason, F.lit(":"), F.lit(1)),
        "message": reason,
        "value_base64": F.coalesce(F.base64("record_value"), F.lit("")),
        "key_base64": F.base64("record_key"),
        "headers": F.create_map().cast("map<string,string>"),
        "timestamp_us": F.unix_micros("record_timestamp"),
    }
    return F.to_json(F.struct(*[value.alias(name) for name, value in fields.items()]))


def refused(raw: DataFrame, settings: Settings) -> DataFrame:
    """Return the records for `dead_letters` that the records `raw`, of all inputs of the feature engine, cause."""
    parts = [
        _parsed(raw, topic, settings)
        .where(reason.isNotNull())
        .select(F.lit(topic).cast("binary").alias("key"), _letter(reason, settings).alias("value"))
        for topic, reason in _refusals(settings).items()
    ]
    return reduce(DataFrame.unionByName, parts)


def _parsed(raw: DataFrame, topic: str, settings: Settings) -> DataFrame:
    return features.parse(raw.where(F.col("topic") == settings.topic(topic)), SCHEMAS[topic])


def _is_good(topic: str, settings: Settings) -> Column:
    """Return whether a decoded record of `topic` belongs in the lake."""
    if topic in (refusals := _refusals(settings)):
        return refusals[topic].isNull()
    own = ~F.col("broken") & _is_headline() if topic == "headlines" else _is_final_row()
    return F.coalesce(own & (F.coalesce(F.col("v"), F.lit(1)) == 1), F.lit(False))


def _is_final_row() -> Column:
    """Return whether a decoded object is a final row. Not `broken`: this alone of the topics may have nulls in its messages."""
    whole = [F.col(name).isNotNull() for name in lake.schema("features") if name not in {"v", *lake.optional("features")}]
    return reduce(Column.__and__, whole, F.col("final") & F.col("minute_ts_us").between(0, MAX_TS_US))


def _is_headline() -> Column:
    """Return whether a decoded object keeps the contract of headlines; Spark took elements of any type for texts."""
    symbols = F.variant_get(F.try_parse_json(F.col("record_value").cast("string")), "$.symbols", "variant")
    texts = F.schema_of_variant(symbols).isin("ARRAY<STRING>", "ARRAY<VOID>")
    named = F.forall("symbols", lambda one: F.length(one).between(1, 32))
    times = F.col("event_ts_us").between(0, MAX_TS_US) & F.col("clock_ts_us").between(0, MAX_TS_US)
    identified = F.length("id").between(1, 256) & F.length("source").between(1, 256)
    bits = F.coalesce(F.col("partitions"), F.lit(0)).between(0, 62)
    return texts & named & times & identified & bits & F.col("text").isNotNull()


def _rows(raw: DataFrame, topic: str, settings: Settings) -> pl.DataFrame:
    """Return the rows that the records `raw` add to `topic` of the lake."""
    good = _parsed(raw, topic, settings).where(_is_good(topic, settings)).select(*lake.schema(topic))
    return pl.DataFrame(good.toArrow())


def take(raw: DataFrame, settings: Settings, part: str) -> None:
    """Put one batch of records into the lake, as part `part`, and what the engine refuses into `dead_letters`."""
    raw = raw.persist()
    try:
        counts = {settings.bare_topic(row["topic"]): row["count"] for row in raw.groupBy("topic").count().collect()}
        good = {topic: _rows(raw, topic, settings) for topic in counts}
        if any(counts[topic] > good[topic].height for topic in _refusals(settings) if topic in counts):
            _send(refused(raw, settings), settings)
        for topic, rows in good.items():
            lake.write(settings, topic, rows, part, lake.archive_root(settings))
    finally:
        raw.unpersist()


def _send(letters: DataFrame, settings: Settings) -> None:
    (
        letters.write.format("kafka")
        .option("kafka.bootstrap.servers", settings.broker)
        .option("kafka.max.request.size", str(4 * 1024 * 1024))
        .option("topic", settings.topic("dead_letters"))
        .save()
    )


def _batches(settings: Settings, checkpoint: Path) -> Callable[[DataFrame, int], None]:
    """Return what Spark calls with each batch and its number."""

    def process(raw: DataFrame, batch: int) -> None:
        # The id is the checkpoint's, and so are the numbers: another checkpoint begins at 0 again under another id.
        writer = json.loads((checkpoint / "metadata").read_text())["id"][:8]
        take(raw, settings, lake.Part(writer, batch, batch).name)
        if batch % COMPACT_EVERY == 0:
            _tidy(settings)

    return process


def _tidy(settings: Settings) -> None:
    """Merge what has become many files; where the file system cannot, they stay, and `tickcast lake compact` says why."""
    with suppress(EnvironmentFault):
        for topic in ("ticks", "headlines", "sentiment"):
            compaction.compact_busy(lake.archive_root(settings), topic)


def start(session: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query; it goes on from its checkpoint where there is one."""
    checkpoint = (settings.state / "checkpoints" / "lake").resolve()
    return (
        spark.topic_stream(session, settings, *SCHEMAS, largest_batch=LARGEST_BATCH)
        .writeStream.foreachBatch(_batches(settings, checkpoint))
        .option("checkpointLocation", str(checkpoint))
        .queryName("archive")
        .trigger(processingTime=TRIGGER)
        .start()
    )


def run(settings: Settings, jars: list[Path]) -> None:
    """Run the application until SIGTERM or SIGINT."""
    query.run("archive", settings, start, slots=2, jars=jars, options=OPTIONS)
