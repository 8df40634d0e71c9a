"""Daily bars to rows with features to windows, by PySpark: CSV to Parquet to TFRecord. Runs here and on a cluster.

    OUT/rows/symbol=SYMBOL/*.parquet      a day each: prices, volume, MA7, MA21, return
        windows/symbol=SYMBOL.tfrecord    one Example a window of 50 days: its rows, and the close of the day after
        removed.json                      how many rows the cleaning left out, by symbol and reason

On a cluster, `python -m models.studies.daily_etl SOURCE OUT SYMBOL...` (docs/studies/clusters.md), where both may be `gs://` or
`s3://` addresses that Spark and pyarrow can reach.

    missing   a price or the volume is missing, not finite or not positive, or high and low do not hold open and close
    outlier   the close is `FAR` times the symbol's median |log return| from the day before, and the next day takes back
              `TAKEN_BACK` of that: a bad print. Judging needs the day after, so it is done before `border` alone
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from pyarrow import fs
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from models.studies.daily_files import DAYS, PRICES, VOLUME, Days
from models.training import tfrecord

FEATURES = (*PRICES, "volume", "ma7", "ma21", "ret")
WINDOW = 50
LONGEST_MEAN = 21
FAR, TAKEN_BACK = 25.0, 0.8  # at 15 MSFT on 2020-03-13 would go, which was no bad print
MADE = "symbol string, windows long"


def run(session: SparkSession, source: str, out: str, symbols: Sequence[str], days: Days) -> None:
    """Make rows and windows of `symbols` from `source`/SYMBOL.csv into the empty folder `out`.

    Parameters
    ----------
    days : Days
        The first and the last day, and the first on which no outlier is looked for.
    """
    raw = reduce(DataFrame.union, [_read(session, f"{source}/{symbol}.csv", symbol) for symbol in symbols])
    judged = marked(raw.where(F.col("date").between(*days[:2])), days[2]).cache()
    removed = judged.where("removed is not null").groupBy("symbol", "removed").count().collect()
    rows = with_features(judged.where("removed is null").drop("removed"))
    rows.repartition("symbol").write.partitionBy("symbol").parquet(f"{out}/rows")
    _place(out).create_dir(f"{_path(out)}/windows")
    session.read.parquet(f"{out}/rows").groupBy("symbol").applyInPandas(_cutter(out), MADE).collect()
    counts = [{"symbol": row["symbol"], "reason": row["removed"], "rows": row["count"]} for row in removed]
    with _place(out).open_output_stream(f"{_path(out)}/removed.json") as file:
        file.write(json.dumps(counts).encode())


def _read(session: SparkSession, path: str, symbol: str) -> DataFrame:
    """Return a file's rows, its columns found by name, whatever their order; the first is the date."""
    raw = session.read.option("header", "true").csv(path)
    volume = next(name for name in VOLUME if name in raw.columns)
    numbers = [F.expr(f"try_cast(`{name}` as double)").alias(name) for name in PRICES]
    date = F.expr(f"try_cast(substr(`{raw.columns[0]}`, 1, 10) as date)").alias("date")
    return raw.select(date, F.lit(symbol).alias("symbol"), *numbers, F.expr(f"try_cast(`{volume}` as double)").alias("volume"))


def marked(rows: DataFrame, border: str) -> DataFrame:
    """Return `rows`, a day once, with `removed`: why the day is left out, null where it is not."""
    once = rows.where("date is not null").dropDuplicates(["symbol", "date"])
    judged = once.withColumn("missing", _is_missing())
    whole = Window.partitionBy("symbol", "missing").orderBy("date")
    move = F.log("close") - F.log(F.lag("close").over(whole))
    moved = judged.withColumn("came", F.when(~F.col("missing"), move))
    known = F.when(F.col("date") < F.lit(border).cast("date"), F.abs("came"))
    usual = moved.withColumns(
        {"went": F.lead("came").over(whole), "usual": F.median(known).over(Window.partitionBy("symbol", "missing"))}
    )
    reason = F.when(F.col("missing"), "missing").when(_is_outlier(border), "outlier")
    return usual.withColumn("removed", reason).drop("missing", "came", "went", "usual")


def _is_missing() -> Column:
    broken = [F.col(name).isNull() | F.isnan(name) | (F.col(name) <= 0) | (F.col(name) == float("inf")) for name in PRICES]
    volume = F.col("volume").isNull() | F.isnan("volume") | (F.col("volume") < 0)
    slack = 1 + 1e-9  # adjusted prices are products, and rounded
    bar = (F.col("low") > F.least("open", "close") * slack) | (F.col("high") * slack < F.greatest("open", "close"))
    return F.coalesce(reduce(Column.__or__, [*broken, volume, bar]), F.lit(True))


def _is_outlier(border: str) -> Column:
    far = F.abs("came") > FAR * F.col("usual")
    back = (F.signum("went") == -F.signum("came")) & (F.abs("went") >= TAKEN_BACK * F.abs("came"))
    return F.coalesce(far & (F.col("usual") > 0) & back & (F.col("date") < F.lit(border).cast("date")), F.lit(False))


def with_features(rows: DataFrame) -> DataFrame:
    """Return clean rows with `ma7`, `ma21` and `ret`; the first 20 of a symbol, whose means are of less, are left out."""
    by_day = Window.partitionBy("symbol").orderBy("date")
    means = {f"ma{days}": F.avg("close").over(by_day.rowsBetween(1 - days, 0)) for days in (7, LONGEST_MEAN)}
    made = rows.withColumns({**means, "ret": F.col("close") / F.lag("close").over(by_day) - 1, "at": F.row_number().over(by_day)})
    return made.where(F.col("at") >= LONGEST_MEAN).select("date", "symbol", *FEATURES)


def _cutter(out: str) -> Callable[[Any], Any]:
    """Return what a Spark worker does with all rows of one symbol; by pandas, as clusters still run Spark 3.5."""

    def cut(table: Any) -> Any:
        rows = pl.from_pandas(table).sort("date")
        held = io.BytesIO()
        count = tfrecord.write_to(held, _examples(rows))
        with _place(out).open_output_stream(f"{_path(out)}/windows/symbol={rows['symbol'][0]}.tfrecord") as file:
            file.write(held.getvalue())
        return pd.DataFrame({"symbol": [rows["symbol"][0]], "windows": [count]})

    return cut


def _examples(rows: pl.DataFrame) -> Iterator[bytes]:
    """Yield a window for each day that has 49 before it and one after it; `day` is the one after, whose close is asked for."""
    values = rows.select(FEATURES).to_numpy().astype("<f8")
    closes, days = rows["close"].to_numpy().astype("<f8"), rows["date"].cast(pl.Int32).to_list()
    for end in range(WINDOW, len(rows)):
        window = np.ascontiguousarray(values[end - WINDOW : end])
        yield tfrecord.example({"rows": window.tobytes(), "next_close": closes[end : end + 1].tobytes(), "day": days[end]})


def _place(out: str) -> Any:
    return fs.FileSystem.from_uri(out)[0] if "://" in out else fs.LocalFileSystem()


def _path(out: str) -> str:
    return str(fs.FileSystem.from_uri(out)[1]) if "://" in out else out


if __name__ == "__main__":
    run(SparkSession.builder.getOrCreate(), sys.argv[1], sys.argv[2], sys.argv[3:], DAYS)
