"""From the lake to shards and back: what Spark makes is what serving would see, and only what is new is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from models.training import dataset, etl, job, shards
from models.training.job import Choice
from models.training.shards import Index
from streams import settings
from streams.clock import MINUTE_US
from streams.errors import ModelError, UserError
from streams.messages import Features
from streams.settings import Settings
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import fill

pytestmark = pytest.mark.slow

DAY = 1440 * MINUTE_US
MARKET = rows(300)
OTHER = rows(300, "MSFT", seed=2)
BAD = 250  # the minute of MARKET that a bad print made


def moved(series: list[Features], days: int) -> list[Features]:
    return [msgspec.structs.replace(row, minute_ts_us=row.minute_ts_us + days * DAY) for row in series]


def spiked(series: list[Features]) -> list[Features]:
    """Return the series with one close, and with it the high, three times as high."""
    row = series[BAD]
    broken = msgspec.structs.replace(row, close=3 * row.close, high=3 * row.close)
    return [*series[:BAD], broken, *series[BAD + 1 :]]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"))
    fill(made, MARKET, OTHER, moved(OTHER, 1))
    return made


@pytest.fixture(scope="module")
def index(own: Settings) -> Index:
    return etl.run(own)


@pytest.fixture(scope="module")
def grown(own: Settings, index: Index) -> tuple[Index, list[tuple[int, int]]]:
    """The index after a day more, one of whose minutes a bad print made."""
    fill(own, moved(spiked(MARKET), 3))
    told: list[tuple[int, int]] = []
    return etl.run(own, lambda done, total: told.append((done, total))), told


def everything(own: Settings, of: Index) -> Any:
    return shards.read(shards.folder(own), [(shard, np.arange(shard.windows)) for shard in of.shards])


def test_the_shards_hold_the_windows_that_serving_would_see(own: Settings, index: Index) -> None:
    frame = dataset.final_rows(own)
    expected = dataset.part(frame, dataset.window_ends(frame)).examples
    found = everything(own, index)
    assert index.windows == len(expected)
    assert found.features.tobytes() == expected.features.tobytes()
    assert found.scale.tobytes() == expected.scale.tobytes()
    assert found.targets.tobytes() == expected.targets.tobytes()
    assert found.symbols.tolist() == expected.symbols.tolist()
    assert index.minutes.tolist() == frame["minute_ts_us"].to_numpy()[dataset.window_ends(frame)].tolist()


def test_only_what_is_new_is_made_and_a_spike_is_left_out(own: Settings, index: Index, grown: tuple[Index, Any]) -> None:
    after, told = grown
    assert told[-1] == (1, 1)
    (new,) = [shard for shard in after.shards if shard not in index.shards]
    assert (new.symbol, new.rows, new.removed) == ("AAPL", 300, {"spike": 1})
    assert new.windows == (BAD - 64) + max(0, 299 - BAD - 64)
    assert etl.run(own, lambda *_: pytest.fail("nothing is new")) == after


def test_a_killed_run_leaves_nothing_that_another_would_not_make(own: Settings, grown: tuple[Index, Any]) -> None:
    after, _ = grown
    place = shards.folder(own)
    before = {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
    (place / shards.INDEX).unlink()
    next(place.glob("symbol=AAPL/*.tfrecord")).unlink()
    (place / "symbol=AAPL" / "date=2025-10-09.tmp").write_bytes(b"half")
    assert etl.run(own) == after
    assert {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()} == before


def test_a_job_learns_what_the_rows_before_its_border_hold(own: Settings, index: Index, grown: tuple[Index, Any]) -> None:
    place = job.begin(own, index, Choice(epochs=1))
    known = dataset.final_rows(own).filter(pl.col("minute_ts_us") < place.job.border_ts_us)
    known = known.filter(pl.col("minute_ts_us") < MARKET[0].minute_ts_us + 2 * DAY)
    expected = dataset.make(known, seed=Choice().seed)
    for found, part in zip(place.parts, (expected.train, expected.validation), strict=True):
        assert found.features.tobytes() == part.examples.features.tobytes()
        assert found.scaled.tobytes() == part.examples.scaled.tobytes()
    assert place.data_cutoff_ts_us == expected.data_cutoff_ts_us
    assert place.data_cutoff_ts_us <= place.job.border_ts_us < place.job.end_ts_us


def test_a_job_goes_on_with_what_it_began_with_though_the_shards_change(own: Settings, index: Index) -> None:
    begun = job.begin(own, index, Choice(epochs=1))
    shard = shards.folder(own) / index.shards[0].file
    held = shard.read_bytes()
    scratch = shard.with_suffix(".tmp")
    scratch.write_bytes(b"another")
    os.replace(scratch, shard)
    found = job.unfinished(own, Choice(epochs=1))
    assert found is not None
    assert found.parts[0].features.tobytes() == begun.parts[0].features.tobytes()
    assert job.unfinished(own, Choice(epochs=2)) is None
    shard.write_bytes(held)
    begun.end()
    assert job.unfinished(own, Choice(epochs=1)) is None


def test_a_damaged_shard_is_one_sentence(own: Settings, index: Index, tmp_path: Path) -> None:
    shard = index.shards[0]
    path = tmp_path / shard.file
    path.parent.mkdir(parents=True)
    path.write_bytes((shards.folder(own) / shard.file).read_bytes()[:5_000])
    with pytest.raises(ModelError, match="tickcast etl"):
        shards.read(tmp_path, [(shard, np.arange(3))])


def test_an_empty_lake_and_one_that_is_too_short_are_one_sentence(tmp_path: Path) -> None:
    empty = msgspec.structs.replace(settings.load({}), home=tmp_path)
    with pytest.raises(UserError, match="nothing to train on"):
        etl.run(empty)
    with pytest.raises(UserError, match="no window of 50"):
        job.begin(empty, Index(), Choice())
