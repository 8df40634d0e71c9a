"""Messages for the lake, and what the lake makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from streams import bus, codec, lake
from streams.bus import Outgoing
from streams.messages import Features, Headline, Sentiment, Tick
from streams.settings import Settings
from tests.streams.strategies import T0

MINUTE = 60_000_000
SYMBOLS = ("AAPL", "MSFT", "BTC/USDT")
KEYS = {
    "ticks": ["symbol", "seq", "closes"],
    "headlines": ["id"],
    "sentiment": ["symbol", "headline_id"],
    "features": ["symbol", "minute_ts_us"],
}


def tick(number: int) -> Tick:
    at = T0 + number * 1_000_003
    return Tick(
        event_ts_us=at,
        clock_ts_us=at + number % 3,
        symbol=SYMBOLS[number % 3],
        price=100 + number / 7,
        size=0 if number % 10 == 9 else number % 90,
        source="test",
        seq=number,
        closes=number % 10 == 9,
        late=number % 11 == 5,
    )


def headline(number: int) -> Headline:
    at = T0 + number * MINUTE
    closing = number % 4 == 3
    return Headline(
        event_ts_us=at,
        clock_ts_us=at,
        id=f"h{number}",
        symbols=list(SYMBOLS[: number % 4]),
        text="" if closing else f"Shares »rise« {number}\n",
        source="test",
        closes=closing,
        partitions=2 if closing else 0,
    )


def sentiment(number: int) -> Sentiment:
    at = T0 + number * MINUTE
    common = {"event_ts_us": at, "clock_ts_us": at, "headline_id": f"h{number}", "symbol": SYMBOLS[number % 3], "model_id": "m"}
    if number % 4 == 3:
        return Sentiment(**common, closes=True, partition=1, partitions=2)  # type: ignore[arg-type]
    return Sentiment(**common, p_positive=0.7, p_negative=0.1, p_neutral=0.2, score=0.6)  # type: ignore[arg-type]


def row(number: int, revision: int = 1, *, final: bool = True) -> Features:
    price = 100 + number + revision / 8
    return Features(
        minute_ts_us=T0 // MINUTE * MINUTE + number // 3 * MINUTE,
        symbol=SYMBOLS[number % 3],
        open=price,
        high=price,
        low=price,
        close=price,
        volume=number,
        n_ticks=revision,
        ma7=price,
        ma21=price,
        bars7=1,
        bars21=1,
        last_event_ts_us=T0,
        revision=revision,
        final=final,
        flat=False,
        ret=None if number % 5 == 0 else 0.01,
        sent_n=number % 2,
    )


def outgoing(topic: str, messages: Iterable[Any]) -> Iterator[Outgoing]:
    return (bus.outgoing(topic, str(getattr(message, "symbol", "key")), message) for message in messages)


def send(settings: Settings, records: Iterable[Outgoing]) -> int:
    with bus.producing(settings) as client:
        return bus.send_all(client, settings, records)


def expected(settings: Settings, topic: str) -> pl.DataFrame:
    """Return what the lake should hold of `topic`, from the broker itself: of features the finals of highest revision."""
    kind: Any = lake.MESSAGES[topic]
    rows = [msgspec.structs.asdict(codec.decode(kind, record.value)) for record in bus.read_all(settings, topic)]
    frame = pl.DataFrame(rows, schema=lake.schema(topic), orient="row")
    if topic == "features":
        frame = frame.filter("final").sort("revision").unique(KEYS[topic], keep="last")
    return frame.sort(KEYS[topic])


def held(settings: Settings, topic: str) -> pl.DataFrame:
    return lake.read(settings, topic, lake.archive_root(settings)).sort(KEYS[topic])


def raw(settings: Settings, topic: str) -> pl.DataFrame:
    """Return what any reader of Parquet finds in the files, without the product's help."""
    files: list[Path] = sorted((lake.archive_root(settings) / topic).rglob("*"))
    return pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in files if path.is_file()]).sort(KEYS[topic])
