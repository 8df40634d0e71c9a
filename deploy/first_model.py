"""A cold start's first forecaster: simulated history into the lake, features by the one definition, one training.

The history goes the way that live data goes (closings, sentiment handler, feature plan), only in one batch and without Kafka.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from consumers.base import Handler
from consumers.sentiment import SentimentHandler, unchanging
from deploy import roles
from models import registry
from models.forecaster.recurrent_recipe import NAME
from models.registry import StoredModel
from models.sentiment.base import NAME as OF_HEADLINES
from models.sentiment.base import load
from models.training import dataset, train
from models.training.train import How
from producers.closings import Closer
from producers.market import Market
from producers.simulated import Simulated
from streams import bus, features, lake, spark
from streams.bus import Outgoing, Record
from streams.clock import wall_ts_us
from streams.errors import UserError
from streams.settings import Settings

DAYS = 10
SYMBOLS = 6  # at most: a model is told of no symbol's name, and what it learns from more of them takes longer to make
ENOUGH_WINDOWS = 2_000  # a day of six symbols
BATCH = 512  # headlines scored in one call
OPTIONS = {"spark.app.name": "tickcast-history", "spark.driver.memory": "1500m"}


def ensure(settings: Settings) -> None:
    """Announce the champions; where no forecaster is, make one from the lake, and fill a lake that has too little."""
    status = bus.StatusReporter(settings, "train")
    if registry.promotions(settings, OF_HEADLINES):  # else the one that is installed serves
        _announce(settings, OF_HEADLINES)
    if (champion := _announce(settings, NAME)) is not None:
        status.say("done", f"{champion.card.model_id} is stored already")
    else:
        if windows_in_lake(settings) < ENOUGH_WINDOWS:
            status.say("training", f"simulating {DAYS} days of history")
            ingest(settings)
        train.train(settings, how=How(ablation=False))  # somebody waits for it
    status.flush()


def _announce(settings: Settings, name: str) -> StoredModel | None:
    champion = registry.champion(settings, name)
    if champion is not None:
        reason = next((one.reason for one in reversed(registry.promotions(settings, name))), "the newest stored model")
        with bus.producing(settings) as client:
            registry.announce(settings, champion.announcement(promoted=True, reason=reason), client)
    return champion


def windows_in_lake(settings: Settings) -> int:
    """Return how many windows the lake has to learn from; a market that has just begun has archived a few rows at most."""
    try:
        return len(dataset.window_ends(dataset.final_rows(settings)))
    except UserError:
        return 0


def ingest(settings: Settings) -> int:
    """Fill the lake with the features of `DAYS` simulated sessions of the first `SYMBOLS` symbols; return how many rows."""
    market = Simulated(Market(symbols=settings.symbol_list[:SYMBOLS]))
    closer = Closer("simulated-history", settings.partitions)
    records = [record for event in market.history(DAYS, wall_ts_us()) for record in closer.records(event)]
    handler = SentimentHandler(unchanging(load(settings)))
    sentiment = scored(handler, as_records((r for r in records if r.topic == "headlines"), settings))
    rows = batch_features(settings, [record for record in records if record.topic == "ticks"], sentiment)
    return lake.write(settings, "features", rows, "simulated-history")


def as_records(records: Iterator[Outgoing], settings: Settings) -> list[Record]:
    """Return what a consumer would read had `records` gone through Kafka: partitions and offsets included."""
    offsets: dict[int, int] = defaultdict(int)
    read = []
    for record in records:
        partition = bus.partition_of(record, settings.partitions)
        read.append(Record(record.topic, partition, offsets[partition], record.key, record.value, 0, record.headers))
        offsets[partition] += 1
    return read


def scored(handler: Handler, headlines: list[Record]) -> list[Outgoing]:
    """Return what the sentiment consumer answers to `headlines`."""
    batches = (headlines[at : at + BATCH] for at in range(0, len(headlines), BATCH))
    return [record for batch in batches for record in handler.handle(batch) if record.topic == "sentiment"]


def batch_features(settings: Settings, ticks: list[Outgoing], sentiment: list[Outgoing]) -> pl.DataFrame:
    """Return the final feature rows of bounded `ticks` and `sentiment`, by the plan that streams live."""
    session = spark.session(settings, 2, roles.spark_jars(settings), OPTIONS)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for topic, records in (("ticks", ticks), ("sentiment", sentiment)):
            _kafka_like(records, settings).write_parquet(scratch / f"{topic}.parquet")
        raw_ticks, raw_sentiment = (session.read.parquet(str(scratch / f"{topic}.parquet")) for topic in ("ticks", "sentiment"))
        good = features.good_ticks(raw_ticks, settings), features.good_sentiment(raw_sentiment, settings)
        rows = features.features(*good, closings=settings.closings).where("final").drop("ingest")
        rows.coalesce(1).write.parquet(str(scratch / "features"))
        session.stop()
        return pl.read_parquet(scratch / "features" / "*.parquet")


def _kafka_like(records: list[Outgoing], settings: Settings) -> pl.DataFrame:
    """Return `records` with the columns of Spark's Kafka source."""
    return pl.DataFrame(
        {
            "key": [record.key for record in records],
            "value": [record.value for record in records],
            "topic": [record.topic for record in records],
            "partition": [bus.partition_of(record, settings.partitions) for record in records],
            "offset": list(range(len(records))),
            "timestamp": [None] * len(records),
        },
        schema_overrides={"partition": pl.Int32, "timestamp": pl.Datetime("us", "UTC")},
    )
