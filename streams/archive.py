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
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import reduce
from pathlib import Path

import polars as pl
from py4j.protocol import Py4JJavaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from streams import compaction, features, lake, query, spark
from streams.errors import EnvironmentFault
from streams.messages import MAX_TS_US
from streams.settings import Settings

STAGE = "features"
TRIGGER = "5 seconds"
# What a batch brings into this process at most, of each topic, as Arrow columns: about 50 MB.
LIMIT = {"maxOffsetsPerTrigger": "200000"}
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
# In rows that are not final, nearly all there are: none of them need be decoded. In a text its quotes would be escaped;
# the engine, which alone writes `features`, puts nothing else into a row that could hold it.
NOT_FINAL = '"final":false'
SCHEMAS = {
    "ticks": features.TICK_SCHEMA,
    "headlines": HEADLINE_SCHEMA,
    "sentiment": features.SENTIMENT_SCHEMA,
    "features": FEATURE_SCHEMA,
}


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


def records(session: SparkSession, settings: Settings) -> DataFrame:
    """Return the four topics as one stream: what the lake takes and what is refused, decoded once.

    Columns are `topic`; `letter`, the dead letter of a refused record, else null; and for each topic a struct of its name with
    the message's fields, null in the rows of the other topics and of refused records.
    """
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), _parts(session, settings))


def _parts(session: SparkSession, settings: Settings) -> Iterator[DataFrame]:
    refusals = {"ticks": features.tick_reason(settings), "sentiment": features.sentiment_reason(settings)}
    others = {"headlines": ~F.col("broken") & _is_headline(), "features": _is_final_row()}
    for topic, schema in SCHEMAS.items():
        raw = spark.topic_stream(session, settings, topic, options=LIMIT)
        if topic == "features":
            raw = raw.where(~F.contains(F.col("value").cast("string"), F.lit(NOT_FINAL)))
        parsed = features.parse(raw, schema)
        if topic in others:
            parsed = parsed.where(others[topic] & (F.coalesce(F.col("v"), F.lit(1)) == 1))
        reasoned = parsed.withColumn("reason", refusals.get(topic, F.lit(None).cast("string")))
        yield reasoned.select(
            F.lit(topic).alias("topic"),
            F.when(F.col("reason").isNotNull(), _letter(F.col("reason"), settings)).alias("letter"),
            F.when(F.col("reason").isNull(), F.struct(*lake.schema(topic))).alias(topic),
        )


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


def take(batch: DataFrame, settings: Settings, part: str) -> None:
    """Put one batch of :func:`records` into the lake, as part `part`, and its dead letters into their topic."""
    rows = pl.DataFrame(batch.withColumn("letter", F.col("letter").isNotNull()).toArrow())
    if rows["letter"].any():
        _send(batch.where(F.col("letter").isNotNull()), settings)
    for topic in SCHEMAS:
        good = rows.filter((pl.col("topic") == topic) & ~pl.col("letter")).select(topic).unnest(topic)
        lake.write(settings, topic, good, part, lake.archive_root(settings))


def _send(refused: DataFrame, settings: Settings) -> None:
    (
        refused.select(F.col("topic").cast("binary").alias("key"), F.col("letter").alias("value"))
        .write.format("kafka")
        .options(**spark.broker_options(settings))
        .option("kafka.max.request.size", str(4 * 1024 * 1024))
        .option("topic", settings.topic("dead_letters"))
        .save()
    )


def _batches(settings: Settings, checkpoint: Path) -> Callable[[DataFrame, int], None]:
    """Return what Spark calls with each batch and its number."""

    def process(batch: DataFrame, number: int) -> None:
        # The id is the checkpoint's, and so are the numbers: another checkpoint begins at 0 again under another id.
        writer = json.loads((checkpoint / "metadata").read_text())["id"][:8]
        try:
            take(batch, settings, lake.Part(writer, number, number).name)
        except Py4JJavaError as error:
            # Spark looks through the text of what is raised here with a pattern that overflows the stack on a long one.
            raise query.BatchFailed(str(error.java_exception).split("\n")[0][:500]) from None
        except (OSError, pl.exceptions.PolarsError) as error:
            place = lake.archive_root(settings)
            raise query.BatchFailed(f"the lake {place} cannot be written ({error}); mend that, and the archive goes on") from None
        if number % COMPACT_EVERY == 0:
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
        records(session, settings)
        .writeStream.foreachBatch(_batches(settings, checkpoint))
        .option("checkpointLocation", str(checkpoint))
        .queryName("archive")
        .trigger(processingTime=TRIGGER)
        .start()
    )


def run(settings: Settings, jars: list[Path]) -> None:
    """Run the application until SIGTERM or SIGINT."""
    query.run("archive", settings, start, slots=2, jars=jars, options=OPTIONS)
