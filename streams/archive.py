"""The second Spark application: what the feature engine refuses goes to `dead_letters`, with its bytes and the reason.

It reads the same topics with the same predicate, negated (`features.tick_reason`), so that every tick and every
sentiment is either in the features or here. Ordinary micro-batches: it may lag, it may not slow the engine.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from streams import features, query, spark
from streams.settings import Settings

STAGE = "features"
TRIGGER = "2 seconds"
OPTIONS = {"spark.app.name": "tickcast-archive", "spark.driver.memory": "768m"}


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


def refused(session: SparkSession, settings: Settings) -> DataFrame:
    """Return the records for `dead_letters`, from all inputs of the feature engine."""
    inputs = {
        "ticks": (features.TICK_SCHEMA, features.tick_reason(settings)),
        "sentiment": (features.SENTIMENT_SCHEMA, features.sentiment_reason(settings)),
    }
    parts = [
        features.parse(spark.topic_stream(session, settings, topic), schema)
        .where(reason.isNotNull())
        .select(F.lit(topic).cast("binary").alias("key"), _letter(reason, settings).alias("value"))
        for topic, (schema, reason) in inputs.items()
    ]
    return reduce(DataFrame.unionByName, parts)


def start(session: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query; it goes on from its checkpoint where there is one."""
    return (
        refused(session, settings)
        .writeStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.broker)
        .option("kafka.max.request.size", str(4 * 1024 * 1024))
        .option("topic", settings.topic("dead_letters"))
        .option("checkpointLocation", str((settings.state / "checkpoints" / "archive").resolve()))
        .queryName("archive")
        .trigger(processingTime=TRIGGER)
        .start()
    )


def run(settings: Settings, jars: list[Path]) -> None:
    """Run the application until SIGTERM or SIGINT."""
    query.run("archive", settings, start, slots=2, jars=jars, options=OPTIONS)
