"""Closes and headlines to months: by hand, and that nothing later than the day of the forecast is seen."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.outlook import months
from models.outlook.months import NO_NEWS, News, Prices
from models.sentiment import aggregate

AS_OF = date(2015, 3, 31)
FIRST = date(2014, 11, 3)


def weekdays(first: date, last: date) -> list[date]:
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [day for day in days if day.weekday() < 5]


def prices(first: date = FIRST, last: date = AS_OF, seed: int = 1) -> Prices:
    days = weekdays(first, last)
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, len(days))))
    return Prices(np.array(days, "datetime64[D]"), closes)


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc, arg-type]


def test_a_month_goes_from_close_to_close_and_takes_its_own_headlines() -> None:
    known = prices(date(2014, 12, 2))
    told = News(
        np.array(
            [us(2015, 2, 27, 19, 59), us(2015, 2, 27, 20, 0, 1), us(2015, 3, 1), us(2015, 3, 31, 20), us(2015, 3, 31, 20, 0, 1)]
        ),
        np.array([-1.0, 0.2, 0.4, 0.9, -1.0]),
    )
    seen = months.months(known, told, AS_OF)
    assert [month.end for month in seen] == [date(2014, 12, 31), date(2015, 1, 31), date(2015, 2, 28), AS_OF]
    first, last = known.closes[known.at(date(2015, 2, 27))], known.closes[-1]
    assert seen[-1].change == pytest.approx(last / first - 1)
    assert seen[-1].headlines == 3
    assert seen[-1].sentiment == pytest.approx(0.5)
    assert (seen[-2].headlines, seen[-2].sentiment, seen[-2].quiet) == (1, 0.0, True)
    assert seen[0].change is None  # nothing was traded on the last of November, nor before
    assert months.matrix(seen)[0].tolist() == [0.0, 0.0]


def test_the_median_does_not_follow_one_shrill_headline() -> None:
    told = News(np.array([us(2015, 3, day) for day in (2, 3, 4)]), np.array([0.1, 0.1, -1.0]))
    seen = [months.months(prices(), told, AS_OF, how)[-1].sentiment for how in (aggregate.mean, aggregate.median)]
    assert seen == pytest.approx([-0.8 / 3, 0.1])


@given(day=st.dates(date(2014, 12, 15), date(2015, 3, 20)), seed=st.integers(2, 50))
def test_what_comes_after_the_close_changes_nothing_that_was_known(day: date, seed: int) -> None:
    known, other = prices(), prices(seed=seed)
    after = np.array(known.days > np.datetime64(day, "D"))
    changed = Prices(known.days, np.where(after, other.closes, known.closes))
    close_us = months.close_us(known.day(known.at(day)))
    times = np.sort(np.random.default_rng(seed).integers(us(2014, 11, 1), us(2015, 4, 1), 200))
    scores = np.linspace(-1, 1, 200)
    told, retold = News(times, scores), News(times, np.where(times > close_us, 0.77, scores))
    assert months.months(known, told, day) == months.months(changed, retold, day)
    assert months.volatility(known, day) == months.volatility(changed, day)


def test_volatility_is_of_a_month_and_unknown_without_days() -> None:
    assert months.volatility(prices(date(2014, 1, 1)), AS_OF) == pytest.approx(0.02 * math.sqrt(21), rel=0.2)
    assert math.isnan(months.volatility(prices(date(2015, 3, 25)), AS_OF))
    still = Prices(prices().days, np.full(len(prices().days), 5.0))
    assert months.volatility(still, AS_OF) == months.LEAST_VOLATILITY


def test_without_a_close_there_is_no_month() -> None:
    late = prices(date(2015, 4, 1), date(2015, 4, 10))
    assert [month.change for month in months.months(late, NO_NEWS, AS_OF)] == [None] * 4
