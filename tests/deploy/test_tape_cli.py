"""`tickcast tape`: vendors' tick files, or a simulated market, become one tape that replays in order of time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from deploy import tape_cli
from deploy.cli import app
from producers import table
from producers.base import SessionEnd, Story, Trade
from producers.market import Market
from producers.prints import Regular
from producers.replay import Replay
from producers.simulated import Simulated
from producers.table import Wanted
from streams.clock import SECOND_US
from streams.errors import SourceError

HEADER = "ts,price,size,cond\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "IBM_x.csv").write_text(HEADER + "2013-10-07 04:00:00,181.5,100,2000\n2013-10-08 09:30:00,182,1,1\n")
    (tmp_path / "AIG_x.csv").write_text(HEADER + "2013-10-07 03:59:59,49,100,20100200\n2013-10-07 04:00:00,49.1,7,1\n")
    return [str(tmp_path / name) for name in ("IBM_x.csv", "AIG_x.csv")]


def test_two_files_become_one_tape_in_order_of_time(files: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tape", "make", *files, "--out", f"{tmp_path}/tape", "--timezone", "America/New_York"])
    assert done.exit_code == 0, done.output
    assert "4 ticks" in done.output
    events = list(Replay.of_folder(tmp_path / "tape").events())
    trades = [event for event in events if isinstance(event, Trade)]
    assert [(trade.symbol, trade.price, trade.size, trade.seq, trade.conditions) for trade in trades] == [
        ("AIG", 49.0, 100.0, 0, "derivatively_priced average_price trade_through_exempt"),
        ("IBM", 181.5, 100.0, 1, "extended_hours"),
        ("AIG", 49.1, 7.0, 2, "regular"),
        ("IBM", 182.0, 1.0, 3, "regular"),
    ]
    assert trades[1].event_ts_us == 1_381_132_800_000_000  # 08:00 UTC
    assert [type(event) for event in events[3:]] == [SessionEnd, Trade, SessionEnd]


def test_one_day_of_it(files: list[str]) -> None:
    tables = [table.load(Path(name), Wanted(timezone="America/New_York")) for name in files]
    assert tape_cli.merged(tables, datetime(2013, 10, 8))["symbol"].to_list() == ["IBM"]  # noqa: DTZ001 - a date without a zone
    with pytest.raises(SourceError, match="no tick of 2013-10-09"):
        tape_cli.merged(tables, datetime(2013, 10, 9))  # noqa: DTZ001


def test_what_the_filter_leaves_out_and_what_it_does_to_the_bars(files: list[str], tmp_path: Path) -> None:
    runner, tape = CliRunner(), tmp_path / "tape"
    runner.invoke(app, ["tape", "make", *files, "--out", str(tape), "--timezone", "America/New_York"])
    trades = tape_cli.marked(Regular(Replay.of_folder(tape)))
    assert tape_cli.by_reason(trades).rows() == [("", 3, 108.0), ("average_price", 1, 100.0)]
    assert tape_cli.changes(trades).select("symbol", "bars", "gone", "other").rows() == [("AIG", 2, 1, 0), ("IBM", 2, 0, 0)]
    shown = runner.invoke(app, ["tape", "prints", str(tape)])
    assert shown.exit_code == 0, shown.output
    assert "average_price" in shown.output


def test_a_bar_without_its_wrong_print_is_narrower() -> None:
    rows = [("A", 1, 100.0, 1.0, ""), ("A", 1, 101.0, 1.0, ""), ("A", 1, 110.0, 1.0, "off_market"), ("A", 2, 100.0, 1.0, "")]
    trades = pl.DataFrame(rows, schema=["symbol", "minute", "price", "size", "excluded"], orient="row")
    (found,) = tape_cli.changes(trades).rows()
    assert found == ("A", 2, 0, 1, pytest.approx(500), pytest.approx(50), pytest.approx(1_000), pytest.approx(100))


def test_a_simulated_tape_replays_the_market_and_is_the_same_each_time(tmp_path: Path) -> None:
    options = ["--sessions", "2", "--trades-a-minute", "2", "--symbols", "AAPL,IBM", "--seed", "7", "--before", "2026-11-28"]
    for name in ("one", "other"):
        done = CliRunner().invoke(app, ["tape", "simulate", "--out", str(tmp_path / name), *options])
        assert done.exit_code == 0, done.output
    one, other = (Replay.of_folder(tmp_path / name) for name in ("one", "other"))
    assert one.name == other.name
    until_us = int(datetime(2026, 11, 28, tzinfo=UTC).timestamp()) * SECOND_US
    market = list(Simulated(Market(symbols=("AAPL", "IBM"), seed=7)).history(2, until_us, 2.0))
    told = list(one.events())
    assert [(each.event_ts_us, each.symbol, each.price, each.size) for each in told if isinstance(each, Trade)] == [
        (each.event_ts_us, each.symbol, each.price, each.size) for each in market if isinstance(each, Trade)
    ]
    assert [(each.event_ts_us, each.symbols, each.text) for each in told if isinstance(each, Story)] == [
        (each.event_ts_us, each.symbols, each.text) for each in market if isinstance(each, Story)
    ]
    assert sum(isinstance(each, SessionEnd) for each in told) == 2
