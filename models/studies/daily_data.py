"""The daily study's windows, made once by `daily_etl.py` in a process of its own, and checked before anything is made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from models.quiet import stderr_muted
from models.studies import daily_files, pool
from models.studies.base import Tell
from models.studies.daily_files import Days
from models.studies.resume import key_of
from streams.errors import EnvironmentFault, SourceError
from streams.settings import Settings

VERSION = 2  # raise it with every change of `daily_etl.py`
OPTIONS = {"spark.app.name": "tickcast-daily", "spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "4"}
SLOTS = 2
LEAST_DAYS = 120  # windows of 50 days after 20 without a mean, in three parts
SPLITS = (2, 3, 4, 5, 7, 8, 10, 15, 20)
NEAR = 0.06  # how far a day's move may be from a split's ratio, and still be one


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What windows are made of, and where they go."""

    settings: Settings
    folder: str
    out: str
    symbols: tuple[str, ...]
    days: Days


def source(settings: Settings, data: Path, place: Path, symbols: Sequence[str], days: Days) -> Source:
    """Return what is to be made of the files in `data`, under `place`, after a look at each of them.

    Raises
    ------
    SourceError
        A file is missing, damaged, too short, or not adjusted for a split.
    """
    sums = []
    first, last = (date.fromisoformat(day) for day in days[:2])
    for symbol in symbols:
        rows = daily_files.us(data, symbol).filter(pl.col("date").is_between(first, last))
        _check(rows, symbol)
        sums.append(hashlib.sha256((data / daily_files.US / f"{symbol}.csv").read_bytes()).hexdigest())
    key = key_of(str(VERSION), repr(tuple(symbols)), repr(days), *sums)
    return Source(
        settings=settings,
        folder=str(data / daily_files.US),
        out=str(place / f"windows-{key}"),
        symbols=tuple(symbols),
        days=days,
    )


def _check(rows: pl.DataFrame, symbol: str) -> None:
    closes = rows.drop_nulls("close")
    if len(closes) < LEAST_DAYS:
        raise SourceError(f"{symbol} has {len(closes)} days, and {LEAST_DAYS} are needed; add data, or leave it out")
    ratios = closes.select("date", ratio=pl.col("close").shift() / pl.col("close"))
    for day, ratio in ratios.drop_nulls().iter_rows():
        known = [times for times in SPLITS if abs(max(ratio, 1 / ratio) / times - 1) < NEAR] if ratio > 0 else []
        if known:
            raise SourceError(f"{symbol} moved by a factor of {known[0]} on {day}: a split; give prices that are adjusted for it")


def ensure(what: Source, tell: Tell) -> None:
    """Make the windows where they are not there yet; errors as for :func:`make`."""
    pool.each(make, [] if Path(what.out).is_dir() else [what], lambda _done: tell("windows", 0, 1))
    tell("windows", 1, 1)


def make(what: Source) -> None:
    """Make the windows, whole or not at all; for a process of its own, which takes its Spark with it.

    Raises
    ------
    EnvironmentFault
        The disk is full, or the folder cannot be written.
    """
    from models.studies import daily_etl  # noqa: PLC0415 - starts Java
    from streams import spark  # noqa: PLC0415 - as above

    scratch = Path(what.out).with_name(".making")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        with stderr_muted():  # Java says how its log level can be set
            session = spark.session(what.settings, SLOTS, [], OPTIONS)
        daily_etl.run(session, str(Path(what.folder).resolve()), str(scratch.resolve()), what.symbols, what.days)
        session.stop()
        scratch.rename(what.out)
    except OSError as error:
        raise EnvironmentFault(f"the windows in {scratch} cannot be written: {error.strerror}") from error


def removed(what: Source) -> list[dict[str, Any]]:
    """Return how many rows the cleaning left out, by symbol and reason."""
    told: list[dict[str, Any]] = json.loads((Path(what.out) / "removed.json").read_bytes())
    return sorted(told, key=lambda one: (one["symbol"], one["reason"]))


def asked(what: Source) -> Any:
    """Return the days that windows ask for, all symbols together, as numbers since 1970, [N]."""
    made = []
    for symbol in what.symbols:
        rows = pl.read_parquet(Path(what.out) / "rows" / f"symbol={symbol}" / "*.parquet", hive_partitioning=False)
        made.append(rows["date"].sort().cast(pl.Int32).to_numpy()[50:])
    return np.sort(np.concatenate(made))
