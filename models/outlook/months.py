"""Daily closes and scored headlines to the last four months of a stock: of each its return and its sentiment.

A month ends at the close of a day: of the day of the forecast, of the same day a month before, and so on; a forecast of the last
day of a month sees calendar months. News count up to that close and no further: what is published after it is already in the
price at which the next month begins.
"""

from __future__ import annotations

import math
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sentiment.aggregate import Aggregate, mean
from streams.clock import SECOND_US

MONTHS = 4
LEAST_NEWS = 3  # headlines: fewer say more of one reporter than of a month, and count as neutral
CLOSE_UTC = time(20)  # New York's close in summer, an hour before it in winter: never after it
VOLATILITY_DAYS = 84  # trading days, four months
MONTH_DAYS = 21  # trading days
LEAST_VOLATILITY = 0.02  # of a month; a stock that did not move may yet

Array = NDArray[np.float64]
Aggregation = Callable[[Array], Aggregate]


@dataclass(frozen=True)
class Prices:
    """Adjusted closes of one stock.

    Parameters
    ----------
    days : NDArray[np.datetime64]
        [n], ascending, each once.
    closes : Array
        [n], above 0.
    """

    days: NDArray[np.datetime64]
    closes: Array

    def at(self, day: date) -> int:
        """Return the place of the last close on or before `day`; -1 where there is none."""
        return int(np.searchsorted(self.days, np.datetime64(day, "D"), side="right")) - 1

    def day(self, place: int) -> date:
        """Return the day of the close at `place`."""
        found: date = self.days[place].item()
        return found

    def until(self, day: date) -> Prices:
        """Return what was known at the close of `day`."""
        known = self.at(day) + 1
        return Prices(self.days[:known], self.closes[:known])


@dataclass(frozen=True)
class News:
    """Scored headlines of one stock: [n] times in microseconds UTC, ascending, and [n] scores from -1 to 1."""

    times_us: NDArray[np.int64]
    scores: Array

    def between(self, after_us: int, until_us: int) -> Array:
        """Return the scores of what was published after `after_us`, `until_us` included."""
        first, last = np.searchsorted(self.times_us, [after_us, until_us], side="right")
        return self.scores[first:last]


NO_NEWS = News(np.zeros(0, np.int64), np.zeros(0))


class Month(NamedTuple):
    """One month: its last day, its return (None: no price at one of its ends), its sentiment and of how many headlines."""

    end: date
    change: float | None
    sentiment: float
    headlines: int

    @property
    def quiet(self) -> bool:
        """Whether there were too few headlines, so that the sentiment is neutral."""
        return self.headlines < LEAST_NEWS


def back(day: date, months: int) -> date:
    """Return the same day `months` before; the last day of a month stays the last, and the 31st becomes what there is.

    >>> back(date(2015, 5, 31), 3), back(date(2015, 5, 30), 3), back(date(2016, 2, 29), -1)
    (datetime.date(2015, 2, 28), datetime.date(2015, 2, 28), datetime.date(2016, 3, 31))
    """
    year, month = divmod(12 * day.year + day.month - 1 - months, 12)
    last = monthrange(year, month + 1)[1]
    ends = day.day == monthrange(day.year, day.month)[1]
    return date(year, month + 1, last if ends else min(day.day, last))


def close_us(day: date) -> int:
    """Return the moment up to which news count that were known at the close of `day`."""
    return int(datetime.combine(day, CLOSE_UTC, UTC).timestamp()) * SECOND_US


def months(prices: Prices, news: News, as_of: date, aggregate: Aggregation = mean, count: int = MONTHS) -> list[Month]:
    """Return the `count` months up to the close of `as_of`, oldest first, from what was known then."""
    ends = [back(as_of, number) for number in range(count, -1, -1)]
    return [_month(prices, news, begin, end, aggregate) for begin, end in pairwise(ends)]


def matrix(found: list[Month]) -> Array:
    """Return [months, 2]: return and sentiment; 0 and 0, no move and no news, where there is no price."""
    return np.array([(month.change or 0.0, month.sentiment) for month in found])


def change(prices: Prices, begin: date, end: date) -> float | None:
    """Return the return from the close of `begin` to that of `end`; None where one is missing or both are the same."""
    first, last = prices.at(begin), prices.at(end)
    return None if first < 0 or last == first else float(prices.closes[last] / prices.closes[first] - 1.0)


def volatility(prices: Prices, as_of: date) -> float:
    """Return the standard deviation of a month's return, from the days of the last four months up to `as_of`; NaN: too few."""
    place = prices.at(as_of)
    moves = np.diff(np.log(prices.closes[max(0, place - VOLATILITY_DAYS) : place + 1]))
    if len(moves) < MONTH_DAYS // 2:
        return math.nan
    return max(LEAST_VOLATILITY, math.sqrt(MONTH_DAYS * float((moves**2).mean())))


def _month(prices: Prices, news: News, begin: date, end: date, aggregate: Aggregation) -> Month:
    scores = news.between(_traded_us(prices, begin), _traded_us(prices, end))
    value = aggregate(scores).value if len(scores) >= LEAST_NEWS else 0.0
    return Month(end, change(prices, begin, end), value, len(scores))


def _traded_us(prices: Prices, day: date) -> int:
    """Return the moment of the last close on or before `day`; of `day` itself where nothing was traded yet."""
    place = prices.at(day)
    return close_us(day if place < 0 else prices.day(place))
