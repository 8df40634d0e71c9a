"""Vendors' files in one shape: what is found out about each, what the user may say instead, what is left out and counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from producers import table
from producers.table import Table, Wanted
from streams.clock import iso
from streams.errors import SourceError

HEADER = "datetime,open,high,low,close,volume"
NEW_YORK = "America/New_York"
MASK_1E5 = "regular next_day intermarket_sweep opening closing reopening"  # hexadecimal, though it could be the number 100,000


def bars(first: str, last: str, *, reverse: bool = False, days: int = 3) -> list[str]:
    """Return minute bars of `days` sessions from `first` to `last`, as lines of CSV."""
    lines: list[str] = []
    for day in range(days):
        at = datetime.fromisoformat(f"2024-03-{4 + day:02d}T{first}").replace(tzinfo=UTC)
        end = datetime.fromisoformat(f"2024-03-{4 + day:02d}T{last}").replace(tzinfo=UTC)
        while at <= end:
            lines.append(f"{at:%Y-%m-%d %H:%M:%S},10,12,9,11,{len(lines)}")
            at += timedelta(minutes=1)
    return lines[::-1] if reverse else lines


def load(
    tmp_path: Path, lines: list[str], wanted: Wanted | None = None, header: str = HEADER, name: str = "ACME_1m.csv"
) -> Table:
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return table.load(path, wanted or Wanted())


def span(found: Table) -> tuple[str, str]:
    """Return the first and the last time, to the minute."""
    return iso(found.rows["ts_us"][0])[:16], iso(found.rows["ts_us"][-1])[:16]


def test_a_session_that_ends_at_16_00_in_descending_order_is_end_stamped_new_york(tmp_path: Path) -> None:
    found = load(tmp_path, bars("09:31", "16:00", reverse=True))
    assert span(found) == ("2024-03-04T14:30", "2024-03-06T20:59")
    assert found.rows["ts_us"].is_sorted()
    assert found.rows["volume"].to_list() == list(range(3 * 390))
    assert found.rows["symbol"].unique().to_list() == ["ACME"]
    said = "\n".join(table.described(found))
    for word in ("1,170 rows", "symbol ACME", "descending", "bars of 60 s", "at their end", NEW_YORK):
        assert word in said


def test_the_same_session_stamped_at_its_start_gives_the_same_times(tmp_path: Path) -> None:
    assert span(load(tmp_path, bars("09:30", "15:59"))) == ("2024-03-04T14:30", "2024-03-06T20:59")


def test_a_market_that_never_closes_is_start_stamped_utc(tmp_path: Path) -> None:
    assert span(load(tmp_path, bars("00:00", "23:59"))) == ("2024-03-04T00:00", "2024-03-06T23:59")


def test_options_override_what_was_found(tmp_path: Path) -> None:
    wanted = Wanted(symbol="X", timezone="Asia/Shanghai", stamp="start", interval="1m")
    found = load(tmp_path, bars("09:31", "16:00"), wanted)
    assert span(found) == ("2024-03-04T01:31", "2024-03-06T08:00")
    assert found.rows["symbol"][0] == "X"
    assert not found.notes


def test_the_hour_of_daylight_saving_is_the_zones(tmp_path: Path) -> None:
    lines = [f"2024-03-{day} {hour}:30:00,1,1,1,1,1" for day in ("08", "11") for hour in (10, 11)]
    found = load(tmp_path, lines, Wanted(timezone=NEW_YORK, interval="1m"))
    assert span(found) == ("2024-03-08T15:30", "2024-03-11T15:30")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("1709562600", "s since"),
        ("1709562600000", "ms since"),
        ("1709562600000000", "us since"),
        ("1709562600000000000", "ns since"),
        ("2024-03-04T14:30:00Z", ""),
        ("2024-03-04 09:30:00-05:00", ""),
        ("2024-03-04T14:30:00.000+0000", ""),
        ("2024-03-04 14:30", "taken as UTC"),
        ("20240304", "dates written as numbers"),
    ],
)
def test_times_in_any_unit_or_notation(tmp_path: Path, text: str, note: str) -> None:
    found = load(tmp_path, [f"{text},10,3,A"], header="Timestamp,Price,Qty,Symbol")
    assert iso(found.rows["ts_us"][0])[:16] == ("2024-03-04T00:00" if text == "20240304" else "2024-03-04T14:30")
    assert note in "\n".join(found.notes)


def test_times_of_parquet_keep_their_zone(tmp_path: Path) -> None:
    at = pl.Series([datetime(2024, 3, 4, 14, 30, tzinfo=UTC)]).dt.convert_time_zone(NEW_YORK)
    path = tmp_path / "A.parquet"
    pl.DataFrame({"ts": at, "price": [1.5], "size": [2]}).write_parquet(path)
    found = table.load(path, Wanted())
    assert (found.kind, span(found)[0]) == ("ticks", "2024-03-04T14:30")


def test_what_no_market_prints_is_left_out_and_counted(tmp_path: Path) -> None:
    lines = ["2024-01-01,1,2,1,2,5", "2024-01-02,,,,,", "2024-01-03,1,0,1,1,1", "2024-01-04,1,2,1,2,-1", "2024-01-05,1,2,1,2,5"]
    found = load(tmp_path, [*lines, lines[-1].replace(",5", ",6")], Wanted(interval="1d"))
    assert (found.rows_in_file, found.rows.height, found.dropped) == (6, 2, 4)
    assert found.rows["volume"].to_list() == [5, 6]
    assert [note for note in found.notes if "left out" in note] == [
        "1 row left out: a bar given twice, the last kept",
        "1 row left out: no number",
        "2 rows left out: an impossible price or size",
    ]


def test_ticks_with_equal_times_keep_the_files_order(tmp_path: Path) -> None:
    lines = [f"2024-03-04 09:30:0{second},{price},1" for second, price in ((1, 1), (0, 2), (1, 3), (0, 4))]
    assert load(tmp_path, lines, header="ts,price,size").rows["price"].to_list() == [2, 4, 1, 3]


@pytest.mark.parametrize(
    ("said", "words", "note"),
    [
        (
            ["1", "20002020", "1e5", ""],
            ["regular", "intermarket_sweep extended_hours trade_through_exempt", MASK_1E5, ""],
            "Lean's",
        ),
        (["cash", "odd_lot regular"], ["cash", "odd_lot regular"], ""),
        (["@", "F"], ["", ""], "unknown"),
        (["", ""], ["", ""], ""),
    ],
)
def test_sale_conditions_become_words(tmp_path: Path, said: list[str], words: list[str], note: str) -> None:
    lines = [f"2024-03-04 09:30:0{second},1,1,{condition}" for second, condition in enumerate(said)]
    found = load(tmp_path, lines, header="ts,price,size,cond")
    assert found.rows["conditions"].to_list() == words
    assert [each for each in found.notes if "condition" in each and note in each] == [
        each for each in found.notes if "condition" in each
    ]
    assert bool(note) == any("condition" in each for each in found.notes)


def test_ticks_without_conditions_have_empty_ones(tmp_path: Path) -> None:
    assert load(tmp_path, ["2024-03-04 09:30:00,1,1"], header="ts,price,size").rows["conditions"].to_list() == [""]


@pytest.mark.parametrize(
    ("header", "line", "wanted", "sentence"),
    [
        ("a,b", "1,2", Wanted(), "no column of times"),
        ("ts,price", "2024-01-01,2", Wanted(), "neither bars"),
        ("ts,price", "2024-01-01,2", Wanted(kind="ticks"), "no column size"),
        ("ts,price,size", "soon,2,3", Wanted(), "no time that can be read"),
        ("ts,price,size", "2024-01-01,cheap,3", Wanted(), "not a number"),
        ("ts,price,size", "2024-01-01,1,3", Wanted(timezone="Mars/Phobos"), "--timezone"),
        (HEADER, "2024-01-01 10:00:00,1,1,1,1,1", Wanted(), "apart"),
        (HEADER, "2024-01-01 10:00:30,1,1,1,1,1", Wanted(interval="1m"), "full minute"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, header: str, line: str, wanted: Wanted, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        load(tmp_path, [line], wanted, header=header)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        table.load(tmp_path / "none.csv", Wanted())


@pytest.mark.parametrize(
    ("name", "timezone", "rows", "dropped", "first", "last"),
    [
        ("us-minute-2019-02/AAPL_1min.csv", None, 1_948, 0, "2019-02-11T14:30", "2019-02-15T20:59"),
        ("crypto-minute-2025/BTCUSDT_1m_perp.csv.gz", None, 43_199, 0, "2025-05-04T15:33", "2025-06-03T15:31"),
        ("us-daily/GOOGL.csv", None, 5_128, 1, "2004-08-19T00:00", "2024-12-31T00:00"),
        ("sse-daily/sse_composite.csv", None, 3_993, 0, "2010-01-04T00:00", "2026-06-16T00:00"),
        ("ticks-2013-10/IBM_trades_20131007-20131011.csv.gz", NEW_YORK, 126_395, 0, "2013-10-07T08:00", "2013-10-11T23:52"),
        ("tape-2012-06-21/ticks.csv.gz", None, 46_409, 0, "2012-06-21T13:30", "2012-06-21T19:59"),
    ],
)
def test_real_files(  # noqa: PLR0917 - a file and what is known of it
    shared_data: Path, name: str, timezone: str | None, rows: int, dropped: int, first: str, last: str
) -> None:
    found = table.load(shared_data / name, Wanted(timezone=timezone))
    assert (found.rows_in_file, found.dropped, found.rows.height) == (rows, dropped, rows - dropped)
    assert span(found) == (first, last)
