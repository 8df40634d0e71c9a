"""Which records Faust hands on together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from consumers import chunks


@pytest.mark.parametrize(
    ("offsets", "size", "found"),
    [
        ([], 3, []),
        ([4], 3, [[4]]),
        ([4, 5, 6, 7, 8], 3, [[4, 5, 6], [7, 8]]),
        ([4, 5, 7, 8, 9], 3, [[4, 5], [7, 8, 9]]),  # what ended a transaction is no record
    ],
)
def test_a_run_has_no_hole_and_is_no_longer_than_asked_for(offsets: list[int], size: int, found: list[list[int]]) -> None:
    records = [SimpleNamespace(offset=offset) for offset in offsets]
    assert [[one.offset for one in run] for run in chunks.runs(records, size)] == found


@pytest.mark.parametrize(("size", "count"), [(1, 1), (3, 1), (5, 2), (100, 3)])
def test_a_batch_is_at_most_what_the_handler_takes_but_one_chunk_at_least(size: int, count: int) -> None:
    events = [SimpleNamespace(message=SimpleNamespace(records=[0] * length)) for length in (3, 2, 4)]
    assert chunks.fitting(events, size) == count
