"""Spark sessions of this project, and topics as DataFrames."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from streams.settings import Settings

# RocksDB and format 2 from the first start in both engines: only then can one checkpoint change engines.
STATE = {
    "spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    "spark.sql.streaming.stateStore.checkpointFormatVersion": "2",
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}
QUIET = {
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
}


def session(settings: Settings, slots: int, jars: list[Path], options: Mapping[str, str]) -> SparkSession:
    """Return a local session with `slots` task slots and the Kafka connector on its class path."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    merged = (
        STATE
        | QUIET
        | {
            "spark.jars": ",".join(str(jar) for jar in jars),
            "spark.sql.shuffle.partitions": str(settings.partitions),
            "spark.sql.warehouse.dir": str((settings.home / "spark-warehouse").resolve()),
        }
        | dict(options)
    )
    builder = SparkSession.builder.master(f"local[{slots}]")
    for name, value in merged.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    logging.getLogger("DataFrameQueryContextLogger").disabled = True  # it repeats each exception as a page of JSON
    return spark


def topic_stream(spark: SparkSession, settings: Settings, *topics: str, largest_batch: int | None = None) -> DataFrame:
    """Return `topics` as a stream with the columns of Spark's Kafka source, from their beginning.

    `largest_batch` is how many records a micro-batch may have at most; None: as many as there are.
    """
    limit = {} if largest_batch is None else {"maxOffsetsPerTrigger": str(largest_batch)}
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", settings.broker)
        .option("subscribe", ",".join(settings.topic(topic) for topic in topics))
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .options(**limit)
        .load()
    )
