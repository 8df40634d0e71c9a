"""Which minutes training leaves out, as a Spark plan: what is missing or impossible, and spikes that took themselves back.

Serving never cleans: a forecaster gets what there is. What is left out of training leaves a gap, and no window spans a gap.

    missing   a price or the volume is missing or not finite, or the high is below the low, or does not hold open and close
    spike     the close is over `SPIKE` times the day's median |log return| away from the minute before, and the next minute
              takes back `TAKEN_BACK` of that or more: one bad print made the bar

A day of a symbol is judged by itself, so that a day more changes nothing of the days that are there.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from streams.clock import MINUTE_US

VERSION = 1  # raise it with every change of a rule: all shards are then made anew
SPIKE = 25.0
TAKEN_BACK = 0.8
PRICES = ("open", "high", "low", "close", "ma7", "ma21")


def marked(rows: DataFrame) -> DataFrame:
    """Return final feature rows with `removed`: why training leaves the minute out, null where it does not.

    Parameters
    ----------
    rows : DataFrame
        With the fields of `Features` and `day`, the date of the file that each is from.
    """
    day = Window.partitionBy("symbol", "day")
    judged = rows.withColumn("missing", _is_missing())
    good = judged.withColumn("log_close", F.when(~F.col("missing"), F.log("close")))
    moved = good.withColumns({"came": _move(-1), "went": _move(1)})
    usual = moved.withColumn("usual", F.median(F.abs("came")).over(day))
    return usual.withColumn("removed", F.when(F.col("missing"), "missing").when(_is_spike(), "spike")).drop(
        "missing", "log_close", "came", "went", "usual"
    )


def _is_missing() -> Column:
    broken = [F.col(name).isNull() | F.isnan(name) | (F.col(name) <= 0) for name in PRICES]
    volume = F.col("volume").isNull() | F.isnan("volume") | (F.col("volume") < 0)
    bar = (F.col("low") > F.least("open", "close")) | (F.col("high") < F.greatest("open", "close"))
    infinite = [F.col(name) == float("inf") for name in (*PRICES, "volume")]
    return F.coalesce(reduce(Column.__or__, [*broken, volume, bar, *infinite]), F.lit(True))


def _move(step: int) -> Column:
    """Return the log return from the minute before (-1), or to the minute after (1); null where that is not there."""
    in_order = Window.partitionBy("symbol", "day").orderBy("minute_ts_us")
    adjacent = F.lead("minute_ts_us", step).over(in_order) - F.col("minute_ts_us") == step * MINUTE_US
    return F.when(adjacent, (F.lead("log_close", step).over(in_order) - F.col("log_close")) * step)


def _is_spike() -> Column:
    far = F.abs("came") > SPIKE * F.col("usual")
    back = (F.signum("went") == -F.signum("came")) & (F.abs("went") >= TAKEN_BACK * F.abs("came"))
    return F.coalesce(far & (F.col("usual") > 0) & back, F.lit(False))
