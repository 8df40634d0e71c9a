"""The simulated source keeps time, rate and identity: live on a clock of our own, restarted, and as a history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice, pairwise, takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.base import Event, Pulse, SessionEnd, Story, Trade
from producers.market import Market, minutes, tones
from producers.minute import activity
from producers.simulated import Simulated, next_pulse_us, session_opens_us
from streams.clock import MINUTE_US, SECOND_US, minute_start_us

NOW_US = 1_750_082_400_000_000  # Monday 2025-06-16 14:00 UTC

markets = st.builds(
    Market,
    symbols=st.lists(st.sampled_from(["AAPL", "TSLA", "BRK.B", "X"]), min_size=1, unique=True).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(0.1, 60),
    news_effect=st.floats(-5, 5),
    headlines_per_hour=st.floats(0, 60),
    random_walk=st.booleans(),
    session_min=st.integers(0, 4),
    break_min=st.integers(1, 3),
)
few = settings(max_examples=20, deadline=None)


class FakeTime:
    """A wall clock that only sleeping moves."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.now_us = now_us

    def clock(self) -> int:
        return self.now_us

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.now_us += round(seconds * SECOND_US)


def live(market: Market, time: FakeTime | None = None) -> Simulated:
    time = time or FakeTime()
    return Simulated(market, clock=time.clock, sleep=time.sleep)


def first_seconds(source: Simulated, seconds: int, resume_after: int = -1, start_us: int = NOW_US) -> list[Event]:
    return list(takewhile(lambda event: event.event_ts_us < start_us + seconds * SECOND_US, source.events(resume_after)))


def facts(events: Iterable[Event]) -> Iterator[object]:
    """Yield what must be the same in every run: everything but times and pulses."""
    for event in events:
        if not isinstance(event, Pulse):
            yield replace(event, event_ts_us=0)


@few
@given(markets, st.integers(0, 300))
def test_a_restarted_source_goes_on_with_the_next_trade(market: Market, resume_after: int) -> None:
    whole = list(facts(islice(live(market).events(), 600)))
    place = next((i for i, fact in enumerate(whole) if isinstance(fact, Trade) and fact.seq == resume_after), None)
    if place is None:
        return
    rest = list(facts(islice(live(market, FakeTime(NOW_US + 10**9)).events(resume_after), 600)))
    n_both = min(len(rest), len(whole) - place - 1)
    assert rest[:n_both] == whole[place + 1 :][:n_both]


@few
@given(markets)
def test_times_never_decrease_and_prices_and_sizes_are_real(market: Market) -> None:
    events = list(islice(live(market).events(), 800))
    assert all(a.event_ts_us <= b.event_ts_us for a, b in pairwise(events))
    trades = [event for event in events if isinstance(event, Trade)]
    assert [trade.seq for trade in trades] == list(range(len(trades)))
    for trade in trades:
        assert trade.price >= 0.01 and round(trade.price, 2) == trade.price
        assert trade.size >= 1 and trade.size == int(trade.size)
        assert trade.symbol in market.symbols


def test_the_reader_s_pace_and_the_hour_change_only_the_times() -> None:
    market = Market(rate=20.0, headlines_per_hour=100.0)
    time = FakeTime(NOW_US + 12_345_678)
    slow = []
    for event in islice(live(market, time).events(), 3_000):
        slow.append(event)
        time.now_us += 40_000
    quick = list(islice(live(market).events(), 3_000))
    both = min(len(list(facts(slow))), len(list(facts(quick))))
    assert both > 2_000
    assert list(facts(slow))[:both] == list(facts(quick))[:both]


def test_a_far_resume_is_quick_and_exact() -> None:
    market = Market(rate=2_000.0)
    trade = next(event for event in live(market).events(5_000_000) if isinstance(event, Trade))
    assert trade.seq == 5_000_001
    minute = next(minute for minute in minutes(market) if minute.last_seq >= trade.seq)
    _, who, prices, sizes = minute.trades()
    index = trade.seq - minute.first_seq
    assert (trade.symbol, trade.price, trade.size) == (market.symbols[who[index]], prices[index], sizes[index])


@pytest.mark.parametrize("rate", [0.1, 6.0, 600.0, 20_000.0])
def test_the_rate_is_kept(rate: float) -> None:
    seconds = min(20_000, max(2, int(20_000 / rate)))
    n_trades = sum(isinstance(event, Trade) for event in first_seconds(live(Market(rate=rate)), seconds))
    assert abs(n_trades - rate * seconds) < 4 * np.sqrt(rate * seconds)


def test_activity_is_unequal_and_headlines_come_as_often_as_told() -> None:
    market = Market(rate=5.0, headlines_per_hour=30.0)
    events = first_seconds(live(market), 3 * 3600)
    trades = Counter(event.symbol for event in events if isinstance(event, Trade))
    shares = np.array([trades[symbol] for symbol in market.symbols]) / trades.total()
    assert np.allclose(shares, activity(6), atol=0.01)
    stories = [event for event in events if isinstance(event, Story)]
    assert abs(len(stories) - 6 * 30 * 3) < 4 * np.sqrt(540)
    assert {len(story.symbols) for story in stories} == {1, 2}
    assert len({story.id for story in stories}) == len(stories)


def test_tones_are_kept_from_the_stories() -> None:
    market = Market(headlines_per_hour=60.0)
    stories = [event for event in first_seconds(live(market), 1800) if isinstance(event, Story)]
    known = tones(market, 31)
    assert {known[story.id] for story in stories} == {-1, 0, 1}
    assert not any(hasattr(story, "tone") for story in stories)


def test_history_is_whole_sessions_and_another_path_than_live() -> None:
    source = Simulated(Market(seed=4))
    events = list(source.history(3, NOW_US))
    assert all(a.event_ts_us <= b.event_ts_us for a, b in pairwise(events))
    ends = [event.event_ts_us for event in events if isinstance(event, SessionEnd)]
    opens = session_opens_us(3, NOW_US)
    assert [str(datetime.fromtimestamp(ts / SECOND_US, UTC)) for ts in opens] == [
        "2025-06-11 13:30:00+00:00",
        "2025-06-12 13:30:00+00:00",
        "2025-06-13 13:30:00+00:00",
    ]
    assert ends == [ts + 390 * MINUTE_US - 1 for ts in opens]
    for event in events:
        assert any(ts <= event.event_ts_us < ts + 390 * MINUTE_US for ts in opens)
    n_trades = sum(isinstance(event, Trade) for event in events)
    assert abs(n_trades - 3 * 390 * 6 * 4) < 4 * np.sqrt(3 * 390 * 6 * 4)
    now = list(islice(minutes(source.market), 100))
    past = list(islice(minutes(source.past()), 100))
    assert abs(np.corrcoef([minute.drift[0] for minute in now], [minute.drift[0] for minute in past])[0, 1]) < 0.3
    assert not {item.id for minute in now for item in minute.news} & {event.id for event in events if isinstance(event, Story)}


def test_a_session_that_closed_by_then_counts_and_a_later_one_does_not() -> None:
    close_us = session_opens_us(1, NOW_US)[0] + 390 * MINUTE_US
    assert session_opens_us(1, close_us)[0] == close_us - 390 * MINUTE_US
    assert session_opens_us(1, close_us - 1)[0] == close_us - 390 * MINUTE_US - 86_400 * SECOND_US


def test_live_events_come_when_due_and_the_clock_is_heard_every_second() -> None:
    time = FakeTime()
    seen = [(event, time.now_us) for event in islice(live(Market(rate=0.5), time).events(), 2_000)]
    assert all(0 <= now_us - event.event_ts_us <= 1 for event, now_us in seen)
    times = [NOW_US, *(event.event_ts_us for event, _ in seen)]
    assert all(b - a <= SECOND_US for a, b in pairwise(times))
    boundaries = {event.event_ts_us for event, _ in seen if isinstance(event, Pulse) and event.event_ts_us % MINUTE_US == 1_000}
    n_minutes = (times[-1] - NOW_US) // MINUTE_US
    assert boundaries >= {NOW_US + (k * MINUTE_US) + 1_000 for k in range(1, n_minutes)}


def test_live_sessions_end_and_a_break_of_whole_minutes_follows() -> None:
    events = first_seconds(live(Market(rate=20.0, session_min=3, break_min=2)), 15 * 60)
    ends = [index for index, event in enumerate(events) if isinstance(event, SessionEnd)]
    assert len(ends) == 3
    for index in ends:
        end_us = events[index].event_ts_us
        after = next((event for event in events[index + 1 :] if isinstance(event, Trade)), None)
        assert after is None or 120 * SECOND_US <= after.event_ts_us - end_us < 130 * SECOND_US
        assert not any(isinstance(event, Story) and 0 < event.event_ts_us - end_us < 120 * SECOND_US for event in events)


def test_after_a_pause_of_the_machine_events_go_on_from_now() -> None:
    time = FakeTime()
    events = live(Market(rate=10.0), time).events()
    before = list(islice(events, 100))
    time.now_us += 3_600 * SECOND_US
    after = list(islice(events, 100))
    assert after[0].event_ts_us >= NOW_US + 3_600 * SECOND_US
    assert all(a.event_ts_us <= b.event_ts_us for a, b in pairwise(before + after))
    trades = [event.seq for event in before + after if isinstance(event, Trade)]
    assert trades == list(range(len(trades)))


@given(st.integers(0, 10**15))
def test_the_next_pulse_is_ahead_and_never_passes_over_a_boundary(last_us: int) -> None:
    pulse_us = next_pulse_us(last_us)
    assert last_us < pulse_us <= last_us + SECOND_US
    assert minute_start_us(pulse_us - 1_000) - minute_start_us(last_us) <= MINUTE_US
    assert minute_start_us(pulse_us) == minute_start_us(last_us) or pulse_us % MINUTE_US == 1_000
