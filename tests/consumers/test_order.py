"""Which record is next, of each partition."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from consumers.order import Order

A, B = TopicPartition("ticks", 0), TopicPartition("ticks", 1)


def events(*offsets: int, place: TopicPartition = A) -> list[Any]:
    return [SimpleNamespace(message=SimpleNamespace(topic=place.topic, partition=place.partition, offset=n)) for n in offsets]


def taken(order: Order, found: list[Any]) -> list[int]:
    return [event.message.offset for event in order.take(found)]


@pytest.mark.parametrize(
    ("came", "handled"),
    [
        ([5, 6, 7], [5, 6, 7]),
        ([6, 5, 6, 7], [5, 6, 7]),  # one that was fetched before the rebalance comes first
        ([5, 7, 8], [5]),  # a hole
        ([3, 4, 5, 5, 6], [5, 6]),  # repeats
    ],
)
def test_only_the_next_record_of_a_partition_is_taken(came: list[int], handled: list[int]) -> None:
    assert taken(Order({A: 5}), events(*came)) == handled


def test_a_partition_of_somebody_else_is_left() -> None:
    assert taken(Order({A: 5}), events(5, place=B)) == []


def test_a_partition_is_stuck_if_it_had_more_twice_and_none_of_it_was_taken() -> None:
    order = Order({A: 5, B: 0})
    assert order.stuck({A: 6, B: 0}) == []
    assert order.stuck({A: 6, B: 1}) == [A]
    assert order.next_of(A) == 5
    assert taken(order, events(5)) == [5]
    assert order.stuck({A: 7, B: 1}) == [B]
    assert order.stuck({A: 6, B: 0}) == []


def test_what_is_no_more_is_passed_over() -> None:
    order = Order({A: 5})
    order.pass_over(A, 9)
    assert taken(order, events(5, 9)) == [9]
