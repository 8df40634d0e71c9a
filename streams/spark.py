"""Spark sessions of this project, and topics as DataFrames."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from streams import security
from streams.settings import Settings

# RocksDB and format 2 from the first start in both engines: only then can one checkpoint change engines.
STATE = {
    # counting rows costs one more look-up of each key; nobody reads the count
    "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",
    "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    "spark.sql.streaming.stateStore.checkpointFormatVersion": "2",
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    # Spark keeps 100, which at a checkpoint every five minutes is all that came in eight hours; only the last is ever read
    "spark.sql.streaming.minBatchesToRetain": "10",
    # nor wait for as many versions again before the first is removed
    "spark.sql.streaming.ratioExtraSpaceAllowedInCheckpoint": "0",
    # the default starts programs (chmod, readlink) for each file that it writes to a local disk: half of a checkpoint's time
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
}
# Options of Java for every application. One thread for garbage: two cores have none to spare, and real time's latest 1 % were
# two thirds as late as under G1.
JAVA = f"-XX:+UseSerialGC -Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"
QUIET = {
    "spark.driver.extraJavaOptions": JAVA,
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # a page that nobody can open would keep the last thousand plans, each half a megabyte of heap
    "spark.sql.ui.retainedExecutions": "10",
    "spark.ui.retainedJobs": "10",
    "spark.ui.retainedStages": "10",
    "spark.sql.session.timeZone": "UTC",
}


NONE: Mapping[str, str] = {}
LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def session(settings: Settings, slots: int, jars: list[Path], options: Mapping[str, str], master: str = "") -> SparkSession:
    """Return a session with `slots` task slots, in this process or on the cluster `master`, with the Kafka connector's `jars`."""
    merged = (
        STATE
        | QUIET
        | _place(slots, master)
        | {
            "spark.jars": ",".join(str(jar) for jar in jars),
            "spark.sql.shuffle.partitions": str(settings.partitions),
            "spark.sql.warehouse.dir": str((settings.home / "spark-warehouse").resolve()),
        }
        | dict(options)
    )
    builder = SparkSession.builder
    for name, value in merged.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    logging.getLogger("DataFrameQueryContextLogger").disabled = True  # it repeats each exception as a page of JSON
    return spark


def _place(slots: int, master: str) -> dict[str, str]:
    """Return the options that say where tasks run."""
    if not master:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else plain python3, which has none of our packages
        return {"spark.master": f"local[{slots}]"} | LOOPBACK
    # Real-time mode refuses to begin while a slot is missing, and executors take seconds to come up.
    wait = {"minRegisteredResourcesRatio": "1.0", "maxRegisteredResourcesWaitingTime": "60s"}
    return {"spark.master": master, "spark.cores.max": str(slots)} | {
        f"spark.scheduler.{key}": value for key, value in wait.items()
    }


def broker_options(settings: Settings) -> dict[str, str]:
    """Return how Spark's Kafka source and sink reach the broker; they stay in memory, Spark prints none of them."""
    return {"kafka.bootstrap.servers": settings.broker} | {
        f"kafka.{name}": value for name, value in security.of(settings).java().items()
    }


def topic_stream(spark: SparkSession, settings: Settings, *topics: str, options: Mapping[str, str] = NONE) -> DataFrame:
    """Return `topics` as a stream with the columns of Spark's Kafka source, from their beginning; `options` are that source's."""
    return (
        spark.readStream.format("kafka")
        .options(**broker_options(settings))
        .option("groupIdPrefix", settings.topic("spark"))  # rights on the namespace's groups are enough
        .option("subscribe", ",".join(settings.topic(topic) for topic in topics))
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .options(**options)
        .load()
    )
