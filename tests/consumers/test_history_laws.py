"""Laws of what keeps records in order and minutes once, whatever Kafka, Faust and restarts do to them."""

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
from consumers.history import SymbolHistory
from consumers.order import Order
from models.forecaster.windows import pack
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


def repeating() -> st.SearchStrategy[list[Features]]:
    """Return `FINALS` in their order, stretches of them come again as after a restart of the engine."""
    return st.lists(st.tuples(st.integers(0, len(FINALS)), st.integers(0, 10)), max_size=4).map(_repeated)


def _repeated(again: Sequence[tuple[int, int]]) -> list[Features]:
    came: list[Features] = []
    for at, row in enumerate(FINALS, 1):
        came.append(row)
        for end, count in again:
            if end == at:
                came += FINALS[max(0, at - count) : at]
    return came


def forecast(history: SymbolHistory, came: Sequence[Features]) -> list[int]:
    return [row.minute_ts_us for row in came if history.put(row)]


@given(came=repeating())
def test_final_rows_are_forecast_once_each_and_in_minute_order(came: list[Features]) -> None:
    history = SymbolHistory()
    assert forecast(history, came) == [row.minute_ts_us for row in FINALS]
    assert all(history.is_done(row.minute_ts_us) for row in FINALS)


@given(came=repeating(), cut=st.integers(0, len(FINALS)))
def test_a_restart_that_reads_the_past_again_goes_on_where_it_was(came: list[Features], cut: int) -> None:
    lived, again = SymbolHistory(), SymbolHistory()
    before = forecast(lived, came[:cut])
    assert forecast(again, came[:cut]) == before
    assert forecast(again, came[cut:]) == forecast(lived, came[cut:])
    assert all(again.window(row.minute_ts_us) == lived.window(row.minute_ts_us) for row in FINALS)


@given(came=repeating(), close=st.floats(50, 200))
def test_a_late_revision_changes_the_windows_to_come_and_is_not_forecast(came: list[Features], close: float) -> None:
    history = SymbolHistory()
    forecast(history, came)
    first = FINALS[-3]
    revised = msgspec.structs.replace(first, close=close, high=max(close, first.high), low=min(close, first.low), revision=99)
    before = history.window(FINALS[-1].minute_ts_us)
    assert not history.put(revised)
    changed = [
        at for at, pair in enumerate(zip(before, history.window(FINALS[-1].minute_ts_us), strict=True)) if pair[0] != pair[1]
    ]
    assert changed == ([] if pack(revised) == pack(first) else [len(before) - 3])
