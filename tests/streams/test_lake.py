"""The lake: what is written is read, once, by every reader; compaction never shows a row twice or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow.dataset
import pytest
from polars.testing import assert_frame_equal

from streams import compaction, lake, settings
from streams.errors import EnvironmentFault
from streams.lake import Part
from streams.settings import Settings
from tests.streams.lakes import headline, row, sentiment, tick

MESSAGES = {"ticks": tick, "headlines": headline, "sentiment": sentiment, "features": row}


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home")


def frame(topic: str, messages: Sequence[Any]) -> pl.DataFrame:
    return pl.DataFrame([msgspec.structs.asdict(one) for one in messages], schema=lake.schema(topic))


def fill(own: Settings, batches: int, writer: str = "w") -> pl.DataFrame:
    """Write `batches` parts of ticks and return all their rows, ordered as the lake is read."""
    for batch in range(batches):
        lake.write(own, "ticks", frame("ticks", [tick(batch * 7 + k) for k in range(7)]), Part(writer, batch, batch).name)
    return frame("ticks", [tick(number) for number in range(batches * 7)]).sort("symbol", "event_ts_us")


def listed(own: Settings) -> pl.DataFrame:
    """Return what a reader of files, pyarrow here, finds."""
    table = pyarrow.dataset.dataset(lake.folder(own, "ticks"), format="parquet").to_table()
    return pl.DataFrame(table).sort("symbol", "event_ts_us")


@pytest.mark.parametrize("topic", MESSAGES)
def test_what_is_written_is_read_with_the_columns_of_the_message(own: Settings, topic: str) -> None:
    rows = frame(topic, [MESSAGES[topic](number) for number in range(30)])
    assert lake.write(own, topic, rows, "part") == 30
    found = lake.read(own, topic)
    key = "id" if topic == "headlines" else "symbol"
    assert_frame_equal(found, rows.sort(key, lake.TIME_COLUMN[topic], maintain_order=True))
    assert found.schema == lake.schema(topic)


def test_an_absent_lake_is_empty(own: Settings) -> None:
    assert lake.read(own, "ticks").is_empty()
    assert compaction.compact(lake.root(own), "ticks") == (0, 0)


def test_an_absent_field_takes_the_messages_default(own: Settings) -> None:
    lake.write(own, "ticks", frame("ticks", [tick(1)]).with_columns(late=pl.lit(None)), "part")
    assert lake.read(own, "ticks")["late"].to_list() == [False]


def test_parts_written_before_a_field_was_added_are_read_and_merged(own: Settings) -> None:
    rows = fill(own, 3)
    first = next(lake.folder(own, "ticks").rglob("w-000000000-*.parquet"))
    pl.read_parquet(first).drop("excluded").write_parquet(first)
    assert_frame_equal(lake.read(own, "ticks"), rows)
    compaction.compact(lake.root(own), "ticks")
    assert_frame_equal(lake.read(own, "ticks"), rows)
    assert_frame_equal(listed(own), rows)


def test_ticks_that_make_no_bar_are_counted_by_reason(own: Settings) -> None:
    assert lake.excluded(lake.root(own)) == {}
    reasons = ["", "cash", "off_market", "cash"]
    marked = [msgspec.structs.replace(tick(number), excluded=reason) for number, reason in enumerate(reasons)]
    lake.write(own, "ticks", frame("ticks", marked), "part")
    assert list(lake.excluded(lake.root(own)).items()) == [("cash", 2), ("off_market", 1)]


def test_a_part_written_again_replaces_itself_also_when_it_was_merged_meanwhile(own: Settings) -> None:
    rows = fill(own, 5)
    fill(own, 5)
    assert_frame_equal(lake.read(own, "ticks"), rows)
    compaction.compact(lake.root(own), "ticks")
    fill(own, 5)
    assert_frame_equal(listed(own), rows)
    assert_frame_equal(lake.read(own, "ticks"), rows)


def test_features_keep_the_final_row_with_the_highest_revision_in_whatever_order_they_come(own: Settings) -> None:
    versions = [row(1, 2), row(1, 5), row(1, 3), row(1, 9, final=False), row(4, 1)]
    for number, version in enumerate(versions):
        lake.write(own, "features", frame("features", [version]), f"part-{number}")
    files = list(lake.folder(own, "features").rglob("*.parquet"))
    assert [path.name for path in files] == ["rows.parquet"]
    assert_frame_equal(lake.read(own, "features"), frame("features", [row(1, 5), row(4, 1)]))


@pytest.mark.parametrize("symbol", ["BTC/USDT", "..", "a=b", "%41", "\0", "\U0001f680" * 32, "_x", ".x", "two words", "É"])
def test_any_symbol_of_the_contract_has_a_folder_of_its_own(own: Settings, symbol: str) -> None:
    ticks = [msgspec.structs.replace(tick(0), symbol=name) for name in (symbol, "A")]
    lake.write(own, "ticks", frame("ticks", ticks), "part")
    assert sorted(lake.read(own, "ticks")["symbol"]) == sorted([symbol, "A"])
    assert listed(own).height == 2


def test_symbols_too_long_for_a_folder_do_not_share_one() -> None:
    names = [lake.label("\U0001f680" * 31 + last) for last in "ab\U0001f680"]
    assert len(set(names)) == 3
    assert max(map(len, names)) < 240


def test_compaction_leaves_one_file_of_each_writer_and_the_same_rows(own: Settings) -> None:
    rows = fill(own, 9)
    lake.write(own, "ticks", rows.with_columns(source=pl.lit("other")), "a-file")
    before = listed(own)
    merged = compaction.compact(lake.root(own), "ticks")
    places = list(lake.folder(own, "ticks").glob("date=*/symbol=*"))
    assert merged == (10 * len(places), 2 * len(places))
    assert {path.name for path in places[0].iterdir()} == {"w-000000000-000000008.parquet", "a-file.parquet"}
    assert_frame_equal(listed(own), before, check_row_order=False)
    assert compaction.compact(lake.root(own), "ticks") == (0, 0)


def test_a_busy_folder_is_merged_by_batches_only(own: Settings) -> None:
    fill(own, compaction.MERGE_AT - 1)
    compaction.compact_busy(lake.root(own), "ticks")
    assert len(list(lake.folder(own, "ticks").rglob("*.parquet"))) == 3 * (compaction.MERGE_AT - 1)
    rows = fill(own, 2 * compaction.MERGE_AT)
    compaction.compact_busy(lake.root(own), "ticks")
    assert len(list(lake.folder(own, "ticks").rglob("*.parquet"))) == 3
    assert_frame_equal(listed(own), rows)


def test_folders_change_places_in_one_step_and_a_missing_one_is_one_sentence(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for place in (one, other):
        place.mkdir()
        (place / place.name).touch()
    compaction.exchange(one, other)
    assert [path.name for path in one.iterdir()] == ["other"]
    with pytest.raises(EnvironmentFault, match="cannot be compacted"):
        compaction.exchange(one, tmp_path / "missing")


COMPACTING = """
import sys
from pathlib import Path
from streams import compaction, lake
from streams.messages import Tick
print("begins", flush=True)
while True:
    compaction.compact(Path(sys.argv[1]), "ticks")
    print("again", flush=True)
"""


def test_a_killed_compaction_leaves_every_row_once(own: Settings) -> None:
    rows = fill(own, 40)
    for turn in range(6):
        command = [sys.executable, "-c", COMPACTING, str(lake.root(own))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(1 + turn % 2):  # kill it now in the middle of its work, now behind it
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        assert_frame_equal(listed(own), rows)
        assert_frame_equal(lake.read(own, "ticks"), rows)
        start = 40 + turn * 20
        for batch in range(start, start + 20):
            lake.write(own, "ticks", frame("ticks", [tick(batch * 7 + k) for k in range(7)]), Part("w", batch, batch).name)
        rows = frame("ticks", [tick(number) for number in range((start + 20) * 7)]).sort("symbol", "event_ts_us")
    compaction.compact(lake.root(own), "ticks")
    assert_frame_equal(listed(own), rows)
    assert len(list(lake.folder(own, "ticks").rglob("*.parquet"))) == 3


@pytest.mark.parametrize("stage", ["linked", "merged", "exchanged"])
def test_what_a_crash_left_aside_is_swept_and_read_by_nobody(own: Settings, stage: str) -> None:
    rows = fill(own, 3)
    aside = lake.root(own) / ".scratch" / "merged"
    aside.mkdir(parents=True, exist_ok=True)
    left = {"linked": "a-file", "merged": Part("w", 0, 2).name, "exchanged": Part("w", 1, 1).name}[stage]
    rows.write_parquet(aside / f"{left}.parquet")
    assert_frame_equal(lake.read(own, "ticks"), rows)
    compaction.compact(lake.root(own), "ticks")
    assert_frame_equal(listed(own), rows)
    assert not aside.exists()
