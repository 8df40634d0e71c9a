"""The minute rows that ticks and sentiment must give, computed in polars from sorted, whole data.

It shares no code with the product and none of its method: no contributions, no closings, no lateness. The bars of a
symbol run from its first trade in a session to the session's end; a minute without a trade repeats the close before it.
"""

from __future__ import annotations

import polars as pl

MINUTE = 60_000_000
KEY = ["symbol", "minute_ts_us"]
EXACT = ["open", "high", "low", "close", "volume", "n_ticks", "bars7", "bars21", "flat", "sent_n"]
NEAR = ["ma7", "ma21", "ret", "sent_mean"]


def minutes(trades: pl.DataFrame, sentiment: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each symbol and minute, sorted.

    Parameters
    ----------
    trades : DataFrame
        symbol, event_ts_us, seq, price, size.
    sentiment : DataFrame
        symbol, event_ts_us, score.
    sessions : DataFrame
        symbol, start_us, end_us: trades of a session lie in [start_us, end_us]; its last minute holds end_us.
    """
    bars = _filled(_grid(trades, sessions), _traded(trades))
    return (
        bars.join(_mean(bars, 7), on=KEY)
        .join(_mean(bars, 21), on=KEY)
        .join(_returns(bars), on=KEY)
        .join(_mood(bars, sentiment), on=KEY)
        .select(*KEY, *EXACT, *NEAR)
        .sort(KEY)
    )


def _minute(column: str) -> pl.Expr:
    return pl.col(column) // MINUTE * MINUTE


def _traded(trades: pl.DataFrame) -> pl.DataFrame:
    ordered = trades.sort("symbol", "event_ts_us", "seq").with_columns(minute_ts_us=_minute("event_ts_us"))
    traded = ordered.group_by(KEY, maintain_order=True).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        satoshis=(pl.col("size") * 1e8).round().cast(pl.Int64).sum(),
        n_ticks=pl.len().cast(pl.Int64),
    )
    # polars divides by multiplying with the rounded reciprocal, which may be off by the last bit; numpy divides
    return traded.with_columns(volume=pl.Series(traded["satoshis"].to_numpy() / 1e8)).drop("satoshis")


def _grid(trades: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    inside = trades.join(sessions, on="symbol").filter(pl.col("event_ts_us").is_between("start_us", "end_us"))
    spans = inside.group_by("symbol", "start_us", "end_us").agg(first=_minute("event_ts_us").min())
    each = spans.with_columns(minute_ts_us=pl.int_ranges("first", _minute("end_us") + MINUTE, MINUTE))
    return each.explode("minute_ts_us").select("symbol", "start_us", "minute_ts_us").sort(KEY)


def _filled(grid: pl.DataFrame, traded: pl.DataFrame) -> pl.DataFrame:
    joined = grid.join(traded, on=KEY, how="left").sort(KEY)
    carried = joined.with_columns(pl.col("close").forward_fill().over("symbol", "start_us", order_by="minute_ts_us"))
    return carried.with_columns(
        *[pl.col(name).fill_null(pl.col("close")) for name in ("open", "high", "low")],
        pl.col("volume").fill_null(0.0),
        pl.col("n_ticks").fill_null(0),
        flat=pl.col("n_ticks").is_null(),
    ).drop("start_us")


def _mean(bars: pl.DataFrame, window: int) -> pl.DataFrame:
    """Return the plain mean of the closes in each row's clock window, and how many they are."""
    lags = pl.DataFrame({"lag": range(window)}, schema={"lag": pl.Int64})
    wanted = bars.select(KEY).join(lags, how="cross").with_columns(at=pl.col("minute_ts_us") - pl.col("lag") * MINUTE)
    closes = bars.select("symbol", "close", at="minute_ts_us")
    pairs = wanted.join(closes, on=["symbol", "at"])
    return pairs.group_by(KEY).agg(pl.col("close").mean().alias(f"ma{window}"), pl.len().cast(pl.Int64).alias(f"bars{window}"))


def _returns(bars: pl.DataFrame) -> pl.DataFrame:
    before = bars.select("symbol", previous="close", minute_ts_us=pl.col("minute_ts_us") + MINUTE)
    joined = bars.join(before, on=KEY, how="left")
    return joined.select(*KEY, ret=(pl.col("close") - pl.col("previous")) / pl.col("previous"))


def _mood(bars: pl.DataFrame, sentiment: pl.DataFrame) -> pl.DataFrame:
    """Return mean and number of the scores of the 60 minutes that end with each row's minute."""
    rows = bars.select(*KEY, begin=pl.col("minute_ts_us") - 59 * MINUTE, end=pl.col("minute_ts_us") + MINUTE)
    pairs = rows.join(sentiment, on="symbol").filter(
        pl.col("event_ts_us") >= pl.col("begin"), pl.col("event_ts_us") < pl.col("end")
    )
    moods = pairs.group_by(KEY).agg(sent_mean=pl.col("score").mean(), sent_n=pl.len().cast(pl.Int64))
    return rows.select(KEY).join(moods, on=KEY, how="left").with_columns(pl.col("sent_n").fill_null(0))
