"""From the lake to shards, by PySpark, in parallel by symbol and day: only what the lake changed is made again.

Features are those that `streams/features.py` made when they flowed; windows are cut by `dataset.py`, which serving shares. A
shard is made of three days of its symbol (`shards.py` says why), and says of which bytes, so a day that is added or revised
makes it and its neighbours again, and nothing else. A run that is killed leaves whole shards that the index does not name
yet; the next one makes them again, byte by byte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from models.forecaster.windows import RAW, WINDOW
from models.training import cleaning, dataset, shards
from models.training.dataset import LONGEST
from models.training.shards import Index, Shard
from streams import lake
from streams.clock import MINUTE_US
from streams.errors import EnvironmentFault, UserError
from streams.settings import Settings

SLOTS = 2  # training leaves the other cores to the stages that serve
CHUNK = 120  # shards made between two steps of the progress bar
OPTIONS = {
    "spark.app.name": "tickcast-etl",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": str(2 * SLOTS),
    "spark.sql.adaptive.enabled": "false",  # it would put small days into one task
}
COLUMNS = ("minute_ts_us", "symbol", "revision", *RAW)
RESULT = "symbol string, date string, rows long, removed map<string, long>, runs array<array<long>>, sha256 string"

Tell = Callable[[int, int], None]


class Day(NamedTuple):
    """One symbol and day of the lake: its file, and those of the days beside it."""

    symbol: str
    date: str
    files: tuple[Path, ...]
    source: str


def run(settings: Settings, tell: Tell = lambda _done, _all: None) -> Index:
    """Bring the shards up to date with the lake and return their index; `tell` is called with how many of how many are made.

    Raises
    ------
    UserError
        The lake has no features.
    EnvironmentFault
        The disk is full, or the folder cannot be written.
    """
    place = shards.folder(settings)
    days = list(_days(settings))
    if not days:
        raise UserError(f"there is nothing to train on: {lake.folder(settings, 'features')} has no final feature rows")
    known = {shard.source: shard for shard in shards.read_index(place).shards if (place / shard.file).is_file()}
    due = [day for day in days if day.source not in known]
    made = {day.source: known[day.source] for day in days if day.source in known}
    try:
        made |= {shard.source: shard for shard in _made(settings, due, tell)}
        index = Index(shards=tuple(made[day.source] for day in days))
        _settle(place, index)
    except OSError as error:
        raise EnvironmentFault(f"the shards in {place} cannot be written: {error.strerror}") from error
    return index


def _days(settings: Settings) -> Iterator[Day]:
    """Yield the days of the lake, by symbol and date."""
    found: dict[str, dict[str, Path]] = {}
    with lake.locked(lake.root(settings), shared=True):
        for path in sorted(lake.folder(settings, "features").glob("date=*/symbol=*/*.parquet")):
            symbol = path.parent.name.partition("=")[2]
            found.setdefault(symbol, {})[path.parts[-3].partition("=")[2]] = path
        sums = {path: hashlib.sha256(path.read_bytes()).digest() for paths in found.values() for path in paths.values()}
    rules = f"{cleaning.VERSION} {shards.schema()}".encode()
    for label, paths in sorted(found.items()):
        for day, path in sorted(paths.items()):
            files = tuple(paths[near] for near in _near(day) if near in paths)
            source = hashlib.sha256(rules + label.encode() + day.encode() + b"".join(sums[one] for one in files)).hexdigest()
            yield Day(_symbol(path), day, files, source)


def _symbol(path: Path) -> str:
    return str(pl.scan_parquet(path, hive_partitioning=False).select("symbol").head(1).collect().item())


def _near(day: str) -> tuple[str, ...]:
    return tuple((date.fromisoformat(day) + timedelta(days=step)).isoformat() for step in (-1, 0, 1))


def _made(settings: Settings, due: list[Day], tell: Tell) -> Iterator[Shard]:
    """Make the shards of `due` and yield them."""
    if not due:
        return
    from streams import spark  # noqa: PLC0415 - a JVM, only where something is due

    session = spark.session(settings, SLOTS, [], OPTIONS)
    try:
        for at in range(0, len(due), CHUNK):
            tell(at, len(due))
            chunk = due[at : at + CHUNK]
            sources = {(day.symbol, day.date): day.source for day in chunk}
            for row in _plan(session, shards.folder(settings), chunk).collect():
                found = row.asDict()
                runs = tuple((first, count) for first, count in found.pop("runs"))
                yield Shard(source=sources[row.symbol, row.date], runs=runs, **found)
        tell(len(due), len(due))
    finally:
        session.stop()


def _plan(session: Any, place: Path, chunk: list[Day]) -> Any:
    """Return the plan that makes the shards of `chunk` in `place` and says what they hold."""
    from pyspark.sql import functions as F  # noqa: PLC0415 - as above

    files = sorted({str(file.resolve()) for day in chunk for file in day.files})
    kinds = lake.schema("features")
    columns = ", ".join(f"{name} {_spark_type(kinds[name])}" for name in COLUMNS)
    rows = session.read.schema(columns).parquet(*files)
    dated = rows.withColumn("day", F.to_date(F.timestamp_micros("minute_ts_us")))
    marked = cleaning.marked(dated)
    # a row belongs to the windows that end from 15 minutes before it (as a target) to 49 minutes after it
    reach = [F.col("minute_ts_us") + minutes * MINUTE_US for minutes in (-LONGEST, 0, WINDOW - 1)]
    days = F.array_distinct(F.array(*[F.date_format(F.timestamp_micros(at), "yyyy-MM-dd") for at in reach]))
    wanted = session.createDataFrame([(day.symbol, day.date) for day in chunk], "symbol string, date string")
    grouped = marked.withColumn("date", F.explode(days)).join(F.broadcast(wanted), ["symbol", "date"]).groupBy("symbol", "date")
    return grouped.applyInArrow(_maker(str(place)), RESULT)


def _spark_type(kind: pl.DataType) -> str:
    return {pl.Int64(): "long", pl.Float64(): "double", pl.Boolean(): "boolean", pl.String(): "string"}[kind]


def _maker(place: str) -> Callable[[pa.Table], pa.Table]:
    """Return what a Spark worker does with all rows of one shard."""

    def make(table: pa.Table) -> pa.Table:
        rows = pl.DataFrame(pl.from_arrow(table)).sort("minute_ts_us", "revision")
        rows = rows.unique(["minute_ts_us"], keep="last", maintain_order=True)
        symbol, day = rows["symbol"][0], rows["date"][0]
        own = rows.filter(pl.col("day") == date.fromisoformat(day))
        removed = own["removed"].drop_nulls().value_counts().rows()
        kept = rows.filter(pl.col("removed").is_null())
        ends = dataset.window_ends(kept)
        begins_us = int(pl.Series([day]).str.to_date().dt.epoch("us")[0])
        minutes = kept["minute_ts_us"].to_numpy()[ends]
        here = (minutes >= begins_us) & (minutes < begins_us + 1440 * MINUTE_US)
        examples = dataset.part(kept, ends[here]).examples
        runs = _runs(minutes[here].tolist())
        shard = Shard(symbol=symbol, date=day, source="", rows=len(own), removed=dict(removed), runs=runs, sha256="")
        digest = shards.write(Path(place) / shard.file, examples, minutes[here])
        told = {"symbol": [symbol], "date": [day], "rows": [len(own)], "sha256": [digest]}
        told |= {"removed": [list(removed)], "runs": [[list(run) for run in runs]]}
        return pa.table(told, schema=_RESULT)

    return make


_RESULT = pa.schema(
    {
        "symbol": pa.string(),
        "date": pa.string(),
        "rows": pa.int64(),
        "removed": pa.map_(pa.string(), pa.int64()),
        "runs": pa.list_(pa.list_(pa.int64())),
        "sha256": pa.string(),
    }
)


def _runs(minutes: list[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for minute in minutes:
        if runs and runs[-1][0] + runs[-1][1] * MINUTE_US == minute:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((minute, 1))
    return tuple(runs)


def _settle(place: Path, index: Index) -> None:
    """Write the index, then remove what it does not name."""
    place.mkdir(parents=True, exist_ok=True)
    for name, value in ((shards.SCHEMA, shards.schema()), (shards.INDEX, index)):
        scratch = place / f".{name}.tmp"
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(value)))
        os.replace(scratch, place / name)
    named = {place / shard.file for shard in index.shards}
    for path in place.glob("symbol=*/*"):
        if path not in named:
            path.unlink()
