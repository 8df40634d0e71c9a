"""Laws of what puts records and minutes in order, whatever Kafka, Faust and the engine's tasks do to them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from kafka import TopicPartition

from consumers.chunks import runs
from consumers.history import OVERTAKEN, SymbolHistory
from consumers.order import Order
from models.forecaster.windows import pack
from streams.bus import Record
from streams.clock import MINUTE_US
from streams.messages import Features
from tests.models.forecaster.samples import rows

PLACE = TopicPartition("ticks", 0)
FINALS = rows(40)


class Fetching(RuleBasedStateMachine):
    """Faust fetches any stretch of a partition, behind a hole or again: what is taken has neither hole nor repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order({PLACE: 0})
        self.taken: list[int] = []
        self.end = 0

    @rule(more=st.integers(1, 5))
    def produce(self, more: int) -> None:
        self.end += more

    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        begin = data.draw(st.integers(0, self.end))
        self._take(range(begin, data.draw(st.integers(begin, self.end))))

    @rule()
    def stand_still_until_read_again(self) -> None:
        self.order.stuck({PLACE: self.end})
        for place in self.order.stuck({PLACE: self.end}):
            self._take(range(self.order.next_of(place), self.end))
        assert len(self.taken) == self.end

    def _take(self, offsets: Sequence[int]) -> None:
        records = [SimpleNamespace(offset=at) for at in offsets]
        chunks: list[Any] = [
            SimpleNamespace(topic="ticks", partition=0, first=run[0].offset, offset=run[-1].offset, records=run)
            for run in runs(records, size=3)
        ]
        self.taken += [record.offset for _, taken in self.order.take(chunks) for record in taken]

    @invariant()
    def taken_in_turn_and_once(self) -> None:
        assert self.taken == list(range(len(self.taken)))


TestFetching = Fetching.TestCase


def overtaking() -> st.SearchStrategy[list[Features]]:
    """Return all of `FINALS`, each moved by less than :data:`OVERTAKEN` minutes, some of them twice."""
    shifts = st.lists(st.integers(0, OVERTAKEN - 1), min_size=len(FINALS), max_size=len(FINALS))
    twice = st.lists(st.booleans(), min_size=len(FINALS), max_size=len(FINALS))
    return st.builds(_moved, shifts, twice)


def _moved(shifts: Sequence[int], twice: Sequence[bool]) -> list[Features]:
    order = sorted(range(len(FINALS)), key=lambda at: (at + shifts[at], at))
    return [FINALS[at] for at in order for _ in range(1 + twice[at])]


def released(history: SymbolHistory, came: Sequence[Features]) -> list[int]:
    return [one.row.minute_ts_us for row in came for one in history.put(row, record_of(row))]


def record_of(row: Features) -> Record:
    return Record("features", 0, row.minute_ts_us // MINUTE_US, b"AAPL", b"", 0, ())


@given(came=overtaking())
def test_final_rows_are_released_once_each_and_in_minute_order(came: list[Features]) -> None:
    history = SymbolHistory()
    out = released(history, came)
    assert out == sorted(set(out))
    assert set(out) == {row.minute_ts_us for row in FINALS}
    assert all(history.is_done(row.minute_ts_us) for row in FINALS)


@given(came=overtaking(), cut=st.integers(0, len(FINALS)))
def test_a_restart_that_reads_the_past_again_goes_on_where_it_was(came: list[Features], cut: int) -> None:
    lived, again = SymbolHistory(), SymbolHistory()
    before = released(lived, came[:cut])
    assert released(again, came[:cut]) == before
    assert released(again, came[cut:]) == released(lived, came[cut:])
    assert all(again.window(row.minute_ts_us) == lived.window(row.minute_ts_us) for row in FINALS)


@given(came=overtaking(), close=st.floats(50, 200))
def test_a_late_revision_changes_the_windows_to_come_and_is_never_released(came: list[Features], close: float) -> None:
    history = SymbolHistory()
    released(history, came)
    first = FINALS[-3]
    revised = msgspec.structs.replace(first, close=close, high=max(close, first.high), low=min(close, first.low), revision=99)
    before = history.window(FINALS[-1].minute_ts_us)
    assert released(history, [revised]) == []
    changed = [
        at for at, pair in enumerate(zip(before, history.window(FINALS[-1].minute_ts_us), strict=True)) if pair[0] != pair[1]
    ]
    assert changed == ([] if pack(revised) == pack(first) else [len(before) - 3])
