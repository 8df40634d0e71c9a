"""The feature plan over bounded data against the truth of `truth.py`, whatever the order and lateness of the records."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import Column, SparkSession

from deploy.verify import fuzzed, truth
from producers.base import Event, SessionEnd, Trade
from producers.closings import Closer
from producers.replay import Replay
from streams import codec, features
from streams.bus import Outgoing
from streams.errors import BadMessage
from streams.messages import Headline, Message, Sentiment, Tick
from streams.settings import Settings
from tests.streams import bad_values, batch, tapes
from tests.streams.strategies import T0
from tests.streams.tapes import MINUTE, Print, Tape

pytestmark = pytest.mark.slow

Case = TypeVar("Case")

SECOND = 1_000_000
SYMBOLS = 12


@st.composite
def sessions(draw: st.DrawFn, start_us: int) -> tuple[list[Print], int]:
    """Draw a session: few moments, so that times tie; quiet minutes; up to 10 minutes late; its end."""
    length = draw(st.integers(1, 45)) * 3
    moments = draw(st.lists(st.integers(0, length), max_size=25))
    delays = st.one_of(st.just(0), st.integers(0, 600)).map(SECOND.__mul__)
    prices = st.integers(1, 10**6).map(lambda cents: cents / 100)
    sizes = st.one_of(st.integers(0, 10**4).map(float), st.integers(1, 10**9).map(lambda n: n / 10**8))
    later = [Print(start_us + m * 20 * SECOND, draw(prices), draw(sizes), 1 + n, draw(delays)) for n, m in enumerate(moments)]
    prints = [Print(start_us, draw(prices), draw(sizes), 0), *later]
    return prints, max(start_us + length * 20 * SECOND, *(one.arrival_us for one in prints), start_us)


@st.composite
def streams(draw: st.DrawFn, symbol: str) -> Tape:
    """Draw one or two sessions with a gap between them, scores from an hour before, and closings that are missing."""
    first, end_us = draw(sessions(T0 + draw(st.integers(0, 59)) * SECOND))
    second, last_us = draw(sessions((end_us // MINUTE + draw(st.integers(1, 50))) * MINUTE))
    parts = [(first, end_us), (second, last_us)][: draw(st.integers(1, 2))]
    moments = st.integers(T0 - 90 * MINUTE, parts[-1][1])
    scores = draw(st.lists(st.tuples(moments, st.integers(-100, 100).map(lambda n: n / 100)), max_size=12))
    return Tape(symbol, parts, scores, draw(st.frozensets(st.integers(0, 60), max_size=5)))


@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example is a Spark job: shrinking would take an hour
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_order_of_any_stream_gives_the_truth_and_more_data_a_higher_revision(
    spark: SparkSession, tmp_path: Path, data: st.DataObject, seed: int
) -> None:
    every = [data.draw(streams(f"S{number}")) for number in range(SYMBOLS)]
    chance = random.Random(seed)  # noqa: S311 - a test, not a secret
    ticks = [tick for tape in every for tick in tape.ticks()]
    sentiment = [message for tape in every for message in tape.sentiment()]
    # the same records again under other symbols, some of them left out, stand for the state before they arrived
    half = {tape.symbol: chance.random() for tape in every}
    part = [_renamed(tick) for tick in ticks if chance.random() < half[tick.symbol]]
    part_sentiment = [_renamed(message) for message in sentiment if chance.random() < half[message.symbol]]
    both, both_sentiment = tapes.values([*ticks, *part]), tapes.values([*sentiment, *part_sentiment])
    for values in (both, both_sentiment):
        values.extend(chance.sample(values, len(values) // 5))  # repeats
        chance.shuffle(values)
    found = batch.rows(spark, tmp_path, both, both_sentiment)
    whole, before = found.filter(~pl.col("symbol").str.starts_with("P-")), found.filter(pl.col("symbol").str.starts_with("P-"))
    batch.assert_true(whole, truth.minutes(*tapes.facts(every)))
    assert set(whole.filter("final").select(truth.KEY).rows()) == {minute for tape in every for minute in tape.final_minutes()}
    _assert_revisions_tell_what_is_newer(before, whole)


def _renamed(message: Tick | Sentiment) -> Message:
    fields = codec.encode(message).replace(b'"symbol":"', b'"symbol":"P-')
    return codec.decode(type(message), fields)


def _assert_revisions_tell_what_is_newer(before: pl.DataFrame, whole: pl.DataFrame) -> None:
    pairs = before.with_columns(pl.col("symbol").str.strip_prefix("P-")).join(whole, on=truth.KEY, suffix="_whole")
    assert pairs.height == before.height
    fields = [name for name in before.columns if name not in {*truth.KEY, "revision", "ingest"}]
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_whole")) for name in fields)
    assert pairs.filter(pl.col("revision") > pl.col("revision_whole")).is_empty()
    assert pairs.filter(~same & (pl.col("revision") >= pl.col("revision_whole"))).is_empty()


def test_a_late_trade_reaches_every_mean_over_the_quiet_minutes_that_carry_its_price(spark: SparkSession, tmp_path: Path) -> None:
    prints = [Print(T0, 10.0, 1, 0), Print(T0 + MINUTE, 20.0, 1, 1, delay_us=10 * MINUTE)]
    tape = Tape("A", [(prints, T0 + 50 * MINUTE)])
    found = batch.rows(spark, tmp_path, tapes.values(tape.ticks()), tapes.values(tape.sentiment()))
    batch.assert_true(found, truth.minutes(*tapes.facts([tape])))


def test_a_row_is_final_when_its_price_closing_and_all_headline_closings_are_there(spark: SparkSession, tmp_path: Path) -> None:
    trade = {name: Tape(name, [([Print(T0, 10.0, 1, 0)], T0)]).ticks() for name in ("neither", "one", "wrong", "unpriced", "all")}
    ticks = [tick for name, both in trade.items() for tick in both if name != "unpriced" or not tick.closes]
    heard = {
        "neither": [],
        "one": [(1, 2)],
        "wrong": [(0, 3), (2, 3), (2, 3)],
        "unpriced": [(0, 2), (1, 2)],
        "all": [(1, 2), (0, 2)],
    }
    closings = [tapes.heard(name, T0 + MINUTE, *pair) for name, pairs in heard.items() for pair in pairs]
    found = batch.rows(spark, tmp_path, tapes.values(ticks), tapes.values(closings))
    assert dict(found.select("symbol", "final").rows()) == {name: name == "all" for name in trade}


def _forwarded(records: Sequence[Outgoing], scores: Sequence[Sentiment]) -> list[Sentiment]:
    """Return what a sentiment stage makes of the headline closings among `records`, behind `scores`."""
    headlines = [(record.partition, codec.decode(Headline, record.value)) for record in records if record.topic == "headlines"]
    return [
        *scores,
        *(
            tapes.heard(symbol, closing.clock_ts_us, partition or 0, closing.partitions)
            for partition, closing in headlines
            if closing.closes
            for symbol in closing.symbols
        ),
    ]


def _through_closer(events: Sequence[Event]) -> list[Outgoing]:
    closer = Closer("closer", tapes.PARTITIONS)
    return [record for event in events for record in closer.records(event)]


def _tick_values(records: Sequence[Outgoing]) -> list[bytes]:
    return [record.value for record in records if record.topic == "ticks"]


def test_the_closings_of_the_producers_give_the_truth(spark: SparkSession, tmp_path: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - a test, not a secret
    starts = [(f"C{n}", T0, n) for n in range(6)]
    later = [(f"C{chance.randrange(6)}", T0 + chance.randrange(60, 1800) * SECOND, 6 + n) for n in range(120)]
    trades = [
        Trade(at_us, symbol, chance.randrange(1000, 2000) / 100, chance.randrange(500), n) for symbol, at_us, n in starts + later
    ]
    arrivals = sorted(
        trades, key=lambda trade: trade.event_ts_us + (trade.seq % 5 == 0 and trade.seq > 5) * chance.randrange(300) * SECOND
    )
    end_us = T0 + 35 * MINUTE
    records = _through_closer([*arrivals, SessionEnd(end_us)])
    found = batch.rows(spark, tmp_path, _tick_values(records), tapes.values(_forwarded(records, [])))
    rows = [(one.symbol, one.event_ts_us, one.seq, one.price, one.size) for one in trades]
    spans = pl.DataFrame([(f"C{n}", T0, end_us) for n in range(6)], schema=tapes.SESSIONS, orient="row")
    none = pl.DataFrame(schema=tapes.SCORES)
    batch.assert_true(found, truth.minutes(pl.DataFrame(rows, schema=tapes.TRADES, orient="row"), none, spans))
    assert found["final"].all()


def test_a_real_market_day_gives_the_truth(spark: SparkSession, tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "tape-2012-06-21"
    records = _through_closer(list(Replay.of_folder(folder).events()))
    trades = pl.read_csv(folder / "ticks.csv.gz").with_row_index("seq").with_columns(pl.col("size", "price").cast(pl.Float64))
    stories = pl.read_csv(folder / "headlines.csv.gz").with_columns(symbol=pl.col("symbols").str.split(";")).explode("symbol")
    # any deterministic scores do: this is about which headlines count, not about what they say
    moods = stories.select("symbol", "event_ts_us", score=(pl.col("text").str.len_chars() * 37 % 201 - 100.0) / 100)
    scores = [tapes.scored(symbol, at_us, score, f"h{n}") for n, (symbol, at_us, score) in enumerate(moods.rows())]
    found = batch.rows(spark, tmp_path, _tick_values(records), tapes.values(_forwarded(records, scores)))
    span = (trades["event_ts_us"].min(), trades["event_ts_us"].max())
    spans = pl.DataFrame([("AAPL", *span), ("AMZN", *span)], schema=tapes.SESSIONS, orient="row")
    expected = truth.minutes(trades.select("symbol", "event_ts_us", "seq", "price", "size"), moods, spans)
    batch.assert_true(found, expected)
    assert found.height == 780
    assert found.filter("flat")["symbol"].to_list() == ["AMZN"] * 3
    assert found["sent_n"].sum() > 0
    assert found["final"].all()


KINDS: dict[str, tuple[type[Message], Callable[[], dict[str, bytes | None]], str, Callable[[Settings], Column]]] = {
    "ticks": (Tick, bad_values.ticks, features.TICK_SCHEMA, features.tick_reason),
    "sentiment": (Sentiment, bad_values.sentiments, features.SENTIMENT_SCHEMA, features.sentiment_reason),
}
TIMING = {"too_late", "from_the_future"}  # reasons to refuse what keeps the contract


@pytest.mark.parametrize("topic", KINDS)
def test_spark_and_the_codec_refuse_the_same_values(spark: SparkSession, tmp_path: Path, topic: str) -> None:
    values = KINDS[topic][1]()
    said = _reasons(spark, tmp_path, topic, list(values.values()))
    assert _differing(topic, values, said) == {}
    assert {(why or "").split(":")[0] for why in said} - {"", *TIMING} <= {"contract", "no_value", "not_json"}
    assert said[list(values).index("good")] is None


@pytest.mark.parametrize("topic", KINDS)
def test_spark_and_the_codec_refuse_the_same_changed_values(spark: SparkSession, tmp_path: Path, topic: str) -> None:
    """The archive writes the dead letters: a bad value that Spark takes for a good one has none."""
    (aim,) = (aim for aim in fuzzed.AIMS if aim.topic == topic)
    values = {number: record.value for number, record in enumerate(aim.records(5_000, T0, 1)) if record.topic == topic}
    assert _differing(topic, values, _reasons(spark, tmp_path, topic, list(values.values()))) == {}


def _reasons(spark: SparkSession, folder: Path, topic: str, values: Sequence[bytes | None]) -> list[str | None]:
    _, _, schema, reason = KINDS[topic]
    parsed = features.parse(batch.records(spark, folder, topic, values), schema)
    rows = parsed.select("record_offset", reason(Settings()).alias("reason")).orderBy("record_offset").collect()
    return [row.reason for row in rows]


def _differing(topic: str, values: Mapping[Case, bytes | None], said: Sequence[str | None]) -> dict[Case, str | None]:
    """Return what Spark says of the values about which the codec says otherwise."""
    told = zip(values.items(), said, strict=True)
    return {case: why for (case, value), why in told if (_refusal(KINDS[topic][0], value) is None) != (why in {None, *TIMING})}


def _refusal(kind: type[Message], value: bytes | None) -> str | None:
    try:
        codec.decode(kind, value)
    except BadMessage as error:
        return error.error_class
    return None


@pytest.mark.parametrize("topic", KINDS)
def test_a_good_message_among_bad_ones_is_all_that_passes(spark: SparkSession, tmp_path: Path, topic: str) -> None:
    _, cases, schema, reason = KINDS[topic]
    parsed = features.parse(batch.records(spark, tmp_path, topic, list(cases().values())), schema)
    passed = parsed.where(reason(Settings()).isNull()).count()
    refused = parsed.where(reason(Settings()).isNotNull()).count()
    assert passed + refused == len(cases())
    assert passed > 0


def test_too_late_and_from_the_future_begin_one_microsecond_behind_their_bounds(spark: SparkSession, tmp_path: Path) -> None:
    late, ahead = 600 * SECOND, 5 * SECOND
    ages = {late: None, late + 1: "too_late", 0: None, -ahead: None, -ahead - 1: "from_the_future"}
    ticks = [
        codec.encode(Tick(event_ts_us=T0 - age, clock_ts_us=T0, symbol="A", price=1, size=1, source="s", seq=1)) for age in ages
    ]
    parsed = features.parse(batch.records(spark, tmp_path, "ticks", ticks), features.TICK_SCHEMA)
    found = parsed.select("record_offset", features.tick_reason(Settings()).alias("reason")).orderBy("record_offset").collect()
    assert [row.reason for row in found] == list(ages.values())


def test_a_closing_may_repeat_a_price_of_any_age_but_none_of_the_future(spark: SparkSession, tmp_path: Path) -> None:
    ages = {86_400 * SECOND: None, -5 * SECOND - 1: "from_the_future"}
    closings = [
        codec.encode(Tick(event_ts_us=T0 - age, clock_ts_us=T0, symbol="A", price=1, size=0, source="s", seq=1, closes=True))
        for age in ages
    ]
    parsed = features.parse(batch.records(spark, tmp_path, "ticks", closings), features.TICK_SCHEMA)
    found = parsed.select("record_offset", features.tick_reason(Settings()).alias("reason")).orderBy("record_offset").collect()
    assert [row.reason for row in found] == list(ages.values())


def _bars(spark: SparkSession, folder: Path, ticks: Sequence[Message], **options: bool) -> list[tuple[object, ...]]:
    good = features.good_ticks(batch.records(spark, folder, "ticks", tapes.values(ticks)), Settings())
    mood = features.good_sentiment(batch.records(spark, folder, "sentiment", []), Settings())
    rows = features.features(good, mood, **options).orderBy("minute_ts_us").collect()
    return [tuple(row[name] for name in ("open", "high", "low", "close", "volume", "n_ticks", "ma21", "bars21")) for row in rows]


def _tick(seq: int, price: float, at_us: int = T0, **fields: object) -> Tick:
    common = {"clock_ts_us": at_us, "symbol": "A", "size": 1.0, "source": "one"}
    return Tick(event_ts_us=at_us, seq=seq, price=price, **common | fields)  # type: ignore[arg-type]


def test_a_repeated_tick_changes_nothing_volume_included(spark: SparkSession, tmp_path: Path) -> None:
    first, second = _tick(0, 10.0), _tick(1, 11.0)
    assert _bars(spark, tmp_path, [first, second, first, second, first]) == [(10.0, 11.0, 10.0, 11.0, 2.0, 2, 11.0, 1)]


def test_the_same_number_from_another_producer_is_another_trade(spark: SparkSession, tmp_path: Path) -> None:
    """Equal in time and number: the order is by price, whatever came first."""
    high, low = _tick(0, 11.0), _tick(0, 10.0, source="another")
    for order in ([high, low], [low, high]):
        assert _bars(spark, tmp_path, order) == [(10.0, 11.0, 10.0, 11.0, 2.0, 2, 11.0, 1)]


def test_an_excluded_print_makes_no_bar(spark: SparkSession, tmp_path: Path) -> None:
    ticks = [_tick(0, 10.0), _tick(1, 99.0, excluded="average price"), _tick(2, 99.0, T0 + MINUTE, excluded="outlier")]
    assert _bars(spark, tmp_path, ticks) == [(10.0, 10.0, 10.0, 10.0, 1.0, 1, 10.0, 1)]


def test_producers_without_closings_have_their_means_too(spark: SparkSession, tmp_path: Path) -> None:
    """A minute without a trade has no row, and none is final."""
    ticks = [_tick(0, 10.0), _tick(1, 20.0, T0 + MINUTE), _tick(2, 40.0, T0 + MINUTE + 1), _tick(3, 70.0, T0 + 4 * MINUTE)]
    found = [(close, mean, bars) for *_, close, _, _, mean, bars in _bars(spark, tmp_path, ticks, closings=False)]
    assert found == [(10.0, 10.0, 1), (40.0, 25.0, 2), (70.0, 40.0, 3)]


def test_a_volume_that_no_market_has_does_not_turn_into_none(spark: SparkSession, tmp_path: Path) -> None:
    ticks = [_tick(seq, 10.0, size=999_999_999.0) for seq in range(100)]
    ((*_, volume, n_ticks, _, _),) = _bars(spark, tmp_path, ticks)
    assert (volume, n_ticks) == (features.LARGEST_SUM / features.SIZE_SCALE, 100)


def test_a_clock_ahead_of_the_brokers_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """Else one such tick would push the watermark past everyone else's data."""
    arrived_us = int(batch.ARRIVED.timestamp() * SECOND)
    ticks = [_tick(0, 10.0, arrived_us + 5 * SECOND), _tick(1, 10.0, arrived_us + 6 * SECOND)]
    parsed = features.parse(batch.records(spark, tmp_path, "ticks", tapes.values(ticks)), features.TICK_SCHEMA)
    reasons = parsed.select("seq", features.tick_reason(Settings()).alias("reason")).collect()
    assert {row["seq"]: row["reason"] for row in reasons} == {0: None, 1: "from_the_future"}
