"""Fetching daily files: whole files or none, and the missing ones alone the next time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from models.studies import daily_files
from producers import daily_fetch
from producers.daily_fetch import Wanted
from producers.daily_yahoo import Bar
from streams.errors import EnvironmentFault, LineLost, SourceError
from tests.models.studies.files import bars

DAYS = (date(2024, 1, 1), date(2024, 12, 31))
FILES = daily_fetch.wanted(["AAPL", "TSLA"])


class Feed:
    """A feed with faults."""

    def __init__(self, **faults: Exception) -> None:
        self.faults, self.asked = faults, list[str]()

    def __call__(self, symbol: str, first: date, last: date) -> Iterable[Bar]:
        self.asked.append(symbol)
        for at, bar in enumerate(bars(100, 1)):
            if at == 50 and symbol in self.faults:
                raise self.faults[symbol]
            yield (bar[0], math.nan, math.nan, math.nan, math.nan, math.nan) if at == 20 else bar


def fetch(folder: Path, feed: Feed, files: tuple[Wanted, ...] = FILES) -> list[Path]:
    return daily_fetch.fetch(folder, files, DAYS, feed, lambda _done: None)


def test_what_is_fetched_is_read_by_the_studies_and_a_row_of_nan_stays_one(tmp_path: Path) -> None:
    assert len(fetch(tmp_path, Feed())) == 3
    rows = daily_files.us(tmp_path, "AAPL")
    assert (len(rows), rows["close"].null_count()) == (100, 1)
    assert rows["close"][-1] == bars(100, 1)[-1][4]
    assert len(daily_files.sse(tmp_path)) == 100


def test_a_feed_that_fails_half_way_leaves_whole_files_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line cut; run it again"):
        fetch(tmp_path, Feed(TSLA=LineLost("line cut")))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["AAPL.csv", "sse_composite.csv"]
    again = Feed()
    fetch(tmp_path, again)
    assert again.asked == ["TSLA"]


def test_an_unknown_symbol_is_told(tmp_path: Path) -> None:
    def nothing(_symbol: str, _first: date, _last: date) -> Iterable[Bar]:
        return []

    with pytest.raises(SourceError, match="no prices of NOPE"):
        daily_fetch.fetch(tmp_path, (Wanted("NOPE", "us-daily/NOPE.csv"),), DAYS, nothing, lambda _done: None)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "us-daily").write_text("a file where a folder belongs")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        fetch(tmp_path, Feed(), FILES[:1])
