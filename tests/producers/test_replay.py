"""Recorded tapes: the real one through the closings, every file format alike, and files that are not tapes."""

from __future__ import annotations

import gzip
import math
import random
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from producers.base import Event, SessionEnd, Story, Trade
from producers.closings import Closer
from producers.replay import SESSION_GAP_US, Replay
from streams import codec
from streams.clock import MINUTE_US, SECOND_US, closed_minute_us
from streams.errors import BadMessage, SourceError
from streams.messages import Tick

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
SESSION_MIN = 390
TICKS = f"""event_ts_us,symbol,price,size,aggressor
{T0},AAPL,585.5,100,buy
{T0},AAPL,585.5,100,buy
{T0 + 90 * SECOND_US},AMZN,223.82,1,sell
"""
HEADLINES = f"""event_ts_us,symbols,text,url
{T0 - 5},AAPL; AMZN ;,"Apple, Amazon rise",http://x
{T0 + 60 * SECOND_US},,Nobody in particular,
"""
STORIES = [(T0 - 5, ("AAPL", "AMZN"), "Apple, Amazon rise", "http://x"), (T0 + 60 * SECOND_US, (), "Nobody in particular", "")]
TRADES = [
    Trade(T0, "AAPL", 585.5, 100.0, 0),
    Trade(T0, "AAPL", 585.5, 100.0, 1),
    Trade(T0 + 90 * SECOND_US, "AMZN", 223.82, 1.0, 2),
]


def write(path: Path, text: str) -> Path:
    if path.suffix == ".parquet":
        pl.read_csv(text.encode()).write_parquet(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def ticks_of(tmp_path: Path, rows: str) -> Replay:
    return Replay(write(tmp_path / "t.csv", f"event_ts_us,symbol,price,size\n{rows}"), None)


def events_of(tmp_path: Path, rows: str) -> list[Event]:
    return list(ticks_of(tmp_path, rows).events())


def test_the_real_tape_has_every_trade_and_story_and_one_session(shared_data: Path) -> None:
    events = list(Replay.of_folder(shared_data / "tape-2012-06-21").events())
    assert Counter(type(event) for event in events) == {Trade: 46_409, Story: 53, SessionEnd: 1}
    assert [event.seq for event in events if isinstance(event, Trade)] == list(range(46_409))
    assert all(
        isinstance(event, Story) for event in events[events.index(next(e for e in events if isinstance(e, SessionEnd))) :][1:]
    )
    times = [event.event_ts_us for event in events]
    assert times == sorted(times)


def test_the_real_tape_closes_390_minutes_of_each_symbol_once(shared_data: Path) -> None:
    source = Replay.of_folder(shared_data / "tape-2012-06-21")
    closer = Closer(source.name, 2)
    records = [record for event in source.events() for record in closer.records(event)]
    ticks = [codec.decode(Tick, record.value) for record in records if record.topic == "ticks"]
    closings = Counter((tick.symbol, closed_minute_us(tick.clock_ts_us)) for tick in ticks if tick.closes)
    session = range(T0, T0 + SESSION_MIN * MINUTE_US, MINUTE_US)
    assert closings == Counter((symbol, minute) for symbol in ("AAPL", "AMZN") for minute in session)
    assert sum(not tick.closes for tick in ticks) == 46_409
    assert not any(tick.late for tick in ticks)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_every_format_gives_the_same_events(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"ticks{suffix}", TICKS)
    write(tmp_path / f"headlines{suffix}", HEADLINES)
    source = Replay.of_folder(tmp_path)
    events = list(source.events())
    assert [event for event in events if isinstance(event, Trade)] == TRADES
    stories = [event for event in events if isinstance(event, Story)]
    assert [(story.event_ts_us, story.symbols, story.text, story.url) for story in stories] == STORIES
    assert [type(event) for event in events] == [Story, Trade, Trade, Story, Trade, SessionEnd]
    csv = tmp_path / "as_csv"
    csv.mkdir()
    (csv / "ticks.csv").write_text(TICKS)
    (csv / "headlines.csv").write_text(HEADLINES)
    assert events == list(Replay.of_folder(csv).events())
    assert source.name == Replay.of_folder(csv).name


def test_another_tape_of_the_same_file_name_has_another_name(tmp_path: Path) -> None:
    names = set()
    for folder, rows in (("a", TICKS), ("b", TICKS.replace("585.5", "585.6")), ("c", TICKS.removesuffix("\n") + "\n")):
        (tmp_path / folder).mkdir()
        names.add(Replay(write(tmp_path / folder / "ticks.csv", rows), None).name)
    assert len(names) == 2
    assert all(name.startswith("replay:2012-06-21-") for name in names)


def test_stories_need_no_url_and_their_ids_repeat(tmp_path: Path) -> None:
    path = write(
        tmp_path / "headlines.csv", HEADLINES.replace(",url", "").replace(",http://x", "").replace("particular,", "particular")
    )
    first, second = list(Replay(None, path).events()), list(Replay(None, path).events())
    assert first == second
    assert [(event.id.rsplit(":", 1)[1], event.url) for event in first if isinstance(event, Story)] == [("0", ""), ("1", "")]


def test_unsorted_rows_keep_the_file_s_order(tmp_path: Path) -> None:
    times = [T0 + 60 * SECOND_US, T0, T0 + 61 * SECOND_US, T0 + 5]
    source = ticks_of(tmp_path, "".join(f"{ts},AAPL,1,1\n" for ts in times))
    assert [event.event_ts_us for event in source.events() if isinstance(event, Trade)] == times
    closer = Closer(source.name, 1)
    ticks = [codec.decode(Tick, r.value) for event in source.events() for r in closer.records(event) if r.topic == "ticks"]
    trades = [tick for tick in ticks if not tick.closes]
    assert [(tick.clock_ts_us, tick.late) for tick in trades] == [
        (times[0], False),
        (times[0], True),
        (times[2], False),
        (times[2], True),
    ]


def test_a_long_gap_ends_a_session_and_a_short_one_does_not(tmp_path: Path) -> None:
    times = [T0, T0 + SESSION_GAP_US, T0 + 2 * SESSION_GAP_US + 1]
    events = events_of(tmp_path, "".join(f"{ts},AAPL,1,1\n" for ts in times))
    assert [type(event) for event in events] == [Trade, Trade, SessionEnd, Trade, SessionEnd]
    assert [event.event_ts_us for event in events if isinstance(event, SessionEnd)] == times[1:]


def test_stories_of_the_night_come_between_the_sessions(tmp_path: Path) -> None:
    day = 86_400 * SECOND_US
    ticks = write(tmp_path / "t.csv", f"event_ts_us,symbol,price,size\n{T0},A,1,1\n{T0 + day},A,1,1\n")
    news = write(tmp_path / "h.csv", f"event_ts_us,symbols,text\n{T0 + 1},A,x\n{T0 + day - 1},A,y\n")
    assert [type(event) for event in Replay(ticks, news).events()] == [Trade, SessionEnd, Story, Story, Trade, SessionEnd]


def test_a_restart_leaves_out_what_is_there(tmp_path: Path) -> None:
    source = ticks_of(tmp_path, "".join(f"{T0 + k},AAPL,1,1\n" for k in range(5)))
    assert [event.seq for event in source.events(resume_after=2) if isinstance(event, Trade)] == [3, 4]


def test_empty_cells_travel_and_are_refused_later(tmp_path: Path) -> None:
    events = events_of(tmp_path, f"{T0},AAPL,,1\n{T0},AAPL,1,\n{T0},,1,1\n{T0},AAPL,nan,1\n")
    trades = [event for event in events if isinstance(event, Trade)]
    assert [(math.isnan(trade.price), math.isnan(trade.size), trade.symbol) for trade in trades] == [
        (True, False, "AAPL"),
        (False, True, "AAPL"),
        (False, False, ""),
        (True, False, "AAPL"),
    ]
    for event in trades:
        (record,) = Closer("test", 1).records(event)
        with pytest.raises(BadMessage):
            codec.decode(Tick, record.value)


def test_sale_conditions_are_read_where_the_file_has_them(tmp_path: Path) -> None:
    rows = f"event_ts_us,symbol,price,size,conditions\n{T0},A,1,1,average_price cash\n{T0},A,1,1,\n"
    tape = Replay(write(tmp_path / "t.csv", rows), None)
    assert [event.conditions for event in tape.events() if isinstance(event, Trade)] == ["average_price cash", ""]


def test_a_file_without_rows_is_a_tape_without_events(tmp_path: Path) -> None:
    assert events_of(tmp_path, "") == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"event_ts_us,symbol,size\n1,A,1\n", 'unable to find column "price"'),
        ("t.csv", b"event_ts_us,symbol,price,size\n1,A,1,1\n2,A,abc,1\n", "could not parse `abc`"),
        ("t.csv", b"event_ts_us,symbol,price,size\n1.5,A,1,1\n", "could not parse `1.5`"),
        ("t.csv", b"event_ts_us,symbol,price,size\n1,A,1,1\n,A,1,1\n", "row 2 .* has no event_ts_us"),
        ("t.csv", b"event_ts_us,symbol,price,size\n1340285400000000000,A,1,1\n", "row 1 .* in microseconds"),
        ("t.csv", b"event_ts_us,symbol,price,size\n1,A,1,1,1,1\n", "more fields than defined"),
        ("t.csv", b"", "empty CSV"),
        ("t.csv", random.Random(1).randbytes(5_000), "utf-8"),  # noqa: S311
        ("t.csv.gz", gzip.compress(random.Random(1).randbytes(5_000))[:2_000], "cannot be read as a table"),  # noqa: S311
        ("t.parquet", random.Random(1).randbytes(5_000), "cannot be read as a table"),  # noqa: S311
        ("t.parquet", b"", "cannot be read as a table"),
    ],
)
def test_a_file_that_is_no_tape_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=reason) as caught:
        Replay(path, None)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_parquet_file_of_other_types_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"event_ts_us": ["noon"], "symbol": ["A"], "price": [1.0], "size": [1.0]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="conversion from `str` to `i64` failed"):
        Replay(tmp_path / "t.parquet", None)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"not_here\.csv does not exist"):
        Replay(tmp_path / "not_here.csv", None)
    with pytest.raises(SourceError, match="no_folder does not exist"):
        Replay.of_folder(tmp_path / "no_folder")
    with pytest.raises(SourceError, match="has neither ticks nor headlines"):
        Replay.of_folder(tmp_path)
