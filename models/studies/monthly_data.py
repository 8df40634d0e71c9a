"""The samples of the monthly study: at the end of a month, for a stock, four months of returns and sentiment, and what came.

Files are under one folder: `us-daily/SYMBOL.csv` (`daily_files.py`) and `headlines*/` (`headline_files.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.outlook import months
from models.outlook.months import Aggregation, Array, News, Prices
from models.sentiment import aggregate
from models.sentiment.reading import Reader
from models.studies import daily_files, headline_files
from models.studies.resume import key_of
from streams.errors import SourceError

STOCKS = ("AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "META")
FIRST = date(2007, 4, 30)  # the headlines begin with 2007: the first end of a month with four months of them
NEWS_UNTIL = date(2016, 7, 31)  # and they end in the August after
LAST = date(2024, 11, 30)  # the last end of a month with a whole month of prices behind it
QUICK_STOCKS = ("AAPL", "MSFT")
QUICK_LAST = date(2011, 11, 30)
QUICK_HEADLINES = 4  # of a stock in a month
AGGREGATIONS: Mapping[str, Aggregation] = {
    "mean": aggregate.mean,
    "median": aggregate.median,
    "trimmed": aggregate.trimmed_mean,
}


class Inputs(NamedTuple):
    """Everything that was read, by symbol."""

    prices: dict[str, Prices]
    news: dict[str, News]
    sentiment_model_id: str

    def digest(self) -> str:
        """Return a name of exactly these inputs."""
        prices = (array.tobytes() for one in self.prices.values() for array in (one.days, one.closes))
        news = (array.tobytes() for one in self.news.values() for array in (one.times_us, one.scores))
        return key_of(*self.prices, *prices, *news)


@dataclass(frozen=True)
class Samples:
    """[n] forecasts to be made, by time and symbol.

    Parameters
    ----------
    as_of, until : NDArray[np.datetime64]
        [n], the day of the forecast, and the day for which it is.
    symbols : NDArray[np.str_]
        [n]
    matrices : Array
        [n, months, 2], return and sentiment, the oldest month first.
    changes : Array
        [n], the return that came from `as_of` to `until`.
    volatility : Array
        [n], of a month's return, as known at `as_of`; NaN where too few prices were.
    headlines : NDArray[np.int64]
        [n], in the four months together.
    """

    as_of: NDArray[np.datetime64]
    until: NDArray[np.datetime64]
    symbols: NDArray[np.str_]
    matrices: Array
    changes: Array
    volatility: Array
    headlines: NDArray[np.int64]

    def __len__(self) -> int:
        """Return n."""
        return len(self.as_of)

    def where(self, chosen: NDArray[np.bool_]) -> Samples:
        """Return the samples for which `chosen` [n] is true."""
        return Samples(**{name: values[chosen] for name, values in vars(self).items()})

    def quiet(self) -> Samples:
        """Return the same samples without news: every sentiment neutral."""
        return replace(self, matrices=self.matrices * np.array([1.0, 0.0]), headlines=np.zeros_like(self.headlines))


def read(folder: Path, reader: Reader, tell: Callable[[int, int], None], *, quick: bool = False) -> Inputs:
    """Return prices and scored headlines of the six stocks; `quick`: of two, and few headlines of them.

    Raises
    ------
    SourceError
        A file is missing or damaged.
    """
    stocks = QUICK_STOCKS if quick else STOCKS
    prices = {symbol: prices_of(daily_files.us(folder, symbol)) for symbol in stocks}
    rows = headline_files.stories(folder).filter(pl.col("symbol").is_in(stocks))
    if rows.is_empty():
        raise SourceError(
            f"there are no headlines of {', '.join(stocks)} under {folder}/headlines*; pass --data DIR that has them"
        )
    if quick:
        month = pl.from_epoch("event_ts_us", "us").dt.truncate("1mo")
        rows = rows.filter(pl.from_epoch("event_ts_us", "us").dt.date() <= QUICK_LAST)
        rows = rows.filter(pl.int_range(pl.len()).over("symbol", month) < QUICK_HEADLINES)
    scores = reader.scores(rows["title"].to_list(), tell)
    return Inputs(
        prices, {symbol: news_of(rows.filter(pl.col("symbol") == symbol), scores) for symbol in stocks}, reader.model_id
    )


def prices_of(rows: pl.DataFrame) -> Prices:
    """Return the closes of `rows` (date, close, by date); a day without one is left out, which carries the last one forward."""
    whole = rows.filter(pl.col("close") > 0)
    return Prices(whole["date"].to_numpy().astype("datetime64[D]"), whole["close"].to_numpy())


def news_of(rows: pl.DataFrame, scores: Mapping[str, float | None]) -> News:
    """Return the headlines of `rows` (event_ts_us, title, by time) that have a score."""
    scored = [
        (at, score) for at, title in rows.select("event_ts_us", "title").iter_rows() if (score := scores[title]) is not None
    ]
    times, values = zip(*scored, strict=True) if scored else ((), ())
    return News(np.array(times, np.int64), np.array(values, np.float64))


def samples(inputs: Inputs, aggregation: Aggregation = aggregate.mean, first: date = FIRST, last: date = LAST) -> Samples:
    """Return the samples at the ends of months from `first` to `last`; one for each stock with a month of prices behind it."""
    found = [
        one
        for as_of in _ends(first, last)
        for symbol, prices in inputs.prices.items()
        if (one := _sample(symbol, prices, inputs.news[symbol], as_of, aggregation)) is not None
    ]
    as_of, until, symbols, matrices, changes, volatility, headlines = zip(*found, strict=True)
    return Samples(
        as_of=np.array(as_of, "datetime64[D]"),
        until=np.array(until, "datetime64[D]"),
        symbols=np.array(symbols),
        matrices=np.array(matrices),
        changes=np.array(changes),
        volatility=np.array(volatility),
        headlines=np.array(headlines),
    )


def newest_end(inputs: Inputs) -> date:
    """Return the last end of a month behind which all stocks have a whole month of prices."""
    known = min(prices.day(-1) for prices in inputs.prices.values())
    return months.back((known + timedelta(days=1)).replace(day=1) - timedelta(days=1), 1)


def _ends(first: date, last: date) -> list[date]:
    count = 12 * (last.year - first.year) + last.month - first.month + 1
    return [months.back(first, -number) for number in range(count)]


def _sample(
    symbol: str, prices: Prices, news: News, as_of: date, aggregation: Aggregation
) -> tuple[date, date, str, Array, float, float, int] | None:
    until = months.back(as_of, -1)
    came = months.change(prices, as_of, until)
    seen = months.months(prices.until(as_of), news, as_of, aggregation)
    if came is None or seen[-1].change is None:
        return None
    headlines = sum(month.headlines for month in seen)
    return as_of, until, symbol, months.matrix(seen), came, months.volatility(prices, as_of), headlines
