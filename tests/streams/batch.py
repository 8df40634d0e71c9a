"""The product's feature rows of a bounded set of records, and their comparison with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from pyspark.sql import DataFrame, SparkSession

from deploy.verify import truth
from streams import features
from streams.settings import Settings

SOURCE: dict[str, pl.DataType | type[pl.DataType]] = {
    "key": pl.Binary,
    "value": pl.Binary,
    "topic": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "timestamp": pl.Datetime("us", "UTC"),
}
ARRIVED = datetime(2026, 1, 5, 15, tzinfo=UTC)


def records(spark: SparkSession, folder: Path, topic: str, values: Sequence[bytes | None]) -> DataFrame:
    """Return `values` as a DataFrame with the columns of Spark's Kafka source; the offset is the place in `values`."""
    rows = [(b"key", value, topic, 0, offset, ARRIVED) for offset, value in enumerate(values)]
    path = folder / f"{topic}-{len(list(folder.glob('*.parquet')))}.parquet"
    pl.DataFrame(rows, schema=SOURCE, orient="row").write_parquet(path)
    return spark.read.parquet(str(path))


def rows(spark: SparkSession, folder: Path, ticks: Sequence[bytes], sentiment: Sequence[bytes]) -> pl.DataFrame:
    """Return what the batch plan makes of the values of the two topics, sorted."""
    settings = Settings()
    good_ticks = features.parse(records(spark, folder, "ticks", ticks), features.TICK_SCHEMA)
    good_sentiment = features.parse(records(spark, folder, "sentiment", sentiment), features.SENTIMENT_SCHEMA)
    plan = features.features(
        good_ticks.where(features.tick_reason(settings).isNull()),
        good_sentiment.where(features.sentiment_reason(settings).isNull()),
    )
    found = pl.from_arrow(plan.toArrow())
    assert isinstance(found, pl.DataFrame)
    return found.sort(truth.KEY)


def assert_true(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Compare rows with the truth: prices, volumes and counts exactly, means to 1e-12 of their size."""
    assert found.select(truth.KEY).sort(truth.KEY).rows() == expected.select(truth.KEY).rows()
    pairs = expected.join(found, on=truth.KEY, suffix="_found")
    for name in truth.EXACT:
        wrong = pairs.filter(pl.col(name).cast(pl.Float64) != pl.col(f"{name}_found").cast(pl.Float64))
        assert wrong.is_empty(), (name, wrong.select(*truth.KEY, name, f"{name}_found"))
    for name in truth.NEAR:
        both = pl.col(name).is_null() & pl.col(f"{name}_found").is_null()
        near = (pl.col(name) - pl.col(f"{name}_found")).abs() <= 1e-12 * pl.max_horizontal(pl.col(name).abs(), _scale(name))
        wrong = pairs.filter(~(both | near.fill_null(False)))
        assert wrong.is_empty(), (name, wrong.select(*truth.KEY, name, f"{name}_found"))


def _scale(name: str) -> pl.Expr:
    """Return the size of the terms of a difference or of a signed sum, which is what its rounding is relative to."""
    return pl.lit(0.0 if name in {"ma7", "ma21"} else 1.0)
