"""The feature engine: `ticks` and `sentiment` in, `features` out, as one Spark query that never stops.

Real-time mode handles a tick in milliseconds; micro-batch is the same plan for whoever is far behind: several times the ticks
a second, a second of latency. Both use the same checkpoint, so `auto` changes from one to the other with no gap and no
double effect.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from streams import bus, checkpoint, features, query, spark
from streams.settings import Engine, Settings

INPUTS = ("ticks", "sentiment")
# Records behind at which `auto` takes micro-batches: about 10 s of work for real time here. It must not work off much
# more: the watermark moves at a checkpoint, and partitions read at different paces would be days apart by then.
FAR_BEHIND = 100_000
HEAP = "1g"
PROMPT_MS = 2  # of `Settings.flush_ms`: nothing waits in Kafka's clients
LEAST_FETCH = 65_536  # bytes, where rows may wait for company


def options(settings: Settings) -> dict[str, str]:
    """Return the engine's options of Spark."""
    return {
        "spark.app.name": "tickcast-features",
        "spark.driver.memory": HEAP,
        # a heap that begins small is marked every few seconds, with a pause of up to 90 ms that looks for unused classes
        "spark.driver.extraJavaOptions": f"{spark.JAVA} -Xms{HEAP}",
        # Spark's default of 50 ms is nearly the whole latency of a tick
        "spark.shuffle.streaming.networkBufferMaxWaitTimeMs": str(settings.flush_ms),
    }


def slots(settings: Settings) -> int:
    """Return how many task slots real-time mode takes, one to spare: every task of all stages holds one all the time.

    They are those of two sources and of two shuffles; of one where nobody looks for repeats.
    """
    return (4 if settings.repeats else 3) * settings.partitions + 1


def _fetching(settings: Settings) -> dict[str, str]:
    """Return the options of the Kafka source: where rows may wait, fewer and larger answers of the broker."""
    if settings.flush_ms <= PROMPT_MS:
        return {}
    return {"kafka.fetch.min.bytes": str(LEAST_FETCH), "kafka.fetch.max.wait.ms": str(settings.flush_ms)}


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
    headed = {"includeHeaders": "true"} if settings.closings else {}  # without closings no row is ever final
    ticks = spark.topic_stream(session, settings, "ticks", options=_fetching(settings) | headed)
    sentiment = spark.topic_stream(session, settings, "sentiment", options=_fetching(settings))
    if settings.closings:
        fleeting = F.array_contains(F.col("headers")["key"], bus.FLEETING_HEADER)
        ticks = ticks.withColumn("fleeting", F.coalesce(fleeting, F.lit(False))).drop("headers")
    return features.good_ticks(ticks, settings), features.good_sentiment(sentiment, settings)


def folder(settings: Settings) -> Path:
    """Return where the engine's checkpoint is."""
    return (settings.state / "checkpoints" / "features").resolve()


def start(session: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query in the engine of `settings` (not `auto`); it goes on from its checkpoint where there is one.

    Raises
    ------
    EnvironmentFault
        The checkpoint was made by other features or for another number of partitions, or cannot be written.
    """
    version = features.version(repeats=settings.repeats)
    checkpoint.prepare(folder(settings), {"features": version, "partitions": settings.partitions})
    rows = features.features(*good_inputs(session, settings), closings=settings.closings, repeats=settings.repeats)
    # In real-time mode the trigger is the checkpoint interval, not the latency. A checkpoint pauses the stream for 1.3 to
    # 1.8 s here, so at the default of 5 minutes it touches 1 tick in 200.
    realtime = {"realTime": f"{settings.checkpoint_s} seconds"}
    trigger = realtime if settings.engine == "realtime" else {"processingTime": "0 seconds"}
    return (
        outputs(rows, settings.topic("features"))
        .writeStream.format("kafka")
        .options(**spark.broker_options(settings))
        .option("kafka.linger.ms", str(max(0, settings.flush_ms - PROMPT_MS)))
        .option("checkpointLocation", str(folder(settings)))
        .queryName(settings.engine)
        .outputMode("update")
        .trigger(**trigger)
        .start()
    )


class Gear:
    """Which engine runs: the chosen one, or for `auto` real time, and micro-batches while far behind."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._judged = -1
        self.engine: Engine = self._wanted() if settings.engine == "auto" else settings.engine

    def start(self, session: SparkSession, settings: Settings) -> StreamingQuery:
        """Start the query in the current gear."""
        return start(session, msgspec.structs.replace(settings, engine=self.engine))

    def shift(self, running: StreamingQuery) -> bool:
        """Return whether `running` should be stopped and another one started; asked often, judges after each batch."""
        progress = running.lastProgress
        if self._settings.engine != "auto" or progress is None or progress.batchId == self._judged:
            return False
        self._judged = progress.batchId
        before, self.engine = self.engine, self._wanted()
        return self.engine != before

    def _wanted(self) -> Engine:
        return "microbatch" if self._behind() > FAR_BEHIND else "realtime"

    def _behind(self) -> int:
        """Return how many records the finished batches have not seen."""
        done = checkpoint.finished_offsets(folder(self._settings))
        with closing(bus.consumer(self._settings)) as client:
            places = bus.partitions_of(client, self._settings, *INPUTS)
            oldest, ends = client.beginning_offsets(places), client.end_offsets(places)
        seen = {place: done.get(place.topic, {}).get(place.partition, oldest[place]) for place in places}
        return sum(max(0, ends[place] - seen[place]) for place in places)


def run(settings: Settings, jars: list[Path]) -> None:
    """Run the engine until SIGTERM or SIGINT; raise what made the query fail."""
    bus.ensure_topics(settings)
    gear = Gear(settings)
    query.run("stream", settings, gear.start, slots=slots(settings), jars=jars, options=options(settings), again=gear.shift)
