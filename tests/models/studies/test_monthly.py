"""The monthly study: on real data end to end, and on made-up months where news tell the future, or tell nothing."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from models.outlook import months
from models.outlook.months import Prices
from models.sentiment.known_texts import KnownTexts
from models.sentiment.reading import Reader
from models.studies import headline_files, monthly, monthly_data, monthly_rows
from models.studies.base import Options
from models.studies.monthly_data import Inputs, Samples
from models.studies.monthly_trial import Plan, Trainings, Variant, is_forecast
from models.studies.report import figures
from models.studies.resume import Parts
from streams import settings
from streams.errors import SourceError
from tests.models.outlook.samples import WordModel


def inputs(seed: int = 5) -> Inputs:
    """Return prices of two stocks from 2012 to 2016 and three headlines a month of each."""
    chance = np.random.default_rng(seed)
    days = np.arange("2012-01-01", "2017-01-01", dtype="datetime64[D]")
    prices, news = {}, {}
    for symbol in ("AAPL", "TSLA"):
        begun = 500 if symbol == "TSLA" else 0
        prices[symbol] = Prices(days[begun:], 100 * np.exp(np.cumsum(chance.normal(0, 0.01, len(days) - begun))))
        times = days[::10].astype("datetime64[us]").astype(np.int64)
        news[symbol] = months.News(times, chance.uniform(-1, 1, len(times)))
    return Inputs(prices, news, "words")


def made(count_months: int, truth: float, seed: int = 3) -> Samples:
    """Return months of six stocks whose return is `truth` times the sentiment of the last month, and noise."""
    chance = np.random.default_rng(seed)
    ends = [months.back(date(2008, 1, 31), -number) for number in range(count_months)]
    n = 6 * len(ends)
    matrices = np.stack([chance.normal(0, 0.05, (n, 4)), chance.uniform(-1, 1, (n, 4))], axis=2)
    return Samples(
        as_of=np.repeat(np.array([months.back(end, 1) for end in ends], "datetime64[D]"), 6),
        until=np.repeat(np.array(ends, "datetime64[D]"), 6),
        symbols=np.array(monthly_data.STOCKS * len(ends)),
        matrices=matrices,
        changes=truth * matrices[:, -1, 1] + chance.normal(0, 0.05, n),
        volatility=np.full(n, 0.05),
        headlines=np.full(n, 40),
    )


def test_a_stock_that_is_listed_later_begins_with_months_of_nothing() -> None:
    found = monthly_data.samples(inputs(), first=date(2012, 5, 31), last=date(2014, 5, 31))
    own = found.where(found.symbols == "TSLA")  # its first price is of 2013-05-15
    assert own.as_of[0] == np.datetime64("2013-06-30")
    assert own.matrices[0, :3, 0].tolist() == [0.0, 0.0, 0.0]
    assert (own.matrices[:, -1, 0] != 0).all()
    assert len(found) == 25 + 12


def test_samples_know_nothing_of_what_comes_after_them() -> None:
    whole = inputs()
    border = date(2014, 3, 31)
    cut = Inputs(
        {
            symbol: replace(one, closes=np.where(one.days > np.datetime64(border), 1.0, one.closes))
            for symbol, one in whole.prices.items()
        },
        {
            symbol: replace(one, scores=np.where(one.times_us > months.close_us(border), 1.0, one.scores))
            for symbol, one in whole.news.items()
        },
        "words",
    )
    seen = [monthly_data.samples(one, first=date(2012, 5, 31), last=border) for one in (whole, cut)]
    assert np.array_equal(seen[0].matrices, seen[1].matrices)
    assert np.array_equal(seen[0].volatility, seen[1].volatility, equal_nan=True)
    assert not np.array_equal(seen[0].changes, seen[1].changes)


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "verdict"), [(0.08, "edge"), (0.0, "no demonstrated edge")])
def test_an_edge_is_found_where_there_is_one_and_only_there(tmp_path: Path, truth: float, verdict: str) -> None:
    samples = made(48, truth)
    plan = Plan((2010, 2011), (1,), 60)
    told: list[int] = []
    trainings = Trainings(plan, Parts(tmp_path), lambda: told.append(1))
    first = trainings.walk(Variant("LSTM", samples))
    walked = samples.where(is_forecast(samples, plan.years))
    row = monthly_rows.row("LSTM", "ours", first.expected, walked, np.zeros(len(walked)))
    assert row.verdict == verdict
    assert np.array_equal(trainings.walk(Variant("LSTM", samples)).expected, first.expected)
    assert (len(list(tmp_path.iterdir())), len(told)) == (2, 4)  # the second time nothing was fitted


def test_what_rises_on_average_is_no_edge() -> None:
    samples = made(60, 0.0)
    rising = replace(samples, changes=samples.changes + 0.04)
    mean = np.full(len(rising), 0.04)
    assert monthly_rows.row("mean", "ours", mean[None], rising, mean).verdict == "no demonstrated edge"
    assert monthly_rows.row("naive", "naive", mean[None], rising, mean).verdict == ""


def test_calibrated_intervals_hold_what_they_promise_of_what_does_not_change() -> None:
    samples = made(84, 0.0)
    held = monthly_rows.calibrated("misses", "ours", np.zeros(len(samples)), samples).values
    assert held["80 % held"][0] == pytest.approx(80, abs=5)
    assert held["95 % held"][0] == pytest.approx(95, abs=3)
    narrow = monthly_rows.gaussian("too narrow", np.zeros(len(samples)), np.full(len(samples), 0.01), samples).values
    assert narrow["80 % held"][0] < 30


def files(folder: Path, headlines: list[tuple[str, str, str]]) -> Path:
    """Write prices of the two quick stocks, one without a price on one day, and headlines; return the folder."""
    (folder / "us-daily").mkdir()
    (folder / "headlines").mkdir()
    days = [date(2006, 12, 1) + timedelta(days=number) for number in range(2300)]
    for number, symbol in enumerate(monthly_data.QUICK_STOCKS):
        close = [None if at == 700 + number else 50.0 + at % 37 for at in range(len(days))]
        rows = {"date": days, "close": close, "high": close, "low": close, "open": close, "vol": 1}
        pl.DataFrame(rows, strict=False).write_csv(folder / "us-daily" / f"{symbol}.csv")
    with (folder / "headlines" / "some.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("time_utc", "symbols", "title"), *headlines])
    return folder


def options(folder: Path, home: Path) -> Options:
    return Options(msgspec.structs.replace(settings.load({}), home=home, sentiment="minilm"), folder, quick=True)


def test_repeats_are_one_story_and_a_day_without_a_price_is_left_out(tmp_path: Path) -> None:
    told = [
        ("2007-01-05T10:00Z", "AAPL;MSFT", "good news"),
        ("2007-01-06T10:00Z", "AAPL", "good news"),
        ("2007-01-06T11:00Z", "AAPL", "? x"),
    ]
    folder = files(tmp_path, told)
    model = WordModel()
    found = monthly_data.read(folder, Reader(model, KnownTexts()), lambda _done, _total: None, quick=True)
    assert model.asked == 2
    assert [len(found.news[symbol].scores) for symbol in ("AAPL", "MSFT")] == [1, 1]  # a text that cannot be read counts not
    assert found.news["AAPL"].scores.tolist() == [0.7]
    assert len(found.prices["AAPL"].days) == 2299


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there are no headlines of AAPL, MSFT"),
        ("time_utc,symbols,title\nyesterday,AAPL,good news\n", "some.csv cannot be read as headlines"),
    ],
)
def test_bad_headlines_are_one_sentence_and_leave_nothing(tmp_path: Path, text: str, says: str) -> None:
    folder = files(tmp_path, [])
    (folder / "headlines" / "some.csv").write_text(text or "time_utc,symbols,title\n2007-01-05T10:00Z,IBM,good news\n")
    with pytest.raises(SourceError, match=says):
        monthly.STUDY.run(options(folder, tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_a_file_of_all_news_is_passed_over(tmp_path: Path) -> None:
    folder = files(tmp_path, [("2007-01-05T10:00Z", "AAPL", "good news")])
    (folder / "headlines" / "stream.csv").write_text("time_utc,title\n2007-01-05T10:00Z,something\n")
    assert headline_files.stories(folder)["title"].to_list() == ["good news"]


@pytest.mark.slow
def test_the_whole_study_runs_on_real_data_and_is_resumed(shared_data: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    asked = replace(options(shared_data, tmp_path), seeds=2, tell=lambda *what: told.append(what))
    report = monthly.STUDY.run(asked)
    assert told[-1] == ("networks", 26, 26)
    names = [row.name for row in report.tables[0].rows]
    assert names == ["no change", "mean of all stocks", "linear regression", "LSTM", "LSTM, ensemble"]
    assert [row.name for row in report.tables[1].rows][-2:] == ["min-max scaling", "no scaling"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in report.pictures)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = monthly.STUDY.run(asked)
    assert figures(again)["tables"] == figures(report)["tables"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == before
