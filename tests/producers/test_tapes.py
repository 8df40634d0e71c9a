"""What can be replayed is found out, cut, and streamed: tapes of Parquet, lakes, parts of both."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from producers import replay, tapes
from producers.base import Event, SessionEnd, Story, Trade
from producers.lake_tape import LakeTape
from producers.replay import Replay, Span
from streams import lake
from streams.clock import MINUTE_US, SECOND_US
from streams.errors import SourceError
from streams.messages import Headline, Tick
from streams.settings import Settings, load

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
DAY_US = 86_400 * SECOND_US
ROWS = 1_000


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Return a tape of two symbols, one trade a second, and of a headline each minute."""
    folder = tmp_path / "tape"
    folder.mkdir()
    times = [T0 + at * SECOND_US for at in range(ROWS)]
    symbols = ["AAPL", "AMZN"] * (ROWS // 2)
    ticks = pl.DataFrame({"event_ts_us": times, "symbol": symbols, "price": [1.5] * ROWS, "size": [2.0] * ROWS})
    ticks.write_parquet(folder / "ticks.parquet", row_group_size=100)
    stories = {"event_ts_us": times[::60], "symbols": symbols[::60], "text": ["Apple rises"] * len(times[::60])}
    pl.DataFrame(stories).write_parquet(folder / "headlines.parquet")
    return folder


def trades(events: list[Event]) -> list[Trade]:
    return [event for event in events if isinstance(event, Trade)]


def test_parquet_read_in_slices_is_the_same_tape_as_read_whole(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Replay.of_folder(tape)
    monkeypatch.setattr(replay, "SLICE", 64)
    sliced = Replay.of_folder(tape)
    assert (sliced.name, sliced.span_us, list(sliced.events())) == (whole.name, whole.span_us, list(whole.events()))
    assert len(trades(list(sliced.events()))) == ROWS
    assert sliced.span_us == Span(T0, T0 + (ROWS - 1) * SECOND_US)


def test_a_row_without_a_time_is_named_in_whichever_slice_it_is(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "SLICE", 64)
    rows = pl.read_parquet(tape / "ticks.parquet").with_row_index()
    broken = rows.with_columns(event_ts_us=pl.when(pl.col("index") == 700).then(None).otherwise("event_ts_us"))
    broken.drop("index").write_parquet(tape / "ticks.parquet", row_group_size=100)
    with pytest.raises(SourceError, match="row 701 of"):
        Replay.of_folder(tape)


def cut(tape: Path, **wanted: object) -> list[Event]:
    path = tape.parent / "cut.json"
    path.write_bytes(msgspec.json.encode({"source": str(tape)} | wanted))
    return list(tapes.open_tape(path).events())


def test_a_cut_by_time_ends_its_session_where_it_ends(tape: Path) -> None:
    events = cut(tape, from_ts_us=T0 + 100 * SECOND_US, to_ts_us=T0 + 200 * SECOND_US)
    assert [trade.seq for trade in trades(events)] == list(range(100, 200))
    assert [event.event_ts_us for event in events if isinstance(event, Story)] == [T0 + 120 * SECOND_US, T0 + 180 * SECOND_US]
    assert events[-1] == SessionEnd(T0 + 199 * SECOND_US)


def test_a_cut_by_symbols_and_by_number(tape: Path) -> None:
    events = cut(tape, symbols=["AMZN"], ticks=10)
    assert [(trade.symbol, trade.seq) for trade in trades(events)] == [("AMZN", seq) for seq in range(1, 20, 2)]
    assert not any(isinstance(event, Story) for event in events)  # they are all about AAPL
    assert events[-1] == SessionEnd(trades(events)[-1].event_ts_us)
    assert cut(tape) == list(Replay.of_folder(tape).events())


@pytest.mark.parametrize(
    ("text", "says"), [(b"{", "does not say which part"), (b'{"source": "x", "form": 1}', "does not say which part")]
)
def test_a_cut_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(text)
    with pytest.raises(SourceError, match=says):
        tapes.open_tape(path)


def tick(at_us: int, seq: int, symbol: str = "AAPL", *, closes: bool = False, clock_us: int = 0, source: str = "x") -> Tick:
    return Tick(
        event_ts_us=at_us, clock_ts_us=clock_us or at_us, symbol=symbol, price=2, size=3, source=source, seq=seq, closes=closes
    )


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    """Return settings whose lake holds two days: repeats, closings, a late tick, and a headline."""
    own = load({}, home=tmp_path / "home")
    late = tick(T0 + SECOND_US, 1, clock_us=T0 + 2 * MINUTE_US)
    ticks = [tick(T0, 0), tick(T0, 0), tick(T0 + MINUTE_US, 2, "AMZN"), late, tick(T0, 0, closes=True, clock_us=T0 + MINUTE_US)]
    ticks += [tick(T0 + DAY_US, 3), tick(T0 + DAY_US, 3, source="y")]
    lake.write(own, "ticks", pl.DataFrame([msgspec.structs.asdict(one) for one in ticks]), "part")
    news = Headline(event_ts_us=T0 + 5, clock_ts_us=T0 + 5, id="h", symbols=["AAPL"], text="Apple rises", source="x")
    lake.write(own, "headlines", pl.DataFrame([msgspec.structs.asdict(news)]), "part")
    return own


def test_a_lake_is_a_tape_in_the_order_in_which_its_ticks_came(config: Settings) -> None:
    source = tapes.open_tape(lake.root(config))
    events = list(source.events())
    assert [type(event).__name__ for event in events] == [
        "Trade",
        "Story",
        "Trade",
        "Trade",
        "SessionEnd",
        "Trade",
        "Trade",
        "SessionEnd",
    ]
    assert [(trade.event_ts_us - T0, trade.symbol, trade.seq) for trade in trades(events)] == [
        (0, "AAPL", 0),
        (MINUTE_US, "AMZN", 1),
        (SECOND_US, "AAPL", 2),
        (DAY_US, "AAPL", 3),
        (DAY_US, "AAPL", 4),
    ]
    assert [trade.seq for trade in trades(list(source.events(resume_after=2)))] == [3, 4]
    assert source.name.startswith("replay:lake-2012-06-21-")


def test_only_the_days_that_are_wanted_are_read(config: Settings) -> None:
    tape = LakeTape(lake.root(config), Span(T0 + DAY_US, T0 + 2 * DAY_US))
    assert len(trades(list(tape.events()))) == 2
    with pytest.raises(SourceError, match="has no ticks of that time"):
        LakeTape(lake.root(config), Span(0, 1))
