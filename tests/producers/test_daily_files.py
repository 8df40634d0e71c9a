"""The feeds of the monthly outlook: a folder of files, and what Yahoo Finance answers."""

from __future__ import annotations

import importlib
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.local.broker import free_port
from producers import daily_yahoo
from producers.daily_files import DailyFiles
from producers.daily_yahoo import DailyYahoo
from streams.daily import Close, Story
from streams.errors import LineLost, SourceError, UnknownSymbol

PRICES = """date,close,high,low,open,vol
2015-03-31,12.5,13,12,12,100
2015-03-30,12,12,12,12,100
2015-04-01,,,,,
2015-04-02,11,12,11,12,90
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, file, text in (
        ("us-daily", "AAPL.csv", PRICES),
        ("us-daily", "TWICE.csv", PRICES + "2015-04-02,11,12,11,12,90\n"),
        (
            "headlines",
            "a.csv",
            "time_utc,symbols,title,url\n2015-04-02T10:00Z,AAPL;IBM,later,u2\n2015-03-30T10:00Z,AAPL,first,u1\n",
        ),
    ):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text(text)
    return tmp_path


def test_files_are_told_by_day_without_what_is_missing(folder: Path) -> None:
    feed = DailyFiles(folder)
    assert [(one.day.day, one.price) for one in feed.closes("AAPL")] == [(30, 12.0), (31, 12.5), (2, 11.0)]
    assert [(story.title, story.url) for story in feed.stories("AAPL")] == [("first", "u1"), ("later", "u2")]
    assert feed.stories("NONE") == []


def test_as_of_a_day_nothing_later_is_told(folder: Path) -> None:
    feed = DailyFiles(folder, date(2015, 3, 31))
    assert feed.closes("AAPL")[-1] == Close(date(2015, 3, 31), 12.5)
    assert [story.title for story in feed.stories("AAPL")] == ["first"]


def test_an_unknown_stock_and_a_damaged_file_are_told_apart(folder: Path) -> None:
    with pytest.raises(UnknownSymbol, match="no file of NOPE"):
        DailyFiles(folder).closes("NOPE")
    with pytest.raises(SourceError, match="2015-04-02 more than once") as damaged:
        DailyFiles(folder).closes("TWICE")
    assert not isinstance(damaged.value, UnknownSymbol)
    (folder / "headlines" / "a.csv").write_text("time_utc,symbols,title\nsoon,AAPL,x\n")
    with pytest.raises(SourceError, match="cannot be read as headlines"):
        DailyFiles(folder).stories("AAPL")


def test_yahoos_articles_become_headlines_by_time() -> None:
    articles: list[dict[str, Any]] = [
        {"content": {"title": "B", "pubDate": "2026-03-02T10:00:00Z", "canonicalUrl": {"url": "https://b.example"}}},
        {"content": {"title": "A", "pubDate": "2026-03-01T10:00:00Z", "canonicalUrl": None}},
        {"content": {"title": "", "pubDate": "2026-03-01T10:00:00Z"}},
        {"content": {"title": "no time"}},
        {"content": None},
    ]
    at_us = int(datetime.fromisoformat("2026-03-01T10:00:00+00:00").timestamp()) * 1_000_000
    assert daily_yahoo.stories_of(articles) == [Story(at_us, "A", ""), Story(at_us + 86_400_000_000, "B", "https://b.example")]


def test_yahoos_prices_lose_what_is_missing_and_none_is_an_unknown_stock() -> None:
    days = [date(2026, 3, day) for day in (3, 2, 1)]
    assert daily_yahoo.closes_of(zip(days, (3.0, float("nan"), 1.0), strict=True), "X") == [
        Close(days[2], 1.0),
        Close(days[0], 3.0),
    ]
    with pytest.raises(UnknownSymbol, match="no prices of X"):
        daily_yahoo.closes_of([], "X")


def test_a_line_to_yahoo_that_is_down_is_a_fault_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    yahoo = importlib.import_module("yfinance")
    monkeypatch.setitem(yahoo.config.network.data, "proxy", f"http://127.0.0.1:{free_port()}")  # nobody listens there
    day = date(2024, 1, 2)
    for ask in (DailyYahoo().closes, DailyYahoo().stories, lambda symbol: daily_yahoo.bars(symbol, day, day)):
        with pytest.raises(LineLost, match="Yahoo Finance does not answer"):
            ask("AAPL")
