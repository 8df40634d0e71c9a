"""The subscriber library against real brokers: what comes out once, in order and after whatever happens."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from kafka.structs import OffsetAndMetadata

from consumers.subscribe import Options, Subscription, history, subscribe
from deploy.local.broker import Broker
from deploy.local.processes import Process
from streams import bus, settings
from streams.bus import Outgoing
from streams.errors import EnvironmentFault, SettingsError
from streams.messages import Event, Message, Score
from streams.settings import Settings
from streams.testing import eventually
from tests.consumers.console.samples import bar, forecast, headline, score, sent, sentiment

HORIZON_MIN = 5

pytestmark = pytest.mark.timeout(60)


def produce(config: Settings, *messages: Message | Outgoing) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, [message if isinstance(message, Outgoing) else sent(message) for message in messages])


def ids(subscription: Subscription[Any], count: int) -> list[str]:
    return [message.forecast_id for message in islice(subscription, count)]


def made(*minutes: int, symbol: str = "AAPL") -> list[str]:
    return [forecast(minute, symbol=symbol).forecast_id for minute in minutes]


def test_messages_come_typed_in_order_of_their_symbols_only_and_each_once(config: Settings) -> None:
    wanted = [forecast(minute) for minute in range(20)]
    others = [forecast(minute, symbol="MSFT") for minute in range(20)]
    produce(config, *(message for pair in zip(wanted, others, strict=True) for message in pair), *wanted[3:9], forecast(20))
    with subscribe("forecasts", symbols=["AAPL"], since="beginning", settings=config) as forecasts:
        assert list(islice(forecasts, 21)) == [*wanted, forecast(20)]


def test_the_highest_revision_of_a_minute_wins_and_an_older_one_is_not_told(config: Settings) -> None:
    revisions = [bar(0, revision=1, final=False), bar(0, revision=3), bar(0, revision=2, final=False), bar(0, revision=3), bar(1)]
    produce(config, *revisions)
    with subscribe("features", since="beginning", settings=config) as rows:
        assert [(row.minute_ts_us, row.revision) for row in islice(rows, 3)] == [
            (bar(0).minute_ts_us, 1),
            (bar(0).minute_ts_us, 3),
            (bar(1).minute_ts_us, 9),
        ]


def test_closings_and_what_breaks_the_contract_are_left_out(config: Settings, caplog: pytest.LogCaptureFixture) -> None:
    closing_ = msgspec.structs.replace(headline(1), id="c", closes=True, text="", partitions=2)
    produce(config, closing_, Outgoing("headlines", b"h1", b"{nonsense"), headline(1))
    with caplog.at_level(logging.WARNING), subscribe("headlines", symbols=["AAPL"], since="beginning", settings=config) as news:
        assert next(news) == headline(1)
        assert news.malformed <= 1
    assert len(list(bus.read_all(config, "headlines"))) == 3


def test_from_now_on_only_what_comes_and_no_repeat_of_what_came_before(config: Settings) -> None:
    produce(config, forecast(0), forecast(1))
    with subscribe("forecasts", settings=config) as forecasts:
        produce(config, forecast(1), forecast(2))
        assert ids(forecasts, 1) == made(2)


def test_a_group_goes_on_behind_the_last_message_that_was_done(config: Settings) -> None:
    produce(config, *map(forecast, range(10)))
    options = Options(group="reader", since="beginning", settings=config)
    with subscribe("forecasts", **options) as first:
        assert ids(first, 4) == made(0, 1, 2, 3)
    with pytest.raises(ZeroDivisionError), subscribe("forecasts", **options) as second:
        assert ids(second, 2) == made(4, 5)
        raise ZeroDivisionError
    produce(config, forecast(2), forecast(10))  # the stage that made 2 was killed, and told it again
    with subscribe("forecasts", **options) as third:
        assert ids(third, 6) == made(5, 6, 7, 8, 9, 10)
    with subscribe("forecasts", group="another", since="beginning", settings=config) as other:
        assert ids(other, 1) == made(0)


def test_a_place_behind_the_end_is_of_a_topic_that_is_no_more(config: Settings) -> None:
    produce(config, *map(forecast, range(3)))
    client = bus.consumer(config, group_id=config.topic("late"))
    places = bus.partitions_of(client, config, "forecasts")
    client.commit({place: OffsetAndMetadata(10_000, "", -1) for place in places})
    client.close()
    with subscribe("forecasts", group="late", settings=config) as forecasts:
        assert ids(forecasts, 3) == made(0, 1, 2)


def test_a_time_to_begin_at(config: Settings) -> None:
    produce(config, forecast(0))
    between = eventually(lambda: datetime.now(UTC))
    eventually(lambda: datetime.now(UTC) - between > timedelta(milliseconds=5), interval_s=0.001)
    produce(config, forecast(1))
    with subscribe("forecasts", since=between + timedelta(milliseconds=3), settings=config) as forecasts:
        assert ids(forecasts, 1) == made(1)
    with subscribe("forecasts", since=timedelta(hours=1), settings=config) as forecasts:
        assert ids(forecasts, 2) == made(0, 1)


def test_async_for_reads_the_same_and_a_cancelled_wait_loses_nothing(config: Settings) -> None:
    async def read() -> list[str]:
        async with subscribe("forecasts", since="beginning", settings=config) as forecasts:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(forecasts), 0.05)
            await asyncio.to_thread(produce, config, *map(forecast, range(50)))
            return [(await anext(forecasts)).forecast_id for _ in range(50)]

    assert asyncio.run(read()) == made(*range(50))


@pytest.mark.parametrize(
    ("topic", "options", "says"),
    [
        ("moods", {}, "there is no topic 'moods'; there are ticks, headlines"),
        ("ticks", {"since": datetime(2026, 1, 1)}, "has no zone"),  # noqa: DTZ001 - that is the mistake
    ],
)
def test_mistakes_are_one_sentence(config: Settings, topic: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        subscribe(topic, settings=config, **options)


def test_a_missing_broker_or_topic_is_one_sentence(config: Settings, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="no broker runs here"):
        subscribe("ticks", settings=settings.load({}, home=tmp_path / "nothing"))
    with pytest.raises(EnvironmentFault, match="has no topic"):
        subscribe("ticks", settings=msgspec.structs.replace(config, topic_prefix="nobody."))


def test_history_is_a_table_without_repeats(config: Settings) -> None:
    produce(config, *map(forecast, range(5)), *map(forecast, range(3)), forecast(0, symbol="MSFT"))
    table = history("forecasts", symbols=["AAPL"], settings=config)
    assert table["forecast_id"].to_list() == made(0, 1, 2, 3, 4)
    assert table.schema["as_of_ts_us"] == pl.Datetime("us", "UTC")
    assert table["quantiles"].struct.field("0.9").to_list() == [forecast(minute).quantiles["0.9"] for minute in range(5)]
    assert list(table.to_pandas()["mean"]) == [forecast(minute).mean for minute in range(5)]


def test_history_has_the_newest_revision_and_may_be_empty(config: Settings) -> None:
    assert history("features", settings=config).shape == (0, len(bar(0).__struct_fields__))
    produce(config, bar(0, revision=1, final=False), bar(0, 590.0, revision=2), sentiment(1), headline(1))
    assert history("features", settings=config)["close"].to_list() == [590.0]
    assert history("headlines", symbols=["AAPL"], settings=config)["symbols"].to_list() == [["AAPL"]]
    assert history("sentiment", since=datetime.now(UTC) + timedelta(hours=1), settings=config).is_empty()
    produce(config, Event(kind="alert", role="r", wall_ts_us=1), Event(kind="alert", role="r", wall_ts_us=1, counts={"n": 1}))
    assert history("events", settings=config).height == 2


@contextmanager
def collecting(config: Settings) -> Iterator[list[Score]]:
    """Collect what a subscription to `scores` hands out, on a thread, as a program would."""
    got: list[Score] = []
    with closing(subscribe("scores", since="beginning", group="collector", settings=config)) as scores:
        thread = threading.Thread(target=lambda: got.extend(iter_into(scores, got)))
        thread.start()
        try:
            yield got
        finally:
            scores.close()
            thread.join(20)


def iter_into(scores: Subscription[Score], got: list[Score]) -> list[Score]:
    for matured in scores:
        got.append(matured)
    return []


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # kafka-python's, of attempts while the broker is away
def test_neither_a_killed_role_nor_a_restarted_broker_makes_a_gap_or_a_repeat(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "kafka")  # kept log records would keep its errors, and with them its sockets
    config = settings.load({}, home=tmp_path, offline=True)
    broker = Broker(config, tmp_path / "kafka")
    broker.start()
    own = msgspec.structs.replace(config, broker=broker.address)
    bus.ensure_topics(own)
    scorer = Process("score", own)
    try:
        with collecting(own) as got:
            scorer.start()
            produce(own, *matured_by(range(300)))
            eventually(lambda: got, 60)
            scorer.kill()
            broker.stop()
            broker.start()
            produce(own, *matured_by(range(300, 600)))
            eventually(lambda: len(got) >= 600, 60)
            produce(own, score(0), *matured_by([600]))  # a repeat, as a crash may leave it
            eventually(lambda: len(got) > 600, 60)
            assert [told.forecast_id for told in got] == made(*range(601))
    finally:
        scorer.stop()
        broker.stop()
        gc.collect()


def matured_by(minutes: Any) -> list[Message]:
    """Return the forecasts of `minutes` and the final rows that decide them."""
    return [message for minute in minutes for message in (forecast(minute), bar(minute), bar(minute + HORIZON_MIN))]
