"""Recordings: every byte comes back, in order, and nothing that was damaged is taken for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from streams import recording
from streams.bus import Record
from streams.errors import SourceError
from streams.recording import MANIFEST, Manifest, Recorded, Recording, Writer

T0 = 1_340_285_400_000_000
WALL_MS = 1_767_625_200_000


def tick(offset: int, clock_us: int | None, *, partition: int = 0, key: bytes | None = b"AAPL", at_ms: int = 0) -> Record:
    value = b"\xff no JSON" if clock_us is None else b'{"clock_ts_us":%d}' % clock_us
    return Record("ticks", partition, offset, key, value, WALL_MS + at_ms, (("n", b"1"), ("n", b"\x00")))


def written(folder: Path, records: Sequence[Record]) -> Manifest:
    writer = Writer(folder)
    for record in records:
        writer.add(record)
    return writer.finish(1, "t.", 2, whole=True)


def test_every_record_comes_back_as_it_was(tmp_path: Path) -> None:
    records = [tick(7, T0), tick(8, None, key=None), Record("ticks", 0, 9, b"", None, 5, ()), tick(12, T0 + 5)]
    manifest = written(tmp_path, records)
    found = list(Recording(tmp_path).merged("ticks"))
    assert [one.record for one in found] == records
    assert [one.clock_ts_us for one in found] == [T0, T0, T0, T0 + 5]
    assert (manifest.parts[0].first_offset, manifest.parts[0].next_offset, manifest.parts[0].records) == (7, 13, 4)
    assert (manifest.first_ts_us, manifest.last_ts_us, manifest.symbols) == (T0, T0 + 5, ["AAPL"])


def test_partitions_are_merged_by_their_clocks_and_each_keeps_its_order(tmp_path: Path) -> None:
    clocks = {0: [1, 5, 3, 6], 1: [2, 4, 7]}
    written(tmp_path, [tick(at, T0 + us, partition=place) for place, some in clocks.items() for at, us in enumerate(some)])
    found = [(one.record.partition, one.record.offset) for one in Recording(tmp_path).merged("ticks")]
    assert found == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 3), (1, 2)]


def test_row_groups_before_the_time_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "GROUP", 10)
    written(tmp_path, [tick(at, T0 + at) for at in range(95)])
    read: list[int] = []
    whole = recording._recorded  # noqa: SLF001 - how many batches are decoded is what is tested

    def counted(batch: object, part: object) -> object:
        read.append(1)
        return whole(batch, part)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "_recorded", counted)
    assert [one.record.offset for one in Recording(tmp_path).merged("ticks", from_us=T0 + 88)] == list(range(88, 95))
    assert len(read) == 2


def test_a_clock_far_ahead_of_the_broker_s_moves_no_tape(tmp_path: Path) -> None:
    ahead = WALL_MS * 1_000 + recording.AHEAD_US + 1
    manifest = written(tmp_path, [tick(0, T0), tick(1, ahead), tick(2, T0 + 1)])
    assert manifest.last_ts_us == T0 + 1


def test_an_announcement_stands_where_the_ticks_stood_when_it_came(tmp_path: Path) -> None:
    def said(at_ms: int) -> Record:
        return Record("models", 0, at_ms, b"forecaster", b"{}", WALL_MS + at_ms)

    written(tmp_path, [said(0), said(50), tick(0, T0, at_ms=10), tick(1, T0 + 9, at_ms=40), tick(2, T0 + 99, at_ms=60)])
    order = [(one.record.topic, one.clock_ts_us) for one in Recording(tmp_path).merged("models", "ticks")]
    assert order == [("models", 0), ("ticks", T0), ("models", T0 + 9), ("ticks", T0 + 9), ("ticks", T0 + 99)]


def test_full_buffers_are_written_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "BUFFER_BYTES", 2_000)
    records = [tick(at, T0 + at, partition=place) for at in range(200) for place in (0, 1)]
    written(tmp_path, records)
    found: list[Recorded] = list(Recording(tmp_path).merged("ticks"))
    assert sorted(one.record[:3] for one in found) == sorted(record[:3] for record in records)


def test_what_is_damaged_or_missing_or_no_recording_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is no recording: it has no manifest\.json"):
        Recording(tmp_path)
    written(tmp_path, [tick(0, T0)])
    with pytest.raises(SourceError, match="holds a recording already"):
        Writer(tmp_path)
    path = tmp_path / "ticks-0.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes(20))
    with pytest.raises(SourceError, match="is not what the recording's manifest says"):
        Recording(tmp_path)
    path.unlink()
    with pytest.raises(SourceError, match=r"lacks its file ticks-0\.parquet"):
        Recording(tmp_path)
    manifest = msgspec.json.decode((tmp_path / MANIFEST).read_bytes())
    manifest["parts"][0]["file"] = "../../etc/passwd"
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(SourceError, match=r"manifest\.json cannot be read"):
        Recording(tmp_path)
