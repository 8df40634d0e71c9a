"""Event time: minutes, boundaries, and times for people."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams import clock
from streams.messages import MAX_TS_US

TIMES = st.integers(0, MAX_TS_US)


@given(TIMES)
def test_a_time_lies_in_the_minute_that_starts_before_it(ts_us: int) -> None:
    start = clock.minute_start_us(ts_us)
    assert start <= ts_us < start + clock.MINUTE_US
    assert start % clock.MINUTE_US == 0
    assert clock.minute_start_us(start) == start


@given(TIMES)
def test_a_closing_at_a_boundary_ends_the_minute_before_it(ts_us: int) -> None:
    minute = clock.minute_start_us(ts_us)
    assert clock.closed_minute_us(minute + clock.MINUTE_US) == minute


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - hypothesis asks for naive ones
def test_a_time_for_people_is_exact_to_the_microsecond_and_names_its_zone(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    ts_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert datetime.fromisoformat(clock.iso(ts_us)) == moment
    assert clock.iso(ts_us).endswith("+00:00")


def test_the_latest_time_of_the_contract_can_be_shown() -> None:
    assert clock.iso(MAX_TS_US) == "9999-12-31T23:59:59.999999+00:00"


def test_the_wall_clock_is_in_microseconds_utc() -> None:
    before = datetime.now(UTC)
    shown = datetime.fromisoformat(clock.iso(clock.wall_ts_us()))
    assert before - timedelta(milliseconds=1) <= shown <= datetime.now(UTC)


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(clock).failed == 0
