"""Daily prices and headlines of a stock from Yahoo Finance, by `yfinance`: for the monthly outlook, and for the studies' files.

See :class:`streams.daily.DailyFeed`. Yahoo tells only the newest headlines of a stock, so that the months before are often quiet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from streams.clock import SECOND_US
from streams.daily import Close, Story
from streams.errors import LineLost, SourceError, Throttled, TickcastError, UnknownSymbol

PERIOD = "2y"
TIMEOUT_S = 10
HEADLINES = 200

Bar = tuple[date, float, float, float, float, float]
"""Day, open, high, low, close, volume."""


class DailyYahoo:
    """Yahoo Finance."""

    name = "Yahoo Finance"

    def closes(self, symbol: str) -> list[Close]:
        """Return two years of adjusted closes."""
        table = _history(symbol, period=PERIOD)
        return closes_of(zip(table.index.date, table["Close"], strict=True), symbol)

    def stories(self, symbol: str) -> list[Story]:
        """Return the newest headlines."""
        yahoo = _client()
        try:
            return stories_of(yahoo.Ticker(symbol).get_news(count=HEADLINES))
        except Exception as error:
            raise _fault(yahoo, error) from error


def bars(symbol: str, first: date, last: date) -> list[Bar]:
    """Return the bars from `first` to `last`, adjusted for splits and dividends; errors as :class:`streams.daily.DailyFeed`."""
    table = _history(symbol, start=first, end=last + timedelta(days=1))  # Yahoo leaves the end out
    columns = [table[name].astype(float) for name in ("Open", "High", "Low", "Close", "Volume")]
    return list(zip(table.index.date, *columns, strict=True))


def closes_of(rows: Iterable[tuple[date, float]], symbol: str) -> list[Close]:
    """Return days and prices as closes, without those that are missing."""
    found = [Close(day, float(price)) for day, price in rows if math.isfinite(price) and price > 0]
    if not found:
        raise UnknownSymbol(f"Yahoo Finance has no prices of {symbol}")
    return sorted({one.day: one for one in found}.values())


def stories_of(articles: Iterable[Mapping[str, Any]]) -> list[Story]:
    """Return Yahoo's articles as headlines, by time; one without a title or a time is none."""
    told = (article.get("content") or {} for article in articles)
    found = [
        Story(_moment_us(one["pubDate"]), one["title"], (one.get("canonicalUrl") or {}).get("url") or "")
        for one in told
        if one.get("title") and one.get("pubDate")
    ]
    return sorted(found)


def _moment_us(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * SECOND_US


def _history(symbol: str, **span: Any) -> Any:
    """Return a table of daily bars, by day."""
    yahoo = _client()
    try:
        return yahoo.Ticker(symbol).history(interval="1d", auto_adjust=True, timeout=TIMEOUT_S, **span)
    except yahoo.exceptions.YFTickerMissingError as error:
        raise UnknownSymbol(f"Yahoo Finance has no prices of {symbol}: {error}") from error
    except Exception as error:
        raise _fault(yahoo, error) from error


def _client() -> Any:
    import yfinance as yahoo  # noqa: PLC0415 - a second, and pandas

    yahoo.config.debug.hide_exceptions = False  # else it logs what failed, and returns an empty table
    return yahoo


def _fault(yahoo: Any, error: Exception) -> TickcastError:
    """Return what happened; all but a strange answer may be better in a moment."""
    if isinstance(error, yahoo.exceptions.YFRateLimitError):
        return Throttled("Yahoo Finance says that it was asked too often; try again in some minutes")
    if isinstance(error, KeyError | TypeError | ValueError):
        return SourceError(f"Yahoo Finance answers what is no answer: {error}")
    return LineLost(f"Yahoo Finance does not answer: {error}")
