"""Event time: int64 microseconds UTC, and the one place that knows what a minute is.

Processing time never passes through here except by :func:`wall_ts_us`, so that a replay repeats a live run.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


def wall_ts_us() -> int:
    """Return the wall clock, microseconds UTC."""
    return time.time_ns() // 1_000


def minute_start_us(ts_us: int) -> int:
    """Return the start of the minute that holds `ts_us`; bars are stamped at their start."""
    return ts_us - ts_us % MINUTE_US


def closed_minute_us(clock_ts_us: int) -> int:
    """Return the start of the minute that a closing stamped `clock_ts_us` (a minute boundary) ends."""
    return minute_start_us(clock_ts_us) - MINUTE_US


def iso(ts_us: int) -> str:
    """Return `ts_us` for people: ISO 8601 with its zone.

    >>> iso(1340285400017459)
    '2012-06-21T13:30:00.017459+00:00'
    """
    return datetime.fromtimestamp(ts_us // SECOND_US, UTC).replace(microsecond=ts_us % SECOND_US).isoformat()
