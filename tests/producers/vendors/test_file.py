"""A growing file, as programs write it: in pieces, replaced, with rows that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from producers.base import Trade
from producers.vendors.catalog import open_live
from producers.vendors.file import FileFeed
from streams import settings
from streams.clock import wall_ts_us
from streams.errors import SourceError
from tests.producers.vendors.listening import listening

HEAD = "event_ts_us,symbol,price,size\n"


def row(symbol: str = "AAPL", price: float = 10.0, ago_s: float = 0.0) -> str:
    return f"{wall_ts_us() - round(ago_s * 1e6)},{symbol},{price},2\n"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_rows_that_are_appended_come_at_once_and_half_a_row_waits(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    with listening(FileFeed(path, trades=True)) as heard:
        path.write_text(HEAD + row("OLD", ago_s=3_600) + row())
        heard.until(lambda: len(heard.trades) == 1)
        whole = row("MSFT", 11.5)
        append(path, whole[:15])
        append(path, whole[15:] + row() + row())
        heard.until(lambda: len(heard.trades) == 4)
        first, second, *_ = heard.trades
        assert (first.symbol, first.price, first.size, first.source) == ("AAPL", 10.0, 2.0, "file:ticks.csv")
        assert (second.symbol, second.price) == ("MSFT", 11.5)
        assert len({one.seq for one in heard.trades}) == 4


def test_what_is_no_row_is_told_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ticks.jsonl"
    path.write_text("")
    with listening(FileFeed(path, trades=True)) as heard:
        for line in ("{", "[]", '{"event_ts_us": 1}', '{"event_ts_us": "x"}', "7", '{"event_ts_us": Infinity}', "[" * 100_000):
            append(path, line + "\n")
        good = {"event_ts_us": wall_ts_us(), "symbol": "AAPL", "price": 1.5, "size": 2, "seq": 77, "conditions": "odd_lot"}
        append(path, json.dumps(good) + "\n")
        heard.until(lambda: heard.trades and heard.counts["garbled"] == 7)
        assert heard.trades == [Trade(good["event_ts_us"], "AAPL", 1.5, 2.0, 77, "odd_lot", source="file:ticks.jsonl")]  # type: ignore[arg-type]


def test_a_file_that_is_replaced_is_another_and_one_that_is_read_again_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text(HEAD + row(ago_s=5) + row(ago_s=4))
    with listening(FileFeed(path, trades=True)) as heard:
        heard.until(lambda: len(heard.trades) == 2)
        fresh = tmp_path / "fresh.csv"
        fresh.write_text(HEAD + row("MSFT") + row("MSFT"))
        fresh.rename(path)
        heard.until(lambda: len(heard.trades) == 4)
    seqs = [one.seq for one in heard.trades]
    assert len(set(seqs)) == 4
    with listening(FileFeed(path, trades=True)) as again:
        again.until(lambda: len(again.trades) == 2)
        assert [one.seq for one in again.trades] == seqs[2:]


def test_headlines_come_from_a_file_too(tmp_path: Path) -> None:
    config = settings.load({}, symbols="AAPL,MSFT")
    path = tmp_path / "news.jsonl"
    path.write_text("")
    live = open_live({"headlines": ("file", str(path))}, config)
    with listening(*(line.feed for line in live._states), intake=live._intake) as heard:  # noqa: SLF001 - as the source has it
        append(path, json.dumps({"event_ts_us": wall_ts_us(), "symbols": "AAPL;TSLA", "text": "Apple rises", "url": "u"}) + "\n")
        append(path, json.dumps({"event_ts_us": wall_ts_us(), "text": "Microsoft falls on weak demand"}) + "\n")
        heard.until(lambda: len(heard.stories) == 2)
        assert [one.symbols for one in heard.stories] == [("AAPL",), ("MSFT",)]
        assert heard.stories[0].url == "u"


@pytest.mark.parametrize(("argument", "says"), [("", "needs a path"), ("x.csv", "one file"), (".", "has none of")])
def test_what_cannot_be_followed_is_one_sentence(
    argument: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=says):
        open_live({"ticks": ("file", argument), "headlines": ("file", argument)}, settings.load({}))


@pytest.mark.parametrize("broken", ["\n", HEAD + "x" * 200_000 + ",A,1,2\n"])
def test_a_file_that_begins_with_nonsense_does_not_end_the_source(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "ticks.csv"
    path.write_text(broken + HEAD * (broken == "\n") + row())
    with listening(FileFeed(path, trades=True)) as heard:
        heard.until(lambda: len(heard.trades) == 1)
