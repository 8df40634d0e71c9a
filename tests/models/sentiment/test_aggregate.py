"""Aggregates of scores, by law rather than by example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sentiment import aggregate
from models.sentiment.aggregate import NO_NEWS

scores = st.lists(st.floats(-1, 1), min_size=1, max_size=50).map(np.array)


@given(scores)
def test_every_aggregate_lies_within_the_scores(values: aggregate.Floats) -> None:
    times = np.arange(len(values), dtype=np.int64)
    for found in (
        aggregate.mean(values),
        aggregate.median(values),
        aggregate.trimmed_mean(values),
        aggregate.decayed_mean(values, times, len(values), 3),
    ):
        assert values.min() - 1e-12 <= found.value <= values.max() + 1e-12
        assert found.n == len(values)


def test_no_news_differs_from_neutral_news() -> None:
    empty, times = np.array([]), np.array([], dtype=np.int64)
    assert aggregate.mean(empty) == aggregate.median(empty) == aggregate.trimmed_mean(empty) == NO_NEWS
    assert aggregate.decayed_mean(empty, times, 0, 60) == NO_NEWS
    assert aggregate.mean(np.zeros(1)) != NO_NEWS


def test_a_headline_one_half_life_old_weighs_half() -> None:
    found = aggregate.decayed_mean(np.array([1.0, 0.0]), np.array([0, 60]), 60, 60)
    assert found.value == pytest.approx(1 / 3)


def test_very_old_news_keeps_its_value() -> None:
    found = aggregate.decayed_mean(np.array([0.4]), np.array([0]), 10**15, 1)
    assert found.value == pytest.approx(0.4)
    assert found.n == 1


def test_news_of_the_future_is_not_counted() -> None:
    found = aggregate.decayed_mean(np.array([0.4, -1.0]), np.array([5, 11]), 10, 60)
    assert found.value == pytest.approx(0.4)
    assert found.n == 1


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing"):
        aggregate.trimmed_mean(np.zeros(3), 0.5)
