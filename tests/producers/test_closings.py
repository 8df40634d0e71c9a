"""Minutes end when the clock passes them: every open symbol's, once each, behind all that belongs to them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from producers.base import Event, Pulse, SessionEnd, Story, Trade
from producers.closings import Closer
from streams import codec
from streams.bus import Outgoing
from streams.clock import MINUTE_US, SECOND_US, closed_minute_us, minute_start_us
from streams.errors import BadMessage
from streams.messages import Headline, Tick

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC, a minute boundary
PARTITIONS = 3
KINDS: dict[str, type[Tick] | type[Headline]] = {"ticks": Tick, "headlines": Headline}


def trade(second: float, symbol: str = "AAPL", price: float = 10.0, seq: int = 0) -> Trade:
    return Trade(T0 + round(second * SECOND_US), symbol, price, 1.0, seq)


def pulse(second: float) -> Pulse:
    return Pulse(T0 + round(second * SECOND_US))


def end(second: float) -> SessionEnd:
    return SessionEnd(T0 + round(second * SECOND_US))


def story(second: float, id_: str = "s") -> Story:
    return Story(T0 + round(second * SECOND_US), id_, ("AAPL",), "Apple rises", "http://x")


def closed(events: Iterable[Event], closer: Closer | None = None) -> list[Outgoing]:
    closer = closer or Closer("test", PARTITIONS)
    return [record for event in events for record in closer.records(event)]


def messages(records: Iterable[Outgoing]) -> list[Tick | Headline]:
    return [codec.decode(KINDS[record.topic], record.value) for record in records]


def tick_closings(records: Iterable[Outgoing]) -> list[Tick]:
    return [message for message in messages(records) if isinstance(message, Tick) and message.closes]


def test_a_quiet_minute_is_closed_with_the_price_carried_over() -> None:
    closings = tick_closings(closed([trade(5, price=7.5, seq=3), trade(125, price=8, seq=4)]))
    assert [closed_minute_us(tick.clock_ts_us) - T0 for tick in closings] == [0, MINUTE_US]
    assert {(tick.event_ts_us, tick.seq, tick.price, tick.size) for tick in closings} == {(T0 + 5 * SECOND_US, 3, 7.5, 0.0)}


def test_a_closing_repeats_the_last_price_in_event_order_not_the_last_to_come() -> None:
    unsorted: list[Event] = [trade(20, price=2, seq=0), trade(10, price=1, seq=1), trade(20, price=3, seq=2), pulse(60)]
    assert [(tick.price, tick.seq) for tick in tick_closings(closed(unsorted))] == [(3.0, 2)]


def test_closings_come_behind_all_of_their_minute_and_reach_every_partition() -> None:
    records = closed([trade(1), trade(2, "AMZN", seq=1), story(30), trade(60, seq=2)])
    assert [(record.topic, message.closes) for record, message in zip(records, messages(records), strict=True)] == [
        ("ticks", False),
        ("ticks", False),
        ("headlines", False),
        ("ticks", True),
        ("ticks", True),
        *[("headlines", True)] * PARTITIONS,
        ("ticks", False),
    ]
    headline_closings = records[5:8]
    assert [record.partition for record in headline_closings] == list(range(PARTITIONS))
    for message in messages(headline_closings):
        assert isinstance(message, Headline)
        assert (message.clock_ts_us, message.symbols, message.partitions) == (T0 + MINUTE_US, ["AAPL", "AMZN"], PARTITIONS)
        assert closed_minute_us(message.clock_ts_us) == minute_start_us(message.event_ts_us) == T0
    assert len({message.id for message in messages(headline_closings) if isinstance(message, Headline)}) == PARTITIONS


def test_two_sources_never_share_an_id_of_a_closing() -> None:
    events: list[Event] = [trade(1), pulse(60)]
    ids = [
        {message.id for message in messages(closed(events, Closer(name, PARTITIONS))) if isinstance(message, Headline)}
        for name in ("one", "two")
    ]
    assert not ids[0] & ids[1]


def test_trades_and_stories_keep_what_they_say() -> None:
    tick, headline = messages(closed([trade(1.5, price=9.25, seq=8), story(2, "h7")]))
    assert tick == Tick(
        event_ts_us=T0 + 1_500_000, clock_ts_us=T0 + 1_500_000, symbol="AAPL", price=9.25, size=1, source="test", seq=8
    )
    assert headline == Headline(
        event_ts_us=T0 + 2_000_000,
        clock_ts_us=T0 + 2_000_000,
        id="h7",
        symbols=["AAPL"],
        text="Apple rises",
        source="test",
        url="http://x",
    )


def test_a_trade_of_a_closed_minute_is_late_and_does_not_turn_the_clock_back() -> None:
    records = closed([trade(10), trade(61, seq=1), trade(59, seq=2), trade(60.5, seq=3)])
    ticks = [message for message in messages(records) if isinstance(message, Tick) and not message.closes]
    assert [(tick.seq, tick.late, tick.clock_ts_us - T0) for tick in ticks] == [
        (0, False, 10 * SECOND_US),
        (1, False, 61 * SECOND_US),
        (2, True, 61 * SECOND_US),
        (3, False, 61 * SECOND_US),
    ]
    assert len(tick_closings(records)) == 1


def test_the_session_s_end_closes_its_own_minute_and_then_nothing_until_the_next_trade() -> None:
    closer = Closer("test", PARTITIONS)
    first = closed([trade(10), end(70)], closer)
    assert [closed_minute_us(tick.clock_ts_us) - T0 for tick in tick_closings(first)] == [0, MINUTE_US]
    assert not closer.open_symbols
    assert closed([pulse(71), pulse(130), pulse(86_400), end(80_000)], closer) == []
    reopened = closed([trade(90_000, "AMZN", seq=1), pulse(90_060)], closer)
    assert [(tick.symbol, tick.clock_ts_us - T0) for tick in tick_closings(reopened)] == [("AMZN", 90_060 * SECOND_US)]


def test_nothing_closes_before_the_first_trade() -> None:
    assert [message.closes for message in messages(closed([pulse(0), story(30), pulse(60), story(100), pulse(180)]))] == [
        False
    ] * 2


def test_a_jump_of_years_without_open_symbols_takes_no_step_a_minute() -> None:
    closer = Closer("test", PARTITIONS)
    list(closer.records(Trade(0, "AAPL", 1.0, 1.0, 0)))
    list(closer.records(SessionEnd(0)))
    assert len(closed([trade(10)], closer)) == 1  # 22 million minutes on; a loop over them would run into the time limit
    assert [tick.clock_ts_us for tick in tick_closings(closed([pulse(60)], closer))] == [T0 + MINUTE_US]


@pytest.mark.parametrize("price", [math.nan, math.inf, -1.0, 0.0, 1e12])
def test_a_price_that_the_engine_refuses_travels_to_it_but_no_closing_repeats_it(price: float) -> None:
    records = closed([trade(1, price=5), trade(2, price=price, seq=1), trade(3, "AMZN", price, seq=2), pulse(60)])
    for record in records[1:3]:
        with pytest.raises(BadMessage):
            codec.decode(Tick, record.value)
    assert [(tick.symbol, tick.price, tick.seq) for tick in tick_closings([records[0], *records[3:]])] == [("AAPL", 5.0, 0)]


@pytest.mark.parametrize("bad", [Trade(T0, "", 1.0, 1.0, 0), Trade(T0, "A" * 33, 1.0, 1.0, 0), Trade(-1, "A", 1.0, 1.0, 0)])
def test_a_trade_that_breaks_the_contract_opens_nothing(bad: Trade) -> None:
    closer = Closer("test", PARTITIONS)
    assert len(closed([bad, pulse(600)], closer)) == 1
    assert not closer.open_symbols


moments = st.lists(
    st.tuples(st.integers(0, 150 * SECOND_US), st.sampled_from(["AAPL", "AMZN", "TSLA", "story"]), st.integers(1, 10**6)),
    min_size=1,
    max_size=40,
)


@st.composite
def tapes(draw: st.DrawFn) -> list[list[Event]]:
    """Sessions in event-time order, each with its end; at least a minute lies between them."""
    sessions: list[list[Event]] = []
    clock, seq = T0, 0
    for moments_of_session in draw(st.lists(moments, min_size=1, max_size=3)):
        session: list[Event] = []
        for gap, what, cents in moments_of_session:
            clock, seq = clock + gap, seq + 1
            session.append(
                Story(clock, f"s{seq}", ("AAPL",), "x") if what == "story" else Trade(clock, what, cents / 100, 1.0, seq)
            )
        sessions.append([*session, SessionEnd(clock)])
        clock += MINUTE_US + draw(st.integers(0, 86_400 * SECOND_US))
    return sessions


def expected(session: list[Event]) -> dict[tuple[str, int], tuple[int, int, float]]:
    """What each (symbol, minute) of a session is closed with, found without a clock: by looking at the whole session."""
    trades = sorted((event for event in session if isinstance(event, Trade)), key=lambda trade: (trade.event_ts_us, trade.seq))
    last_minute = minute_start_us(session[-1].event_ts_us)
    wanted = {}
    for symbol in {trade.symbol for trade in trades}:
        own = [trade for trade in trades if trade.symbol == symbol]
        for minute in range(minute_start_us(own[0].event_ts_us), last_minute + 1, MINUTE_US):
            last = [trade for trade in own if trade.event_ts_us < minute + MINUTE_US][-1]
            wanted[symbol, minute] = (last.event_ts_us, last.seq, last.price)
    return wanted


@hypothesis_settings(deadline=None)
@given(tapes())
def test_every_minute_from_first_trade_to_session_end_is_closed_exactly_once(sessions: list[list[Event]]) -> None:
    records = closed(event for session in sessions for event in session)
    closings = tick_closings(records)
    places = [(tick.symbol, closed_minute_us(tick.clock_ts_us)) for tick in closings]
    wanted = {place: facts for session in sessions for place, facts in expected(session).items()}
    assert Counter(places) == Counter(wanted.keys())
    assert {place: (t.event_ts_us, t.seq, t.price) for place, t in zip(places, closings, strict=True)} == wanted
    assert_headline_closings_name(records, wanted.keys())


def assert_headline_closings_name(records: list[Outgoing], places: Iterable[tuple[str, int]]) -> None:
    wanted: dict[tuple[int, int], list[str]] = {}
    for symbol, minute in sorted(places):
        for partition in range(PARTITIONS):
            wanted.setdefault((minute, partition), []).append(symbol)
    found = [
        ((closed_minute_us(message.clock_ts_us), record.partition), message.symbols)
        for record, message in zip(records, messages(records), strict=True)
        if isinstance(message, Headline) and message.closes
    ]
    assert dict(found) == wanted
    assert len(found) == len(wanted)


@hypothesis_settings(deadline=None)
@given(tapes())
def test_no_record_of_a_minute_comes_behind_its_closing_in_its_own_topic(sessions: list[list[Event]]) -> None:
    ended: dict[str, int] = {"ticks": 0, "headlines": 0}
    records = closed(event for session in sessions for event in session)
    for record, message in zip(records, messages(records), strict=True):
        if message.closes:
            ended[record.topic] = message.clock_ts_us
        else:
            assert message.event_ts_us >= ended[record.topic]
        assert not (isinstance(message, Tick) and message.late)


@hypothesis_settings(deadline=None)
@given(tapes(), st.data())
def test_pulses_change_nothing_that_is_sent(sessions: list[list[Event]], data: st.DataObject) -> None:
    events = [event for session in sessions for event in session]
    pulsed: list[Event] = []
    for event, following in pairwise([*events, events[-1]]):
        pulsed.append(event)
        if data.draw(st.booleans()):
            pulsed.append(Pulse(data.draw(st.integers(event.event_ts_us, following.event_ts_us))))
    assert closed(pulsed) == closed(events)


def test_a_symbol_that_opens_late_gets_the_closings_that_it_has_missed() -> None:
    records = closed([trade(150), trade(65, "AMZN", seq=1), pulse(180)])
    missed = [tick for tick in tick_closings(records) if tick.symbol == "AMZN"]
    assert [closed_minute_us(tick.clock_ts_us) - T0 for tick in missed] == [MINUTE_US, 2 * MINUTE_US]
    heard = [message for message in messages(records) if isinstance(message, Headline) and message.closes]
    boundaries = [message.clock_ts_us - T0 for message in heard if "AMZN" in message.symbols]
    assert boundaries == [2 * MINUTE_US] * PARTITIONS + [3 * MINUTE_US] * PARTITIONS


def test_a_trade_that_the_engine_refuses_as_too_late_opens_nothing() -> None:
    records = closed([trade(15 * 60), trade(0, "AMZN", seq=1), pulse(16 * 60)])
    assert {tick.symbol for tick in tick_closings(records)} == {"AAPL"}


def test_a_trade_before_the_minute_that_opened_its_symbol_gets_its_minutes_closed_with_its_own_price() -> None:
    records = closed(
        [trade(0, seq=9), trade(185, "AMZN", 4.0, seq=3), trade(70, "AMZN", 2.0, seq=1), trade(130, "AMZN", 3.0, seq=2)]
    )
    own = [tick for tick in tick_closings(records) if tick.symbol == "AMZN"]
    assert [(closed_minute_us(tick.clock_ts_us) - T0, tick.price, tick.seq) for tick in own] == [
        (MINUTE_US, 2.0, 1),
        (2 * MINUTE_US, 2.0, 1),
    ]
    (last,) = [tick for tick in tick_closings(closed([*late_opening(), pulse(240)])) if tick.clock_ts_us == T0 + 4 * MINUTE_US]
    assert (last.price, last.seq) == (4.0, 3)


def late_opening() -> list[Event]:
    return [trade(185, "AMZN", 4.0, seq=3), trade(70, "AMZN", 2.0, seq=1), trade(130, "AMZN", 3.0, seq=2)]


@hypothesis_settings(deadline=None)
@given(tapes(), st.data())
def test_arrivals_out_of_order_leave_no_minute_unclosed_and_close_none_twice(
    sessions: list[list[Event]], data: st.DataObject
) -> None:
    arrived: list[Event] = []
    for *session, end_ in sessions:
        delay = {id(event): data.draw(st.integers(0, 9 * MINUTE_US)) for event in session}
        arrived += [*sorted(session, key=lambda event: event.event_ts_us + delay[id(event)]), end_]
    closer = Closer("test", PARTITIONS)
    places = [(tick.symbol, closed_minute_us(tick.clock_ts_us)) for tick in tick_closings(closed(arrived, closer))]
    assert Counter(places) == Counter({place for session in sessions for place in expected(session)})


def test_an_excluded_trade_travels_and_moves_the_clock_but_opens_and_closes_nothing() -> None:
    events: list[Event] = [
        replace(trade(1, "AMZN", 99.0), excluded="average_price"),
        trade(2, price=5.0, seq=1),
        replace(trade(3, price=9.0, seq=2), excluded="off_market"),
        replace(trade(61, price=9.5, seq=3), excluded="off_market"),
    ]
    records = closed(events)
    assert [(tick.symbol, tick.price, tick.seq) for tick in tick_closings(records)] == [("AAPL", 5.0, 1)]
    sent = [message for message in messages(records) if isinstance(message, Tick) and not message.closes]
    assert [tick.excluded for tick in sent] == ["average_price", "", "off_market", "off_market"]
