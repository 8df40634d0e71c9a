"""The daily study: files that are refused, what Spark makes of them, and what the network is allowed to know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from models.studies import daily_data, daily_windows
from models.studies.daily_windows import CLOSE, WINDOW, Scaled, View, Windows
from streams import settings
from streams.errors import ModelError, SourceError
from streams.settings import Settings
from tests.models.studies.files import bars, stock

DAYS = ("2010-01-01", "2024-12-31", "2025-01-01")


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home")


def source(own: Settings, data: Path, *symbols: str) -> daily_data.Source:
    return daily_data.source(own, data, own.home / "studies" / "daily", symbols, DAYS)


def test_a_split_that_is_not_adjusted_for_is_refused_before_anything_is_written(own: Settings, tmp_path: Path) -> None:
    rows = bars(300, 1)
    cut = [(day, first / 4, high / 4, low / 4, close / 4, volume) for day, first, high, low, close, volume in rows[200:]]
    stock(tmp_path, "X", [*rows[:200], *cut])
    with pytest.raises(SourceError, match=rf"X moved by a factor of 4 on {rows[200][0]}: a split"):
        source(own, tmp_path, "X")
    assert not own.home.exists()


def test_a_symbol_with_too_few_days_or_without_a_file_is_refused(own: Settings, tmp_path: Path) -> None:
    stock(tmp_path, "NEW", bars(60, 1))
    with pytest.raises(SourceError, match="NEW has 60 days, and 120 are needed"):
        source(own, tmp_path, "NEW")
    with pytest.raises(SourceError, match="GONE"):
        source(own, tmp_path, "GONE")


def test_other_files_are_other_windows(own: Settings, tmp_path: Path) -> None:
    stock(tmp_path, "X", bars(300, 1))
    before = source(own, tmp_path, "X")
    stock(tmp_path, "X", bars(300, 2))
    assert source(own, tmp_path, "X").out != before.out


SPARK = """
import sys, msgspec
from models.studies import daily_data
daily_data.make(msgspec.json.decode(sys.stdin.buffer.read(), type=daily_data.Source, dec_hook=lambda kind, value: kind(value)))
"""
READ = """
import sys, numpy as np
from pathlib import Path
from models.studies import daily_windows
found = daily_windows.read(Path(sys.argv[1]))
np.savez(sys.argv[2], **found._asdict())
"""


@pytest.mark.slow
def test_spark_makes_the_rows_and_windows_that_a_plain_computation_makes(own: Settings, tmp_path: Path) -> None:
    old, new = bars(300, 1), bars(200, 2)
    day, first, high, low, close, volume = old[150]
    old[150] = (day, first, high * 3, low, close * 1.4, volume)  # a bad print, taken back the day after
    stock(tmp_path, "OLD", old, holed=120)
    stock(tmp_path, "NEW", new)
    made = source(own, tmp_path, "OLD", "NEW")
    run(SPARK, stdin=msgspec.json.encode(made, enc_hook=str))
    out = Path(made.out)
    kept = [row for at, row in enumerate(old) if at not in {120, 150}]
    rows = pl.read_parquet(out / "rows" / "symbol=OLD" / "*.parquet", hive_partitioning=False).sort("date")
    truth = pl.DataFrame(kept, schema=["date", "open", "high", "low", "close", "volume"], orient="row").with_columns(
        ma7=pl.col("close").rolling_mean(7), ma21=pl.col("close").rolling_mean(21), ret=pl.col("close").pct_change()
    )[20:]
    assert rows["date"].to_list() == truth["date"].to_list()
    for name in ("close", "volume", "ma7", "ma21", "ret"):
        assert np.allclose(rows[name], truth[name], rtol=1e-12, atol=1e-15), name
    assert daily_data.removed(made) == [{"symbol": "OLD", "reason": reason, "rows": 1} for reason in ("missing", "outlier")]
    run(READ, str(out / "windows"), str(tmp_path / "read.npz"))
    with np.load(tmp_path / "read.npz") as held:
        found = Windows(**held)
    assert [(found.symbols == name).sum() for name in ("OLD", "NEW")] == [298 - 20 - WINDOW, 200 - 20 - WINDOW]
    at = np.flatnonzero(found.symbols == "OLD")[0]
    assert found.rows[at, :, CLOSE].tolist() == truth["close"][:WINDOW].to_list()
    assert found.next_close[at] == truth["close"][WINDOW]
    assert found.day[at] == truth["date"].cast(pl.Int32)[WINDOW]


def run(program: str, *arguments: str, stdin: bytes = b"") -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def windows(count: int = 200, rise: float = 0.0) -> Windows:
    """Return windows of two symbols that rise by `rise` a day, prices of one a hundred times the other's."""
    chance = np.random.default_rng(3)
    parts = []
    for times, symbol in ((1.0, "A"), (100.0, "B")):
        close = times * np.exp(np.cumsum(chance.normal(rise, 0.01, count + WINDOW)))
        rows = np.stack([close, close * 1.01, close * 0.99, close, 1e6 + close, close, close, np.full(len(close), 0.001)], axis=1)
        rows[:, 7] = np.concatenate([[0.0], np.diff(np.log(close))])
        taken = np.stack([rows[at : at + WINDOW] for at in range(count)])
        parts.append(Windows(taken, close[WINDOW:], np.arange(count), np.full(count, symbol)))
    return Windows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def scaled(made: Windows, train: NDArray[np.bool_], view: View) -> Scaled:
    return daily_windows.seen(made, daily_windows.scale_of(made.take(train), view), view)


@pytest.mark.parametrize("view", ["prices", "returns"])
def test_what_a_network_is_scaled_by_comes_from_the_training_part_alone(view: View) -> None:
    made = windows()
    train = made.day < 100
    changed = Windows(np.where(train[:, None, None], made.rows, 7 * made.rows), made.next_close, made.day, made.symbols)
    before, after = (scaled(one, train, view) for one in (made, changed))
    assert np.array_equal(before.features[train], after.features[train])
    assert np.array_equal(before.targets[train], after.targets[train])


@pytest.mark.parametrize("view", ["prices", "returns"])
def test_targets_become_the_prices_that_came(view: View) -> None:
    made = windows()
    seen = scaled(made, made.day < 100, view)
    assert np.allclose(seen.prices(seen.targets.astype(float)), made.next_close, rtol=1e-5)
    assert seen.features.shape == (400, WINDOW, 8)
    assert np.isfinite(seen.features).all()


def test_a_network_on_returns_that_says_nothing_is_persistence() -> None:
    made = windows()
    seen = scaled(made, made.day < 100, "returns")
    assert np.allclose(seen.prices(np.zeros(400)), made.last)


def test_a_symbol_that_the_network_has_not_learnt_is_refused() -> None:
    made = windows()
    scale = daily_windows.scale_of(made.take(made.symbols == "A"), "returns")
    with pytest.raises(ModelError, match="nothing of B"):
        daily_windows.seen(made, scale, "returns")
