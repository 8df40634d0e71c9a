"""A recording: what topics held, byte for byte, as Parquet files with a manifest and checksums.

    DIR/manifest.json             a `Manifest`; written last, so a folder without one is no recording
    DIR/TOPIC-PARTITION.parquet   offset, timestamp_ms, clock_ts_us, key, value, headers; in the order of the offsets
    DIR/models/NAME/MODEL_ID/     the models that were announced, where their files were at hand

`clock_ts_us` is the greatest `clock_ts_us` of the messages of that partition so far: where the tape stands. Of `models` it is
where `ticks` stood when the announcement came; of outputs it is 0. Writing and reading take the memory of some row groups.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from streams.bus import Record
from streams.errors import SourceError
from streams.messages import Count, TimestampUs

MANIFEST = "manifest.json"
CLOCKED = ("ticks", "headlines", "sentiment")
INPUTS = (*CLOCKED, "models")
OUTPUTS = ("features", "forecasts", "scores", "dead_letters")
GROUP = 5_000  # records of a row group
BUFFER_BYTES = 64 * 2**20  # of all row groups that are not full yet
AHEAD_US = 60_000_000  # a clock that is further ahead of the broker's is a fault of its record: it moves nothing
SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("clock_ts_us", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)
CLOCK_COLUMN = SCHEMA.get_field_index("clock_ts_us")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file: a partition of a topic."""

    file: Annotated[str, Meta(pattern=r"^[a-z_]+-\d+\.parquet$", description="its name, never a path")]
    topic: str
    partition: Count
    records: Count
    first_offset: Count
    next_offset: Count
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds. `first_ts_us` and `last_ts_us` are where the clock of `ticks` began and ended.

    `whole` is true where every topic was recorded from its very first record on: only then can a replay repeat the outputs.
    """

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    made_ts_us: TimestampUs
    namespace: str
    partitions: Annotated[int, Meta(ge=1, le=62)]
    first_ts_us: TimestampUs
    last_ts_us: TimestampUs
    whole: bool
    symbols: list[str]
    parts: list[Part]


class Recorded(NamedTuple):
    """A record and where its tape stood."""

    record: Record
    clock_ts_us: int


class _Stamp(msgspec.Struct):
    clock_ts_us: int


_stamps = msgspec.json.Decoder(_Stamp)


class Clock:
    """Where one partition's tape stands, microseconds UTC of event time."""

    def __init__(self) -> None:
        self.now_us = 0

    def advance(self, record: Record) -> int:
        """Return where the tape stands with `record`, which may be anything."""
        try:
            stamped = _stamps.decode(record.value or b"").clock_ts_us
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.now_us
        if stamped <= record.timestamp_ms * 1_000 + AHEAD_US:
            self.now_us = max(self.now_us, stamped)
        return self.now_us


class _File:
    """One partition's file that is being written."""

    def __init__(self, path: Path, topic: str, partition: int) -> None:
        self.path, self.topic, self.partition = path, topic, partition
        self.clock = Clock()
        self.first_us = 0
        self.records = 0
        self.bytes = 0
        self._rows: list[tuple[Any, ...]] = []
        self._first_offset: int | None = None
        self._next_offset = 0
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def add(self, record: Record) -> int:
        """Take a record; return how many bytes it holds."""
        clock_us = self.clock.advance(record) if record.topic in CLOCKED else 0
        return self.add_at(record, clock_us)

    def add_at(self, record: Record, clock_us: int) -> int:
        headers = [{"name": name, "value": value} for name, value in record.headers]
        self._rows.append((record.offset, record.timestamp_ms, clock_us, record.key, record.value, headers))
        self.first_us = self.first_us or clock_us
        self._first_offset = record.offset if self._first_offset is None else self._first_offset
        self._next_offset = record.offset + 1
        self.records += 1
        size = len(record.key or b"") + len(record.value or b"") + 64
        self.bytes += size
        if len(self._rows) >= GROUP:
            freed = self.bytes
            self.flush()
            return size - freed
        return size

    def flush(self) -> None:
        if self._rows:
            columns = [pa.array(column, kind.type) for column, kind in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        self._rows, self.bytes = [], 0

    def close(self) -> Part:
        self.flush()
        self._writer.close()
        return Part(
            file=self.path.name,
            topic=self.topic,
            partition=self.partition,
            records=self.records,
            first_offset=self._first_offset or 0,
            next_offset=self._next_offset,
            sha256=checksum(self.path),
        )


class Writer:
    """Writes a recording; only :meth:`finish` makes it one.

    Parameters
    ----------
    folder : Path
        Made where it is not there; must not hold a recording yet.

    Attributes
    ----------
    announced : list[Record]
        The records of `models`; few, so they are kept until it shows where they belong.

    Raises
    ------
    SourceError
        The folder holds a recording already, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / MANIFEST).exists():
            raise SourceError(f"{folder} holds a recording already: give another folder, or remove that one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"the folder {folder} cannot be made: {error}") from error
        self.folder = folder
        self._files: dict[tuple[str, int], _File] = {}
        self.announced: list[Record] = []
        self._symbols: set[str] = set()
        self._buffered = 0

    @property
    def records(self) -> int:
        """How many records were taken."""
        return sum(one.records for one in self._files.values()) + len(self.announced)

    def add(self, record: Record) -> None:
        """Take the next record of its partition."""
        if record.topic == "models":  # few; where they belong shows once the ticks are all there
            self.announced.append(record)
            return
        if record.topic == "ticks" and record.key:
            self._symbols.add(record.key.decode(errors="replace"))
        self._buffered += self._file(record.topic, record.partition).add(record)
        if self._buffered > BUFFER_BYTES:
            for one in self._files.values():
                one.flush()
            self._buffered = 0

    def _file(self, topic: str, partition: int) -> _File:
        if (topic, partition) not in self._files:
            path = self.folder / f"{topic}-{partition}.parquet"
            self._files[topic, partition] = _File(path, topic, partition)
        return self._files[topic, partition]

    def finish(self, made_ts_us: int, namespace: str, partitions: int, *, whole: bool) -> Manifest:
        """Close the files and write the manifest."""
        ticks = [one for one in self._files.values() if one.topic == "ticks" and one.records]
        manifest = Manifest(
            made_ts_us=made_ts_us,
            namespace=namespace,
            partitions=partitions,
            first_ts_us=min((one.first_us for one in ticks if one.first_us), default=0),
            last_ts_us=max((one.clock.now_us for one in ticks), default=0),
            whole=whole,
            symbols=sorted(self._symbols),
            parts=[*[one.close() for one in self._files.values()], *self._models([one.path for one in ticks])],
        )
        scratch = self.folder / f".{MANIFEST}"
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        scratch.rename(self.folder / MANIFEST)
        return manifest

    def _models(self, ticks: list[Path]) -> Iterator[Part]:
        if not self.announced:
            return
        file = _File(self.folder / "models-0.parquet", "models", 0)
        stood = pl.scan_parquet(ticks).select("timestamp_ms", "clock_ts_us") if ticks else None
        for record in self.announced:
            file.add_at(record, 0 if stood is None else _stood_at(stood, record.timestamp_ms))
        yield file.close()


def _stood_at(ticks: pl.LazyFrame, time_ms: int) -> int:
    before = ticks.filter(pl.col("timestamp_ms") < time_ms)
    return before.select(pl.col("clock_ts_us").max()).collect().item() or 0


class Recording:
    """A recording in a folder, its files checked.

    Raises
    ------
    SourceError
        There is none, it was made by a later version, or a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        for part in self.manifest.parts:
            path = folder / part.file
            if not path.is_file():
                raise SourceError(f"the recording {folder} lacks its file {part.file}: copy it again, or record again")
            if checksum(path) != part.sha256:
                raise SourceError(f"{path} is not what the recording's manifest says (sha256): copy it again, or record again")

    @cached_property
    def _by_topic(self) -> Mapping[str, list[Part]]:
        return {topic: [part for part in self.manifest.parts if part.topic == topic] for topic in (*INPUTS, *OUTPUTS)}

    def count(self, *topics: str) -> int:
        """Return how many records of `topics` there are."""
        return sum(part.records for topic in topics for part in self._by_topic[topic])

    def merged(self, *topics: str, from_us: int = 0) -> Iterator[Recorded]:
        """Yield the records of `topics` by where their tape stood, from `from_us` on; each partition in its order."""
        streams = (self._read(part, from_us) for topic in topics for part in self._by_topic[topic])
        return heapq.merge(*streams, key=lambda recorded: recorded.clock_ts_us)

    def _read(self, part: Part, from_us: int) -> Iterator[Recorded]:
        with pq.ParquetFile(self.folder / part.file) as file:
            groups = [at for at in range(file.num_row_groups) if _reaches(file.metadata.row_group(at), from_us)]
            for batch in file.iter_batches(batch_size=GROUP, row_groups=groups) if groups else ():
                yield from (one for one in _recorded(batch, part) if one.clock_ts_us >= from_us)


def _reaches(group: Any, from_us: int) -> bool:
    statistics = group.column(CLOCK_COLUMN).statistics
    return statistics is None or not statistics.has_min_max or bool(statistics.max >= from_us)


def _recorded(batch: pa.RecordBatch, part: Part) -> Iterator[Recorded]:
    columns: Iterable[tuple[Any, ...]] = zip(*(column.to_pylist() for column in batch.columns), strict=True)
    for offset, timestamp_ms, clock_us, key, value, headers in columns:
        kept = tuple((header["name"], header["value"]) for header in headers)
        yield Recorded(Record(part.topic, part.partition, offset, key, value, timestamp_ms, kept), clock_us)


def _read_manifest(folder: Path) -> Manifest:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise SourceError(f"{folder} is no recording: it has no {MANIFEST}; `tickcast record` makes one") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SourceError(f"{folder / MANIFEST} cannot be read ({error}): record again") from error


def checksum(path: Path) -> str:
    """Return the sha256 of the file at `path`, hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
