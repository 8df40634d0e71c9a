"""The feature engine: `ticks` and `sentiment` in, `features` out, as one Spark query that never stops.

Real-time mode handles a tick in milliseconds; micro-batch is the same plan for machines or back-fills where
latency does not matter. Both use the same checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from streams import bus, features, query, spark
from streams.settings import Settings

# In real-time mode the trigger is the checkpoint interval, not the latency. A checkpoint pauses the stream for about
# 0.7 s here, so at 5 minutes it touches 1 tick in 400.
CHECKPOINT_INTERVAL = "300 seconds"
OPTIONS = {
    "spark.app.name": "tickcast-features",
    "spark.driver.memory": "1g",
    # the default of 50 ms is nearly the whole latency of a tick
    "spark.shuffle.streaming.networkBufferMaxWaitTimeMs": "2",
}


def outputs(rows: DataFrame, topic: str) -> DataFrame:
    """Return feature rows as records for Spark's Kafka sink: key, value, headers, topic."""
    value = F.to_json(F.struct(*[name for name in rows.columns if name != "ingest"]))
    ingest = F.struct(F.lit(bus.INGEST_HEADER).alias("key"), F.unix_micros("ingest").cast("string").cast("binary").alias("value"))
    return rows.select(
        F.col("symbol").cast("binary").alias("key"),
        value.alias("value"),
        F.array(ingest).alias("headers"),
        F.lit(topic).alias("topic"),
    )


def good_inputs(session: SparkSession, settings: Settings) -> tuple[DataFrame, DataFrame]:
    """Return the streams of ticks and of sentiment that follow the contract and are neither too late nor from the future."""
    ticks, sentiment = (spark.topic_stream(session, settings, topic) for topic in ("ticks", "sentiment"))
    return features.good_ticks(ticks, settings), features.good_sentiment(sentiment, settings)


def start(session: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query; it goes on from its checkpoint where there is one."""
    checkpoint = settings.state / "checkpoints" / "features"
    _clear_unfinished(checkpoint)
    rows = features.features(*good_inputs(session, settings))
    trigger = {"realTime": CHECKPOINT_INTERVAL} if settings.engine == "realtime" else {"processingTime": "0 seconds"}
    return (
        outputs(rows, settings.topic("features"))
        .writeStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.broker)
        .option("kafka.linger.ms", "0")
        .option("checkpointLocation", str(checkpoint.resolve()))
        .queryName("features")
        .outputMode("update")
        .trigger(**trigger)
        .start()
    )


def _clear_unfinished(checkpoint: Path) -> None:
    """Remove a checkpoint of which no batch was ever finished: Spark refuses its state, and it holds nothing to go on from."""
    if checkpoint.exists() and not any((checkpoint / "commits").glob("[0-9]*")):
        shutil.rmtree(checkpoint)


def run(settings: Settings, jars: list[Path]) -> None:
    """Run the engine until SIGTERM or SIGINT; raise what made the query fail."""
    # in real-time mode every task of both stages needs a slot at once: the partitions of two sources, and the shuffle's
    query.run("stream", settings, start, slots=3 * settings.partitions + 1, jars=jars, options=OPTIONS)
