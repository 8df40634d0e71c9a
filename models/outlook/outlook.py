"""The outlook of one stock: what goes in, what comes out, and what to think of it, as `/v1/outlook` answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

import msgspec
import numpy as np

from models.outlook import months
from models.outlook.estimator import Estimator, Suggestion
from models.outlook.months import Month, News, Prices
from models.outlook.pretrained import About
from models.sentiment.reading import Reader
from streams.daily import Close, Story
from streams.errors import UnknownSymbol

SHOWN_DAYS = 260  # of prices: a year
SHOWN_HEADLINES = 40
STALE_DAYS = 7  # longer than any holiday


class SeenMonth(msgspec.Struct, frozen=True):
    """A row of the matrix; `change` is None where there was no price, which the network sees as no move.

    `sentiment` is the mean of P(positive) - P(negative), neutral (0) where `quiet`: fewer than three headlines.
    """

    end: str
    change: float | None
    sentiment: float
    headlines: int
    quiet: bool


class Point(msgspec.Struct, frozen=True):
    """A day's close."""

    day: str
    close: float


class ScoredStory(msgspec.Struct, frozen=True):
    """A headline; `score` is None where the model knows no word of it."""

    event_ts_us: int
    title: str
    url: str
    score: float | None


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a stock may do within a month.

    Parameters
    ----------
    as_of, target : str
        The day of the last price, and the day a month later; ISO.
    expected_return, expected_price : float
        What the networks say on average.
    return_intervals, price_intervals : dict[str, tuple[float, float]]
        Per cent to the two ends.
    suggestion : str
        buy where at least `buy_from` is expected, sell where at most `sell_from`, else hold.
    usual_return, buy_from, sell_from : float
        The mean return of all months that the networks were trained on, and the two thresholds.
    verdict, verdict_why : str
        What tests say of the model; "no demonstrated edge" means that a suggestion is worth nothing.
    volatility : float
        Of a month's return, the standard deviation.
    ensemble_spread, dropout_spread : float
        What the networks do not know about themselves, as standard deviations of the expected return; no interval.
    """

    symbol: str
    feed: str
    as_of: str
    target: str
    last_price: float
    expected_return: float
    expected_price: float
    return_intervals: dict[str, tuple[float, float]]
    price_intervals: dict[str, tuple[float, float]]
    suggestion: Suggestion
    usual_return: float
    buy_from: float
    sell_from: float
    verdict: str
    verdict_why: str
    volatility: float
    ensemble_spread: float
    dropout_spread: float
    months: list[SeenMonth]
    history: list[Point]
    headlines: list[ScoredStory]
    notes: list[str]
    model_id: str
    sentiment_model_id: str


class Outlooker:
    """Makes outlooks; for one thread at a time.

    Parameters
    ----------
    served : Callable[[], Estimator]
        Asked once for each outlook for the networks to use.
    """

    def __init__(self, reader: Reader, served: Callable[[], Estimator]) -> None:
        self._reader = reader
        self._served = served

    def outlook(self, symbol: str, feed: str, closes: Sequence[Close], stories: Sequence[Story], today: date) -> Outlook:
        """Return the outlook of `symbol` from what `feed` told; the same input gives the same outlook.

        Raises
        ------
        UnknownSymbol
            It has been traded for less than a month.
        """
        prices = prices_of(closes)
        as_of = prices.day(-1) if closes else today
        wanted = _recent(stories, as_of)
        scores = self._reader.scores([story.title for story in wanted])
        seen = months.months(prices, news_of(wanted, scores), as_of)
        if not closes or seen[-1].change is None:
            raise UnknownSymbol(f"{symbol} has no month of prices behind it at {feed}, so that nothing can be said of the next")
        estimator = self._served()
        estimate = estimator.estimate(months.matrix(seen), months.volatility(prices, as_of))
        last = float(prices.closes[-1])
        about = estimator.about
        return Outlook(
            symbol=symbol,
            feed=feed,
            as_of=as_of.isoformat(),
            target=months.back(as_of, -1).isoformat(),
            last_price=last,
            expected_return=estimate.expected,
            expected_price=last * (1 + estimate.expected),
            return_intervals=estimate.intervals,
            price_intervals={share: (last * (1 + low), last * (1 + high)) for share, (low, high) in estimate.intervals.items()},
            suggestion=estimate.suggestion,
            usual_return=about.usual_return,
            buy_from=estimate.buy_from,
            sell_from=estimate.sell_from,
            verdict=about.verdict,
            verdict_why=verdict_why(about),
            volatility=estimate.volatility,
            ensemble_spread=estimate.ensemble_spread,
            dropout_spread=estimate.dropout_spread,
            months=[_seen(month) for month in seen],
            history=[Point(one.day.isoformat(), one.price) for one in closes[-SHOWN_DAYS:]],
            headlines=[ScoredStory(*story, scores[story.title]) for story in reversed(wanted[-SHOWN_HEADLINES:])],
            notes=self._notes(about, seen, as_of, today),
            model_id=estimator.model_id,
            sentiment_model_id=self._reader.model_id,
        )

    def _notes(self, about: About, seen: Sequence[Month], as_of: date, today: date) -> list[str]:
        trained_with = about.sentiment_model_id
        quiet = sum(month.quiet for month in seen)
        short = sum(month.change is None for month in seen)
        told = (
            (today - as_of).days > STALE_DAYS
            and f"The newest price is of {as_of}: this is the outlook of that day, not of today.",
            quiet and f"{quiet} of {len(seen)} months had fewer than {months.LEAST_NEWS} headlines and count as neutral.",
            short and f"{short} of {len(seen)} months have no price and count as no move.",
            trained_with != self._reader.model_id
            and f"Headlines were read by {self._reader.model_id}; the network was trained on what {trained_with} says.",
        )
        return [one for one in told if one]


def prices_of(closes: Sequence[Close]) -> Prices:
    """Return `closes`, by day, as prices."""
    return Prices(np.array([one.day for one in closes], "datetime64[D]"), np.array([one.price for one in closes], np.float64))


def news_of(stories: Sequence[Story], scores: Mapping[str, float | None]) -> News:
    """Return those of `stories`, by time, that have a score."""
    scored = [(story.event_ts_us, score) for story in stories if (score := scores[story.title]) is not None]
    return News(np.array([at for at, _ in scored], np.int64), np.array([score for _, score in scored], np.float64))


def verdict_why(about: About) -> str:
    """Return in words what the walk-forward forecasts of the model came to."""
    points = (100 * value for value in (about.rmse, about.naive_rmse, about.mean_rmse))
    own, naive, mean = (f"{value:.2f}" for value in points)
    return (
        f"In {about.tested} walk-forward forecasts the error (RMSE) was {own} points of monthly return; {naive} for no change,"
        f" {mean} for the mean of all months before. Diebold-Mariano p = {about.dm_p_value:.2g} against no change."
    )


def _recent(stories: Sequence[Story], as_of: date) -> list[Story]:
    """Return the headlines of the four months up to `as_of`, and of some days before, each title once, by time."""
    begin = months.close_us(months.back(as_of, months.MONTHS) - timedelta(days=STALE_DAYS))  # a month may end on a holiday
    first: dict[str, Story] = {}
    for story in sorted(stories):
        if begin < story.event_ts_us <= months.close_us(as_of) and story.title.strip():
            first.setdefault(story.title, story)
    return list(first.values())


def _seen(month: Month) -> SeenMonth:
    return SeenMonth(month.end.isoformat(), month.change, month.sentiment, month.headlines, month.quiet)
