"""The one definition of the features: DataFrame of ticks and sentiment in, DataFrame of minute rows out.

The same functions run in Spark's real-time mode, in micro-batches and over a batch of history, so batch equals stream.

How rolling features come out of ONE aggregation
------------------------------------------------
A row of symbol S and minute m depends on the ticks of minutes m-20 .. m and on the sentiment of minutes m-59 .. m. Each
input is therefore copied to every minute that it touches (a *contribution*, with its `lag` in minutes), and
contributions are grouped by (symbol, minute). To keep that cheap a trade goes to its own minute only (lag 0); the
*closing* that ends a minute goes to lags 0 .. 20 and carries the minute's last price. A trade that its producer knows to
be late goes to lags 0 .. 35 itself: closings of up to 15 quiet minutes behind it have carried an older price.

`c[k]`, the close k minutes ago, is the price with the greatest (event_ts_us, seq) among contributions of lag k and
more, so a carried price is revised by a late trade too. Whether there was a bar k minutes ago is bit k of a mask, so
session gaps leave no false bars.

Finality rests on order: all that a symbol's closing closes comes from the same source task, in front of it, through the
same task that drops repeats and the same task of the aggregation (`repeats.py`), so a symbol's minutes become final in their
order too. A row is final from the first closing of any of its producers on; what another producer of the symbol brings
afterwards revises it.

A repeat is a tick with the source and seq of another, or a sentiment of the same headline by the same model. It changes nothing.
`Settings.repeats` off looks for none: that is faster, and has next to nothing to remember.

Order and ties: trades of a symbol are ordered by (event_ts_us, seq); where two sources tie in both, by price. Sizes and
scores are summed as scaled integers, because a float sum depends on its order. `revision` counts a row's distinct
contributions: it grows with each and ends the same in whatever order they came.

Producers that send no closings: `Settings.closings` off copies every trade to lags 0 .. 20. That is slower, quiet minutes
have no row, and no row is ever final, because nobody says when a minute is over.
"""

from __future__ import annotations

import hashlib
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from streams import strict_json
from streams.clock import MINUTE_US, SECOND_US
from streams.messages import MAX_TS_US, SUM_TOLERANCE
from streams.repeats import led_home, once
from streams.settings import Settings

BARS = 21
LATEST_MINUTES = 15  # the greatest `Settings.lateness_min`
SENTIMENT_MINUTES = 60
SIZE_SCALE = 100_000_000  # one satoshi
SCORE_SCALE = 1_000_000_000
# 59 minutes is the longest lag, 10 the default lateness; the rest is slack. It only evicts state: what is too late was
# taken out before, by `tick_reason`.
WATERMARK = "75 minutes"
LARGEST_SUM = 2**63 - 1
GROUP = ("symbol", "minute")  # what a row is of; all of a symbol's go through one task
IDENTITY = ("symbol", "lag", "kind", "origin", "number")  # of a contribution to a minute
TRADE, CLOSING, MOOD, MOOD_CLOSING = range(4)  # kinds of contributions

TICK_SCHEMA = (
    "v int, event_ts_us long, clock_ts_us long, symbol string, price double, size double, source string, seq long, "
    "closes boolean, late boolean, excluded string"
)
SENTIMENT_SCHEMA = (
    "v int, event_ts_us long, clock_ts_us long, headline_id string, symbol string, model_id string, p_positive double, "
    "p_negative double, p_neutral double, score double, closes boolean, partition int, partitions int"
)


def parse(raw: DataFrame, schema: str) -> DataFrame:
    """Return the fields of `schema`, decoded from `raw`'s values, beside `raw`'s own columns as `record_*`.

    Parameters
    ----------
    raw : DataFrame
        With the columns of Spark's Kafka source: key, value, topic, partition, offset, timestamp.
    schema : str
        `TICK_SCHEMA` or `SENTIMENT_SCHEMA`.

    Returns
    -------
    DataFrame
        Also with `broken`: the value is not one JSON object, or has a field of another type.
    """
    records = raw.select(*[F.col(name).alias(f"record_{name}") for name in raw.columns])
    text = F.col("record_value").cast("string")
    decoded = records.withColumn("json", strict_json.decode(text, schema))
    judged = decoded.withColumn("broken", strict_json.is_broken(text, F.col("json"), schema))
    # a generator: Spark would move filters in front of anything else, and decode each message once more for them
    seen = F.explode(F.array(F.struct("broken", F.get("json.messages", F.lit(0)).alias("message"))))
    return judged.select(*records.columns, seen.alias("seen")).select(*records.columns, "seen.broken", "seen.message.*")


def _within(column: str, end: float) -> Column:
    """Return whether a number is from 0 to below `end`; Spark takes NaN for greater than every number."""
    return (F.col(column) >= 0) & (F.col(column) < end)


def _missing(*columns: str) -> Column:
    return reduce(Column.__or__, [F.col(column).isNull() for column in columns])


def _contract_reason(required: tuple[str, ...]) -> Column:
    """Return why a decoded message breaks the contract, in the order in which `streams/codec.py` would say it."""
    return (
        F.when(F.col("record_value").isNull(), "no_value")
        .when(~F.is_valid_utf8(F.col("record_value").cast("string")), "not_json")
        .when(F.col("broken") & ~strict_json.is_json(F.col("record_value").cast("string")), "not_json")
        .when(F.col("broken"), "contract: not one object, or a field of another type")
        .when(F.coalesce(F.col("v"), F.lit(1)) != 1, "contract: unknown version")
        .when(_missing(*required), "contract: a required field is missing")
        .when(~F.col("event_ts_us").between(0, MAX_TS_US), "contract: event_ts_us out of range")
        .when(~F.col("clock_ts_us").between(0, MAX_TS_US), "contract: clock_ts_us out of range")
        .when(~F.length("symbol").between(1, 32), "contract: symbol must have 1 to 32 characters")
    )


def _timing_reason(settings: Settings) -> Column:
    # a tick whose clock, too, is ahead (of the broker's) would push the watermark past everyone else's data
    ahead = F.col("event_ts_us") - F.col("clock_ts_us")
    clock_ahead = F.coalesce(F.col("clock_ts_us") - F.unix_micros("record_timestamp"), F.lit(0))
    return F.when(F.greatest(ahead, clock_ahead) > settings.future_s * SECOND_US, "from_the_future").when(
        ~F.coalesce("closes", F.lit(False)) & (-ahead > settings.lateness_min * MINUTE_US), "too_late"
    )


def tick_reason(settings: Settings) -> Column:
    """Return why a decoded tick goes to `dead_letters`; null for a good one.

    The feature engine takes the rows where this is null and the archive dead-letters the others: one predicate, nothing lost.
    """
    return F.coalesce(
        _contract_reason(("event_ts_us", "clock_ts_us", "symbol", "price", "size", "source", "seq")),
        F.when(~_within("price", 1e12) | (F.col("price") == 0), "contract: price must be a number above 0 and below 1e12")
        .when(~_within("size", 1e9), "contract: size must be a number from 0 to below 1e9")
        .when(~F.length("source").between(1, 256), "contract: source must have 1 to 256 characters")
        .when(F.col("seq") < 0, "contract: seq must not be negative")
        .when(F.length("excluded") > 64, "contract: excluded must have at most 64 characters"),
        _timing_reason(settings),
    )


def sentiment_reason(settings: Settings) -> Column:
    """Return why a decoded sentiment goes to `dead_letters`; null for a good one."""
    return F.coalesce(
        _contract_reason(("event_ts_us", "clock_ts_us", "headline_id", "symbol", "model_id")),
        F.when(~F.length("headline_id").between(1, 256), "contract: headline_id must have 1 to 256 characters")
        .when(~F.length("model_id").between(1, 256), "contract: model_id must have 1 to 256 characters")
        .when(~_or_zero("partitions").between(0, 62), "contract: partitions must be from 0 to 62")
        .when(~_or_zero("partition").between(0, 61), "contract: partition must be from 0 to 61"),
        _scores_reason(),
        _timing_reason(settings),
    )


def _or_zero(column: str) -> Column:
    return F.coalesce(column, F.lit(0))


def _scores_reason() -> Column:
    closing = F.coalesce("closes", F.lit(False))
    three = [_or_zero(name) for name in ("p_positive", "p_negative", "p_neutral")]
    total = three[0] + three[1] + three[2]
    impossible = reduce(Column.__or__, [~probability.between(0, 1) for probability in three])
    return (
        F.when(impossible, "contract: a probability must be from 0 to 1")
        .when(~_or_zero("score").between(-1, 1), "contract: score must be from -1 to 1")
        .when(closing & (_or_zero("partition") >= _or_zero("partitions")), "contract: partition must be below partitions")
        .when(~closing & (F.abs(total - 1) > SUM_TOLERANCE), "contract: the three probabilities must add up to 1")
        .when(
            ~closing & (F.abs(_or_zero("score") - three[0] + three[1]) > SUM_TOLERANCE),
            "contract: score must be p_positive - p_negative",
        )
    )


def good_ticks(raw: DataFrame, settings: Settings) -> DataFrame:
    """Return the decoded ticks of `raw` (columns of Spark's Kafka source) that the engine takes.

    Prints that their producer has excluded from bars are good ticks, which the archive keeps, but make no bar.
    """
    return parse(raw, TICK_SCHEMA).where(tick_reason(settings).isNull() & (F.coalesce("excluded", F.lit("")) == ""))


def good_sentiment(raw: DataFrame, settings: Settings) -> DataFrame:
    """Return the decoded sentiment of `raw` (columns of Spark's Kafka source) that the engine takes."""
    return parse(raw, SENTIMENT_SCHEMA).where(sentiment_reason(settings).isNull())


def _minute_us() -> Column:
    """Return the start of the minute that an input belongs to; a closing belongs to the minute that it ends."""
    at = F.when(F.col("closes"), F.col("clock_ts_us") - MINUTE_US).otherwise(F.col("event_ts_us"))
    return at - at % MINUTE_US


def _exploded(inputs: DataFrame, last_lag: Column) -> DataFrame:
    lagged = inputs.withColumn("lag", F.explode(F.sequence(F.lit(0), last_lag)))
    return lagged.withColumn("minute", F.timestamp_micros(F.col("minute_us") + F.col("lag").cast("long") * MINUTE_US))


def _tick_contributions(ticks: DataFrame, *, closings: bool) -> DataFrame:
    flags = {name: F.coalesce(name, F.lit(False)) for name in ("closes", "late")}
    marked = ticks.withColumns(flags).withColumn("minute_us", _minute_us())
    late_spread = F.when(F.col("late"), BARS - 1 + LATEST_MINUTES).otherwise(0 if closings else BARS - 1)
    spread = F.when(F.col("closes"), BARS - 1).otherwise(late_spread)
    return _exploded(marked, spread).select(
        "symbol",
        "minute",
        "lag",
        F.when(F.col("closes"), CLOSING).otherwise(TRADE).alias("kind"),
        F.col("source").alias("origin"),
        F.col("seq").alias("number"),
        F.struct("event_ts_us", "seq", "price").alias("print"),
        F.round(F.col("size") * SIZE_SCALE).cast("long").alias("amount"),
        F.lit(0).alias("partition"),
        F.lit(0).alias("partitions"),
        (F.col("record_fleeting") if "record_fleeting" in ticks.columns else F.lit(False)).alias("fleeting"),
        "record_timestamp",
    )


def _sentiment_contributions(sentiment: DataFrame) -> DataFrame:
    marked = sentiment.withColumn("closes", F.coalesce("closes", F.lit(False))).withColumn("minute_us", _minute_us())
    spread = F.when(F.col("closes"), 0).otherwise(SENTIMENT_MINUTES - 1)
    return _exploded(marked, spread).select(
        "symbol",
        "minute",
        "lag",
        F.when(F.col("closes"), MOOD_CLOSING).otherwise(MOOD).alias("kind"),
        F.concat_ws("\n", "headline_id", "model_id").alias("origin"),
        F.coalesce("partition", F.lit(0)).cast("long").alias("number"),
        F.lit(None).cast("struct<event_ts_us: bigint, seq: bigint, price: double>").alias("print"),
        F.round(F.col("score") * SCORE_SCALE).cast("long").alias("amount"),
        F.coalesce("partition", F.lit(0)).alias("partition"),
        F.coalesce("partitions", F.lit(0)).alias("partitions"),
        F.lit(None).cast("boolean").alias("fleeting"),
        "record_timestamp",
    )


def _only(kind: int, column: Column | str, lag: int | None = 0) -> Column:
    here = F.col("kind") == kind
    return F.when(here if lag is None else here & (F.col("lag") == lag), F.col(column) if isinstance(column, str) else column)


def _aggregates() -> list[Column]:
    in_window = F.col("print").isNotNull() & (F.col("lag") < BARS)
    closes = [F.max(F.when(F.col("lag") >= k, F.col("print")))["price"] for k in range(BARS)]
    return [
        F.min(_only(TRADE, "print"))["price"].alias("first"),
        F.max(_only(TRADE, "print.price")).alias("highest"),
        F.min(_only(TRADE, "print.price")).alias("lowest"),
        F.try_sum(_only(TRADE, "amount")).alias("amount"),
        F.count(_only(TRADE, "print.price")).alias("n_ticks"),
        F.max(F.col("print.event_ts_us")).alias("last_event_ts_us"),
        F.bit_or(F.when(in_window, F.expr("shiftleft(1, lag)"))).alias("bars"),
        F.count(_only(CLOSING, "print.price")).alias("closings"),
        F.try_sum(_only(MOOD, "amount", None)).alias("score_sum"),
        F.count(_only(MOOD, "amount", None)).alias("sent_n"),
        F.bit_or(_only(MOOD_CLOSING, F.expr("shiftleft(1L, partition)"))).alias("heard"),
        F.max(_only(MOOD_CLOSING, "partitions")).alias("expected"),
        F.bool_and(F.when(F.col("lag") == 0, F.col("fleeting"))).alias("fleeting"),
        F.count(F.lit(1)).alias("revision"),
        F.max("record_timestamp").alias("ingest"),
        *[close.alias(f"c{k}") for k, close in enumerate(closes)],
    ]


def _has_bar(k: int) -> Column:
    return F.expr(f"bars & {1 << k}") != 0


def _bars(n: int) -> Column:
    return F.bit_count(F.expr(f"bars & {(1 << n) - 1}"))


def _mean(n: int) -> Column:
    terms = [F.when(_has_bar(k), F.col(f"c{k}")).otherwise(0.0) for k in range(n)]
    return reduce(Column.__add__, terms) / _bars(n)


def _amount() -> Column:
    """Return the scaled volume; the sum of what no market has (over 92 billion shares in a minute) stops there."""
    return F.when(F.col("n_ticks") == 0, F.lit(0)).otherwise(F.coalesce("amount", F.lit(LARGEST_SUM)))


def _rows(grouped: DataFrame) -> DataFrame:
    heard_all = F.coalesce(F.col("heard") == F.expr("shiftleft(1L, expected) - 1"), F.lit(False))
    final = (F.col("closings") > 0) & heard_all
    return grouped.where(_has_bar(0) & (final | ~F.col("fleeting"))).select(
        F.lit(1).alias("v"),
        F.unix_micros("minute").alias("minute_ts_us"),
        "symbol",
        F.coalesce("first", "c0").alias("open"),
        F.coalesce("highest", "c0").alias("high"),
        F.coalesce("lowest", "c0").alias("low"),
        F.col("c0").alias("close"),
        (_amount() / SIZE_SCALE).alias("volume"),
        "n_ticks",
        _mean(7).alias("ma7"),
        _mean(BARS).alias("ma21"),
        _bars(7).alias("bars7"),
        _bars(BARS).alias("bars21"),
        "last_event_ts_us",
        "revision",
        final.alias("final"),
        (F.col("n_ticks") == 0).alias("flat"),
        F.when(_has_bar(1), F.col("c0") / F.col("c1") - 1).alias("ret"),
        F.when(F.col("sent_n") > 0, F.col("score_sum") / SCORE_SCALE / F.col("sent_n")).alias("sent_mean"),
        "sent_n",
        F.lit(True).alias("sentiment_complete"),
        "ingest",
    )


def version(*, repeats: bool = True) -> str:
    """Return what names the engine's state: another where other columns, or other contributions, go into it."""
    state = (
        [str(column) for column in _aggregates()] + [WATERMARK, *IDENTITY, *GROUP, "steer"] + ([] if repeats else ["no repeats"])
    )
    return hashlib.sha256("\n".join(state).encode()).hexdigest()[:12]


def features(ticks: DataFrame, sentiment: DataFrame, *, closings: bool = True, repeats: bool = True) -> DataFrame:
    """Return the minute rows of good ticks and good sentiment.

    Parameters
    ----------
    ticks, sentiment : DataFrame
        Fields of :class:`streams.messages.Tick` and :class:`streams.messages.Sentiment`, and `record_timestamp`
        (when the broker had the record). Bounded or streaming. Ticks may have `record_fleeting`: of a minute in which it is
        true of all, there is no row until it is final.
    closings : bool
        Whether the producers send closings; see above.
    repeats : bool
        Whether anything may come more than once. Where not, what does all the same counts as often as it comes.

    Returns
    -------
    DataFrame
        Fields of :class:`streams.messages.Features`, and `ingest`: the newest `record_timestamp` behind the row.
    """
    inputs = _tick_contributions(ticks, closings=closings).unionByName(_sentiment_contributions(sentiment))
    identified = inputs.withColumn("identity", F.struct(*IDENTITY)).drop("origin", "number").withWatermark("minute", WATERMARK)
    tasks = int(ticks.sparkSession.conf.get("spark.sql.shuffle.partitions") or 0)
    distinct = once(identified, tasks) if repeats else identified
    return _rows(led_home(distinct, GROUP, tasks).groupBy(*GROUP, "steer").agg(*_aggregates()))
