"""Which record is next, of each partition."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from consumers.order import Order

A, B = TopicPartition("ticks", 0), TopicPartition("ticks", 1)


def chunk(*offsets: int, place: TopicPartition = A, first: int | None = None) -> Any:
    records = [SimpleNamespace(offset=n) for n in offsets]
    begin = offsets[0] if first is None else first
    return SimpleNamespace(topic=place.topic, partition=place.partition, offset=offsets[-1], first=begin, records=records)


def taken(order: Order, found: list[Any]) -> list[int]:
    return [record.offset for _, records in order.take(found) for record in records]


@pytest.mark.parametrize(
    ("came", "handled"),
    [
        ([chunk(5, 6, 7), chunk(8)], [5, 6, 7, 8]),
        ([chunk(6), chunk(5), chunk(6, 7)], [5, 6, 7]),  # one that was fetched before the rebalance comes first
        ([chunk(5), chunk(7, 8)], [5]),  # a hole
        ([chunk(5), chunk(7, 8, first=6)], [5, 7, 8]),  # between them was none that is a record
        ([chunk(3, 4), chunk(3, 4, 5), chunk(5), chunk(5, 6)], [5, 6]),  # repeats
    ],
)
def test_only_the_next_records_of_a_partition_are_taken(came: list[Any], handled: list[int]) -> None:
    assert taken(Order({A: 5}), came) == handled


def test_a_partition_of_somebody_else_is_left() -> None:
    assert taken(Order({A: 5}), [chunk(5, place=B)]) == []


def test_a_partition_is_stuck_if_it_had_more_twice_and_none_of_it_was_taken() -> None:
    order = Order({A: 5, B: 0})
    assert order.stuck({A: 6, B: 0}) == []
    assert order.stuck({A: 6, B: 1}) == [A]
    assert order.next_of(A) == 5
    assert taken(order, [chunk(5)]) == [5]
    assert order.stuck({A: 7, B: 1}) == [B]
    assert order.stuck({A: 6, B: 0}) == []


def test_what_is_no_more_is_passed_over() -> None:
    order = Order({A: 5})
    order.pass_over(A, 9)
    assert taken(order, [chunk(5), chunk(9)]) == [9]
