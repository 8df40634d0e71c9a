"""Repeats go, and what is left of a symbol stays in one task, so that nothing overtakes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from streams import repeats

pytestmark = pytest.mark.slow

ROWS = 5_000
SYMBOLS = 40


def _numbered(spark: SparkSession) -> DataFrame:
    symbol = F.concat(F.lit("S"), (F.col("id") % SYMBOLS).cast("string"))
    minute = F.timestamp_micros((F.col("id") % 50 + 1) * 60_000_000)
    return spark.range(ROWS).select(symbol.alias("symbol"), minute.alias("minute"), "id")


def _identified(rows: DataFrame) -> DataFrame:
    return rows.withColumn(
        "identity", F.struct("symbol", F.col("id").cast("string").alias("origin"), (F.col("id") * 7).alias("n"))
    )


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 62])
def test_every_hash_can_be_steered_to_every_task(spark: SparkSession, tasks: int) -> None:
    seed = F.hash("symbol", "minute", "id")
    rows = _numbered(spark).withColumn("home", F.pmod(F.col("id") * 31, F.lit(tasks)).cast("int"))
    steered = rows.withColumn("steer", repeats.steer(seed, F.col("home"), tasks))
    led = F.pmod(F.hash("symbol", "minute", "id", "steer"), F.lit(tasks))
    assert steered.where(led != F.col("home")).count() == 0


def test_spark_drops_repeats_in_the_task_of_their_symbol(spark: SparkSession, tmp_path: Path) -> None:
    tasks = int(spark.conf.get("spark.sql.shuffle.partitions") or 0)
    assert tasks > 1
    _numbered(spark).unionByName(_numbered(spark)).write.parquet(str(tmp_path / "in"))
    rows = spark.readStream.schema("symbol string, minute timestamp, id long").parquet(str(tmp_path / "in"))
    once = repeats.once(_identified(rows).withWatermark("minute", "75 minutes"), tasks)
    query = (
        once.withColumn("task", F.spark_partition_id())
        .writeStream.option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(tmp_path / "out"), format="parquet")
    )
    query.awaitTermination()
    found = pl.from_arrow(spark.read.parquet(str(tmp_path / "out")).toArrow())
    assert isinstance(found, pl.DataFrame)
    assert sorted(found["id"]) == list(range(ROWS))
    assert found.group_by("symbol").agg(pl.col("task").n_unique())["task"].to_list() == [1] * SYMBOLS
    assert found["task"].n_unique() == tasks
