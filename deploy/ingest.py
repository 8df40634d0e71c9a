"""Years of history from files into the lake, by the paths that live data takes: closings, the one definition of the features.

Ticks become `ticks` with their closings, and features. Bars become `bars`; those of a minute also give features: a bar is
taken for four trades (open, high, low, close, the volume on the last), so that the engine's bar equals the file's, and `n_ticks`
counts the bar's four prices. Daily bars give no features, which are of minutes. No sentiment is known of files.

What a file becomes is named by its contents: the same file taken again replaces what it gave.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from rich.console import Console

from deploy import roles
from producers import prints, table
from producers.base import Event, SessionEnd, Trade
from producers.closings import Closer
from producers.prints import Prints
from producers.replay import SESSION_GAP_US
from producers.table import Table, Wanted
from streams import codec, features, lake, spark
from streams.bus import Outgoing
from streams.clock import SECOND_US
from streams.messages import Headline, Sentiment, Tick
from streams.settings import Settings

OPTIONS = {"spark.app.name": "tickcast-ingest", "spark.driver.memory": "1500m"}
CHUNK = 200_000  # records in memory at once
MAX_SIZE = 1e9  # of a tick; the contract's
PRICE_OFFSETS_US = {"open": 0, "high": 20 * SECOND_US, "low": 40 * SECOND_US, "close": 60 * SECOND_US - 1}


class Ingested(NamedTuple):
    """How many rows each topic of the lake was given."""

    ticks: int
    bars: int
    features: int


def run(settings: Settings, paths: Sequence[Path], wanted: Wanted, console: Console, keep: Prints = "all") -> Ingested:
    """Take the files into the lake; each is said in a few lines. Nothing is written when one of them cannot be read.

    Where `keep` is `regular`, ticks that no bar may take are marked (`producers/prints.py`): the lake has them, features do not.
    """
    tables = [table.load(path, wanted) for path in paths]
    for one in tables:
        for line in table.described(one):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        flowing = [one for one in tables if one.rows.height and one.interval_s in {0, 60}]
        for number, one in enumerate(flowing):
            flow(one, Path(scratch), f"{number}", keep)
        bars = sum(_write_bars(settings, one) for one in tables if one.kind == "ohlcv")
        ticks = sum(_write_ticks(settings, one, Path(scratch), number) for number, one in enumerate(flowing))
        rows = batch_features(settings, Path(scratch)) if flowing else 0
    return Ingested(ticks, bars, rows)


def part_name(one: Table) -> str:
    """Return the name of the files that the lake gets from a file: the same for the same bytes."""
    return f"file-{hashlib.sha256(one.path.read_bytes()).hexdigest()[:12]}"


def source_name(one: Table) -> str:
    """Return what the rows' `source` says."""
    return f"file:{one.path.name}"[:256]


def _write_bars(settings: Settings, one: Table) -> int:
    rows = one.rows.rename({"ts_us": "start_ts_us"}).with_columns(
        interval_s=pl.lit(one.interval_s), source=pl.lit(source_name(one))
    )
    lake.forget(settings, "bars", part_name(one))
    return lake.write(settings, "bars", rows, part_name(one))


def _write_ticks(settings: Settings, one: Table, scratch: Path, number: int) -> int:
    if one.kind != "ticks":
        return 0
    lake.forget(settings, "ticks", part_name(one))
    rows = pl.read_parquet(scratch / "ticks" / f"{number}-*.parquet")
    lake.write(settings, "ticks", rows, part_name(one))
    return int((~rows["closes"]).sum())


def flow(one: Table, scratch: Path, name: str, keep: Prints = "all") -> None:
    """Write what the file's rows cause, as parts SCRATCH/ticks/NAME-N.parquet and SCRATCH/sentiment/NAME-N.parquet."""
    closer = Closer(source_name(one), partitions=1)
    marked = prints.marked(events(one)) if keep == "regular" else events(one)
    records = (record for event in marked for record in closer.records(event))
    for number, chunk in enumerate(iter(lambda: list(islice(records, CHUNK)), [])):
        _write_messages(scratch / "ticks" / f"{name}-{number:06d}.parquet", "ticks", list(_ticks(chunk)))
        _write_messages(scratch / "sentiment" / f"{name}-{number:06d}.parquet", "sentiment", list(_sentiments(chunk)))


def _write_messages(path: Path, topic: str, messages: Sequence[msgspec.Struct]) -> None:
    path.parent.mkdir(exist_ok=True)
    values = [msgspec.structs.astuple(message) for message in messages]
    pl.DataFrame(values, schema=lake.schema(topic), orient="row").write_parquet(path)


def _ticks(records: Sequence[Outgoing]) -> Iterator[Tick]:
    return (codec.decode(Tick, record.value) for record in records if record.topic == "ticks")


def _sentiments(records: Sequence[Outgoing]) -> Iterator[Sentiment]:
    """Yield what the sentiment role makes of the closings: no headline came, and that is known."""
    for record in records:
        if record.topic == "headlines":
            closing = codec.decode(Headline, record.value)
            for symbol in closing.symbols:
                yield Sentiment(
                    event_ts_us=closing.event_ts_us,
                    clock_ts_us=closing.clock_ts_us,
                    headline_id=closing.id,
                    symbol=symbol,
                    model_id="none",
                    closes=True,
                    partitions=1,
                )


def events(one: Table) -> Iterator[Event]:
    """Yield the trades of a file, or the four prices of each of its bars, and the ends of its sessions."""
    clock = 0
    for seq, (ts_us, symbol, price, size, *conditions) in enumerate(trades(one).iter_rows()):
        if clock and ts_us - clock > SESSION_GAP_US:
            yield SessionEnd(clock)
        clock = ts_us
        yield Trade(ts_us, symbol, price, size, seq, *conditions)
    if clock:
        yield SessionEnd(clock)


def trades(one: Table) -> pl.DataFrame:
    """Return ts_us, symbol, price, size, of ticks also conditions, by time; of bars those whose volume a tick can carry."""
    if one.kind == "ticks":
        return one.rows.select("ts_us", "symbol", "price", "size", "conditions")
    bars = one.rows.filter(pl.col("volume") < MAX_SIZE)
    parts = [
        bars.select(
            pl.col("ts_us") + offset,
            "symbol",
            pl.col(name).alias("price"),
            (pl.col("volume") if name == "close" else pl.lit(0.0)).alias("size"),
        )
        for name, offset in PRICE_OFFSETS_US.items()
    ]
    return pl.concat(parts).sort("ts_us", maintain_order=True)


def batch_features(settings: Settings, scratch: Path) -> int:
    """Add the final feature rows of the parts in `scratch` to the lake, by the plan that streams live; return how many."""
    session = spark.session(settings, 2, roles.spark_jars(settings), OPTIONS)
    inputs: list[DataFrame] = [
        session.read.parquet(str(scratch / topic)).withColumn("record_timestamp", F.lit(None).cast("timestamp"))
        for topic in ("ticks", "sentiment")
    ]
    ticks, sentiment = inputs
    final = features.features(ticks.where(F.col("excluded") == ""), sentiment).where("final").select(*lake.schema("features"))
    rows = pl.DataFrame(final.toArrow())
    session.stop()
    return lake.write(settings, "features", rows, "ingested")
