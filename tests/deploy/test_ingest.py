"""`tickcast ingest`: files into the lake through the command itself, features included; the same file twice is there once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest

from deploy import ingest
from producers.base import SessionEnd, Trade
from producers.table import Table, Wanted, load
from streams import lake, settings
from streams.clock import iso
from streams.settings import Settings

MINUTE = 60_000_000
NEW_YORK = "America/New_York"


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home")


def tickcast(own: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKCAST_")}
    return subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        env=environment | own.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def bars(count: int = 3) -> Table:
    rows = pl.DataFrame(
        {
            "symbol": ["A"] * count,
            "ts_us": [number * MINUTE for number in range(count)],
            "open": [10.0] * count,
            "high": [12.0] * count,
            "low": [9.0] * count,
            "close": [11.0] * count,
            "volume": [7.0] * count,
        }
    )
    return Table(Path("a.csv"), "ohlcv", rows, interval_s=60)


def test_a_bar_is_four_trades_with_its_volume_on_the_last() -> None:
    made = list(ingest.events(bars(1)))
    assert [(trade.price, trade.size) for trade in made if isinstance(trade, Trade)] == [(10, 0), (12, 0), (9, 0), (11, 7)]
    assert isinstance(made[-1], SessionEnd)
    assert all(0 <= trade.event_ts_us < MINUTE for trade in made)


def test_a_volume_that_no_tick_can_carry_gives_no_trades() -> None:
    table = bars(2)
    table.rows = table.rows.with_columns(volume=pl.Series([1e9, 5.0]))
    assert ingest.trades(table).height == 4


def test_a_gap_ends_the_session() -> None:
    table = bars(2)
    table.rows = table.rows.with_columns(ts_us=pl.Series([0, 60 * MINUTE]))
    assert [type(event) for event in ingest.events(table)].count(SessionEnd) == 2


def test_a_file_that_cannot_be_read_is_one_sentence_and_nothing_is_written(own: Settings, tmp_path: Path) -> None:
    done = tickcast(own, "ingest", str(tmp_path / "missing.csv"))
    assert (done.returncode, done.stderr) == (2, f"tickcast: the file {tmp_path / 'missing.csv'} does not exist\n")
    assert not lake.root(own).exists()


@pytest.mark.slow
def test_real_bars_and_ticks_are_in_the_lake_once_with_their_features(own: Settings, shared_data: Path) -> None:
    minutes = shared_data / "us-minute-2019-02" / "MSFT_1min.csv"
    daily = shared_data / "us-daily" / "GOOGL.csv"
    tape = shared_data / "tape-2012-06-21" / "ticks.csv.gz"
    for _ in range(2):
        done = tickcast(own, "ingest", str(minutes), str(daily), str(tape))
        assert done.returncode == 0, done.stderr
    assert "1 row left out: no number" in done.stdout
    held = lake.read(own, "bars")
    assert held.group_by("symbol", "interval_s").len().sort("symbol").rows() == [("GOOGL", 86_400, 5_127), ("MSFT", 60, 1_948)]
    ticks = lake.read(own, "ticks").filter(~pl.col("closes"))
    source = load(tape, Wanted()).rows
    assert (
        ticks.sort("seq").select("event_ts_us", "symbol", "price", "size").rows()
        == source.select("ts_us", "symbol", "price", "size").rows()
    )
    rows = lake.read(own, "features")
    assert rows.group_by("symbol").len().sort("symbol").rows() == [("AAPL", 390), ("AMZN", 390), ("MSFT", 1_950)]
    assert rows.select(pl.struct("symbol", "minute_ts_us").n_unique()).item() == rows.height
    assert rows["final"].all()
    _assert_bars_are_the_files(rows.filter(pl.col("symbol") == "MSFT"), held.filter(pl.col("symbol") == "MSFT"))


def _assert_bars_are_the_files(rows: pl.DataFrame, held: pl.DataFrame) -> None:
    """Every bar of the file is the engine's bar; a minute that the file lacks is flat."""
    assert iso(held["start_ts_us"].min())[:16] == "2019-02-11T14:30"  # type: ignore[arg-type]
    columns = ["open", "high", "low", "close", "volume"]
    traded = rows.filter(~pl.col("flat"))
    assert traded.select("minute_ts_us", *columns).rows() == held.select("start_ts_us", *columns).rows()
    assert (traded["n_ticks"] == 4).all()
    assert rows.filter("flat").height == 2


@pytest.mark.slow
def test_irregular_ticks_are_in_the_lake_and_in_no_feature(own: Settings, tmp_path: Path) -> None:
    lines = [f"2013-10-07 13:3{k // 6}:{k % 6}0,{100 + k / 100},5,{'20100200' if k == 7 else '1'}" for k in range(24)]
    lines[14] = "2013-10-07 13:32:20,250,5,1"
    (tmp_path / "IBM.csv").write_text("\n".join(["ts,price,size,cond", *lines]) + "\n")
    done = tickcast(own, "ingest", str(tmp_path / "IBM.csv"), "--prints", "regular")
    assert done.returncode == 0, done.stderr
    ticks = lake.read(own, "ticks").filter(~pl.col("closes"))
    assert ticks.filter(pl.col("excluded") != "").select("seq", "excluded").rows() == [(7, "average_price"), (14, "off_market")]
    rows = lake.read(own, "features").sort("minute_ts_us")
    assert rows.select("n_ticks", "volume", "high").rows() == [(6, 30, 100.05), (5, 25, 100.11), (5, 25, 100.17), (6, 30, 100.23)]
    assert "average_price 1, off_market 1" in tickcast(own, "lake", "list").stdout


@pytest.mark.slow
def test_the_lake_is_listed_and_compacted_by_commands(own: Settings) -> None:
    rows = pl.DataFrame({"start_ts_us": [0], "interval_s": [60], "symbol": ["A"], "source": ["x"]}).with_columns(
        **{name: pl.lit(1.0) for name in ("open", "high", "low", "close", "volume")}
    )
    lake.write(own, "bars", rows, "one")
    listed = tickcast(own, "lake", "list")
    assert listed.returncode == 0, listed.stderr
    assert "1970" in listed.stdout
    done = tickcast(own, "lake", "compact")
    assert done.returncode == 0, done.stderr
    assert "ticks: 0 files became 0" in done.stdout
