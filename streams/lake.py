"""The lake: what flowed, as Parquet by date and symbol, for training, studies and replay. `docs/lake.md` is its manual.

    HOME/lake/TOPIC/date=YYYY-MM-DD/symbol=SYMBOL/PART.parquet      headlines: HOME/lake/headlines/date=YYYY-MM-DD/PART.parquet

Columns are the fields of the topic's message (`streams/messages.py`), the symbol included; `date` is the UTC date of the
event time, and a headline, which may name several symbols, has no symbol level. `bars` are what files of OHLCV held, in
HOME/lake/bars/year=YYYY/symbol=SYMBOL/.

Every reader of the Parquet files sees each row once:

* A part is written under a temporary name outside the topics' folders and renamed. A part named WRITER-FIRST-LAST holds what
  the batches FIRST to LAST of one writer had for that folder: a batch that is run again replaces its part, or, where the part
  was merged into a longer one meanwhile, leaves it.
* `features` has one file in each folder, rewritten whole: of each (symbol, minute) the final row with the highest revision.
* `streams/compaction.py` merges parts by exchanging a folder for its merged copy in one step.

Whoever changes the lake holds its lock, and :func:`read` a share of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import polars as pl

from streams import messages
from streams.settings import Settings

TIME_COLUMN = {
    "ticks": "event_ts_us",
    "headlines": "event_ts_us",
    "sentiment": "event_ts_us",
    "features": "minute_ts_us",
    "bars": "start_ts_us",
}
MESSAGES = {
    "ticks": messages.Tick,
    "headlines": messages.Headline,
    "sentiment": messages.Sentiment,
    "features": messages.Features,
}
DAY = "date=%Y-%m-%d"
PERIOD = {"bars": "year=%Y"}  # a daily bar in a file of its own would be a year of 252 files
KEPT = "rows"  # the one file of a folder of `features`
LONGEST_LABEL = 150  # file systems end at 255 bytes
_PART = re.compile(r"(?P<writer>.+)-(?P<first>\d{9})-(?P<last>\d{9})")


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of a file, stamped at its START; a daily one at 00:00 UTC of its date."""

    start_ts_us: messages.TimestampUs
    interval_s: messages.Count
    symbol: messages.Symbol
    open: messages.Price
    high: messages.Price
    low: messages.Price
    close: messages.Price
    volume: float
    source: messages.Identifier


class Stock(NamedTuple):
    """What there is of a topic: rows, the first and last date (of bars: year), symbols, files and their bytes."""

    rows: int
    first: str
    last: str
    symbols: int
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """What the name of a part file says: batches `first` to `last` of `writer`."""

    writer: str
    first: int
    last: int

    @classmethod
    def of(cls, path: Path) -> Part | None:
        """Return what `path`'s name says; None where it is named otherwise (an ingested file, rows of features)."""
        found = _PART.fullmatch(path.stem)
        return cls(found["writer"], int(found["first"]), int(found["last"])) if found else None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return f"{self.writer}-{self.first:09d}-{self.last:09d}"


def root(settings: Settings) -> Path:
    """Return the folder of the lake."""
    return settings.home / "lake"


def archive_root(settings: Settings) -> Path:
    """Return the lake that these settings' archive writes.

    A namespace (a replay, a benchmark) has its own: in the lake that training reads, history would come twice.
    """
    if settings.archive:
        return Path(settings.archive)
    return settings.state / "lake" if settings.topic_prefix else root(settings)


def folder(settings: Settings, topic: str) -> Path:
    """Return the folder that holds `topic`."""
    return root(settings) / topic


def schema(topic: str) -> dict[str, pl.DataType]:
    """Return the columns of `topic` in their order: the fields of its message."""
    return {field.name: _column(msgspec.inspect.type_info(field.type)) for field in msgspec.structs.fields(_kind(topic))}


def optional(topic: str) -> dict[str, Any]:
    """Return the columns of `topic` that a message may leave out, with what they mean then."""
    fields = msgspec.structs.fields(_kind(topic))
    return {field.name: field.default for field in fields if field.default is not msgspec.NODEFAULT}


def _kind(topic: str) -> Any:
    """Return the struct whose fields are the columns; untyped, for msgspec types what it inspects more loosely than it is."""
    return MESSAGES.get(topic, Bar)


def _column(kind: msgspec.inspect.Type) -> pl.DataType:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _column(inner)
        case msgspec.inspect.UnionType(types=types):
            return _column(next(one for one in types if not isinstance(one, msgspec.inspect.NoneType)))
        case msgspec.inspect.ListType(item_type=item):
            return pl.List(_column(item))
    plain: dict[type[msgspec.inspect.Type], pl.DataType] = {
        msgspec.inspect.BoolType: pl.Boolean(),
        msgspec.inspect.FloatType: pl.Float64(),
        msgspec.inspect.StrType: pl.String(),
    }
    return plain.get(type(kind), pl.Int64())


@contextmanager
def locked(lake: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of the lake in `lake`; it ends with the process, however that ends."""
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def read(settings: Settings, topic: str, lake: Path | None = None) -> pl.DataFrame:
    """Return all rows of `topic`, ordered by symbol (headlines: id) and event time; an empty frame where there are none.

    `lake` is another lake than the settings' own, as that of a replay. Of features each (symbol, minute) comes once: the
    final row with the highest revision.
    """
    place = (lake or root(settings)) / topic
    if not place.is_dir():
        return pl.DataFrame()
    with locked(place.parent, shared=True):
        files = sorted(place.glob("*=*/**/*.parquet"))
        if not files:
            return pl.DataFrame()
        rows = load(topic, files)
    key = "id" if topic == "headlines" else "symbol"
    return (_newest(rows) if topic == "features" else rows).sort(key, TIME_COLUMN[topic], maintain_order=True)


def load(topic: str, files: Sequence[Path]) -> pl.DataFrame:
    """Return the rows of `files`; those written before a field was added to the message have its default."""
    return _shaped(topic, _scan(topic, files).collect())


def _scan(topic: str, files: Sequence[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(
        list(files), hive_partitioning=False, schema=schema(topic), missing_columns="insert", extra_columns="ignore"
    )


def write(settings: Settings, topic: str, rows: pl.DataFrame, part: str, lake: Path | None = None) -> int:
    """Write `rows` (the message's fields) as part `part` of each date and symbol that they touch; return how many rows.

    The same part written again replaces itself. Rows of features join the rows that are there, which `part` does not name.
    """
    lake = lake or root(settings)
    rows = _shaped(topic, rows)
    date = pl.from_epoch(TIME_COLUMN[topic], time_unit="us").dt.strftime(PERIOD.get(topic, DAY)).alias("_date")
    keys = ["_date"] if topic == "headlines" else ["_date", "symbol"]
    with locked(lake):
        for (day, *symbol), group in rows.with_columns(date).group_by(keys, maintain_order=True):
            place = lake / topic / str(day) / "".join(f"symbol={label(str(one))}" for one in symbol)
            _put(lake, place, topic, group.drop("_date"), part)
    return rows.height


def forget(settings: Settings, topic: str, part: str) -> None:
    """Remove part `part` of `topic` from every folder: what is written next under its name may fall on other days."""
    with locked(root(settings)):
        for path in folder(settings, topic).glob(f"*=*/**/{part}.parquet"):
            path.unlink()


def stock(lake: Path, topic: str) -> Stock:
    """Return what there is of `topic` in `lake`, from the names and footers of its files."""
    files = sorted((lake / topic).glob("*=*/**/*.parquet"))
    days = [path.relative_to(lake / topic).parts[0].partition("=")[2] for path in files]
    return Stock(
        rows=pl.scan_parquet(files, hive_partitioning=False).select(pl.len()).collect().item() if files else 0,
        first=min(days, default=""),
        last=max(days, default=""),
        symbols=len({path.parent.name for path in files if path.parent.name.startswith("symbol=")}),
        files=len(files),
        size=sum(path.stat().st_size for path in files),
    )


def excluded(lake: Path) -> dict[str, int]:
    """Return how many ticks of `lake` make no bar, by the reason, most first."""
    files = sorted((lake / "ticks").glob("*=*/**/*.parquet"))
    if not files:
        return {}
    reasons = _scan("ticks", files).filter(pl.col("excluded") != "").group_by("excluded").len()
    return dict(reasons.sort("len", "excluded", descending=[True, False]).collect().rows())


def label(symbol: str) -> str:
    """Return `symbol` as part of a folder's name; rows keep the symbol itself."""
    name = quote(symbol, safe="")
    return name if len(name) <= LONGEST_LABEL else f"{name[:LONGEST_LABEL]}~{hashlib.sha256(symbol.encode()).hexdigest()[:16]}"


def _shaped(topic: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return `rows` with exactly the columns of `topic`; an absent field takes the message's default."""
    columns = {name: pl.col(name).cast(kind) for name, kind in schema(topic).items()}
    defaults = {name: default for name, default in optional(topic).items() if default is not None}
    return rows.select((columns | {name: columns[name].fill_null(default) for name, default in defaults.items()}).values())


def _put(lake: Path, place: Path, topic: str, rows: pl.DataFrame, part: str) -> None:
    if topic == "features":
        part, rows = KEPT, _newest(pl.concat([*_kept(place), rows]))
    elif _is_merged(place, part):
        return
    put(lake, rows, place / f"{part}.parquet")


def put(lake: Path, rows: pl.DataFrame, path: Path) -> None:
    """Write `rows` to `path`, whole or not at all. The caller holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = lake / ".scratch" / "part.tmp"
    scratch.parent.mkdir(exist_ok=True)
    rows.write_parquet(scratch)
    scratch.rename(path)


def _kept(place: Path) -> list[pl.DataFrame]:
    path = place / f"{KEPT}.parquet"
    return [_shaped("features", pl.read_parquet(path, hive_partitioning=False))] if path.is_file() else []


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return of each (symbol, minute) the final row with the highest revision; of equal ones the last."""
    finals = rows.filter("final").sort("minute_ts_us", "revision", maintain_order=True)
    return finals.unique(["symbol", "minute_ts_us"], keep="last", maintain_order=True)


def _is_merged(place: Path, part: str) -> bool:
    """Return whether the rows of `part`, one batch, are in a longer part of the same writer already."""
    new = Part.of(Path(f"{part}.parquet"))
    if new is None or not place.is_dir():
        return False
    there = (Part.of(path) for path in place.glob("*.parquet"))
    return any(old != new and old.writer == new.writer and old.first <= new.first <= new.last <= old.last for old in there if old)
