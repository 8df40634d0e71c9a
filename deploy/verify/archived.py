"""What the archive has put into the lake, beside what the topics hold: each tick once, of each minute the last final row.

The files are read as any reader of Parquet would, and the topics by a Kafka client: neither by the product's readers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from streams import bus, checkpoint, codec, lake
from streams.messages import DeadLetter, Features, Message, Tick
from streams.settings import Settings

TOPICS = ("ticks", "headlines", "sentiment", "features")


def is_behind(settings: Settings) -> bool:
    """Return whether the archive has not yet finished a batch with the newest records of its topics."""
    done = checkpoint.finished_offsets((settings.state / "checkpoints" / "lake").resolve())
    with closing(bus.consumer(settings)) as client:
        ends = client.end_offsets(bus.partitions_of(client, settings, *TOPICS))
    return any(done.get(place.topic, {}).get(place.partition, 0) < end for place, end in ends.items())


def figures(settings: Settings) -> dict[str, int]:
    """Return how many rows of the lake are missing, too many or wrong; 0 each where it is exact. Dead ticks belong elsewhere."""
    place = lake.archive_root(settings)
    ticks, minutes = (_held(place / topic, topic) for topic in ("ticks", "features"))
    letters = (codec.decode(DeadLetter, record.value) for record in bus.read_all(settings, "dead_letters"))
    dead = {(letter.topic, letter.partition, letter.offset) for letter in letters}
    taken = (record for record in bus.read_all(settings, "ticks") if record[:3] not in dead)
    sent = Counter(msgspec.structs.astuple(codec.decode(Tick, record.value)) for record in taken)
    rows = (codec.decode(Features, record.value) for record in bus.read_all(settings, "features"))
    finals = Counter(msgspec.structs.astuple(row) for row in newest_finals(rows))
    return {
        "lake_ticks": ticks.total(),
        "lake_ticks_missing": (sent - ticks).total(),
        "lake_ticks_doubled": (ticks - sent).total(),
        "lake_features": minutes.total(),
        "lake_features_mismatches": max((minutes - finals).total(), (finals - minutes).total()),
    }


def _held(folder: Path, topic: str) -> Counter[tuple[Any, ...]]:
    """Return the rows of all files below `folder`, each with how often it is there, in the order of the message's fields."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    tables = [pl.read_parquet(path, hive_partitioning=False).select(_fields(topic)) for path in files]
    return Counter(pl.concat(tables).rows() if tables else [])


def _fields(topic: str) -> tuple[str, ...]:
    kinds: dict[str, type[Message]] = {"ticks": Tick, "features": Features}
    return kinds[topic].__struct_fields__


def newest_finals(rows: Iterable[Features]) -> list[Features]:
    """Return of each (symbol, minute) the final row with the highest revision, of equal ones the last."""
    newest: dict[tuple[str, int], Features] = {}
    for row in rows:
        known = newest.get((row.symbol, row.minute_ts_us))
        if row.final and (known is None or row.revision >= known.revision):
            newest[row.symbol, row.minute_ts_us] = row
    return list(newest.values())


def finals_changed(rows: Iterable[Features]) -> int:
    """Return how many (symbol, minute) have final rows that differ in more than their `revision`.

    Where trades arrive in order and in time there is none: a row is final once nothing can overtake its closings any more.
    """
    values: dict[tuple[str, int], set[Features]] = {}
    for row in rows:
        if row.final:
            values.setdefault((row.symbol, row.minute_ts_us), set()).add(msgspec.structs.replace(row, revision=0))
    return sum(len(different) > 1 for different in values.values())
