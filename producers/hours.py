"""When a market is open, by `exchange_calendars`, and how far a vendor's clock is from ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import exchange_calendars
import pandas as pd

from streams.clock import MINUTE_US, SECOND_US
from streams.errors import SourceError

EXTENDED_US = 4 * 60 * MINUTE_US  # trading before the opening and after the close, in New York
AHEAD_OF_OPEN_US = 330 * MINUTE_US  # 4:00 to 9:30
KNOWN_DAYS = 10, 360  # before and after now: a calendar of twenty years takes seconds to make


class Hours:
    """The hours of one market.

    Parameters
    ----------
    name : str
        As `exchange_calendars` calls it; empty: never closed.

    Examples
    --------
    >>> Hours("").is_open(0), Hours("").has_ended(0)
    (True, False)
    """

    def __init__(self, name: str, now_us: int = 0) -> None:
        self._calendar = _calendar(name, now_us) if name else None
        self._known: tuple[int, bool] = (-1, True)  # the minute that was looked up last: a look takes a while

    def is_open(self, ts_us: int) -> bool:
        """Return whether the regular session goes on, in which silence is a fault."""
        if self._calendar is None:
            return True
        if self._known[0] != ts_us // MINUTE_US:
            self._known = ts_us // MINUTE_US, bool(self._calendar.is_open_on_minute(_minute(ts_us)))
        return self._known[1]

    def has_ended(self, ts_us: int) -> bool:
        """Return whether it is night: neither the session nor its extended hours."""
        if self._calendar is None or self.is_open(ts_us):
            return False
        minute = _minute(ts_us)
        since_us = ts_us - _us(self._calendar.previous_close(minute))
        until_us = _us(self._calendar.next_open(minute)) - ts_us
        return since_us > EXTENDED_US and until_us > AHEAD_OF_OPEN_US


def _calendar(name: str, now_us: int) -> exchange_calendars.ExchangeCalendar:
    now = datetime.fromtimestamp(now_us / SECOND_US, UTC).replace(tzinfo=None)
    start, end = (pd.Timestamp(now + timedelta(days=days)).normalize() for days in (-KNOWN_DAYS[0], KNOWN_DAYS[1]))
    try:
        return exchange_calendars.get_calendar(name, start=start, end=end)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise SourceError(f"there is no market calendar {name!r} in exchange_calendars") from error


def _minute(ts_us: int) -> pd.Timestamp:
    return pd.Timestamp(ts_us - ts_us % MINUTE_US, unit="us", tz="UTC")


def _us(stamp: pd.Timestamp) -> int:
    return int(stamp.value) // 1_000


class Delay:
    """The least time from an event until it came, over the last minute or two: the way's latency plus the clocks' difference.

    Below zero the vendor's clock is ahead of ours for certain.

    Examples
    --------
    >>> delay = Delay()
    >>> delay.take(event_ts_us=1_000_000, came_us=1_200_000)
    >>> delay.take(event_ts_us=1_300_000, came_us=1_350_000)
    >>> delay.least_us
    50000
    """

    def __init__(self) -> None:
        self._begun_us = 0
        self._now: int | None = None
        self._before: int | None = None

    @property
    def least_us(self) -> int | None:
        """The least delay; None where nothing has come."""
        known = [least for least in (self._now, self._before) if least is not None]
        return min(known, default=None)

    def take(self, event_ts_us: int, came_us: int) -> None:
        """Take in one event."""
        if came_us - self._begun_us > MINUTE_US:
            self._begun_us, self._before, self._now = came_us, self._now, None
        delay_us = came_us - event_ts_us
        self._now = delay_us if self._now is None else min(self._now, delay_us)
