"""The truth itself, on an example worked by hand; and that the comparison with it notices a fault."""

from __future__ import annotations

import polars as pl
import pytest

from deploy.verify import truth
from tests.streams import batch, tapes
from tests.streams.tapes import MINUTE, Print, Tape

M0 = 1_340_285_400_000_000
# two trades at one moment, a quiet minute, one more; then a session of its own after two minutes
TAPE = Tape(
    "A",
    [
        (
            [
                Print(M0 + 5, 10.0, 1.0, 1),
                Print(M0 + 5, 12.0, 2.0, 2),
                Print(M0 + 1, 11.0, 0.1, 3),
                Print(M0 + 2 * MINUTE, 15.0, 4, 4),
            ],
            M0 + 2 * MINUTE,
        ),
        ([Print(M0 + 5 * MINUTE, 18.0, 1.0, 5)], M0 + 5 * MINUTE),
    ],
    [(M0 - 60 * MINUTE, 1.0), (M0 - 59 * MINUTE, 0.5), (M0 + MINUTE - 1, 0.1)],
)


def test_the_truth_of_a_small_tape() -> None:
    found = truth.minutes(*tapes.facts([TAPE]))
    assert found["minute_ts_us"].to_list() == [M0, M0 + MINUTE, M0 + 2 * MINUTE, M0 + 5 * MINUTE]
    assert found.select("open", "high", "low", "close", "volume", "n_ticks").rows() == [
        (11.0, 12.0, 10.0, 12.0, 3.1, 3),
        (12.0, 12.0, 12.0, 12.0, 0.0, 0),
        (15.0, 15.0, 15.0, 15.0, 4.0, 1),
        (18.0, 18.0, 18.0, 18.0, 1.0, 1),
    ]
    assert found["flat"].to_list() == [False, True, False, False]
    assert found["bars7"].to_list() == [1, 2, 3, 4]
    assert found["ma7"].to_list() == [12.0, 12.0, 13.0, 14.25]
    assert found["ret"].to_list() == [None, 0.0, 0.25, None]
    assert found["sent_n"].to_list() == [2, 1, 1, 1]
    assert found["sent_mean"].to_list() == [0.3, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("name", [*truth.EXACT, *truth.NEAR])
def test_a_difference_in_any_field_is_noticed(name: str) -> None:
    expected = truth.minutes(*tapes.facts([TAPE]))
    batch.assert_true(expected, expected)
    wrong = ~pl.col(name) if name == "flat" else pl.col(name) + 1
    with pytest.raises(AssertionError, match=name):
        batch.assert_true(expected.with_columns(wrong.alias(name)), expected)


def test_a_missing_or_shifted_row_is_noticed() -> None:
    expected = truth.minutes(*tapes.facts([TAPE]))
    with pytest.raises(AssertionError):
        batch.assert_true(expected.head(3), expected)
    with pytest.raises(AssertionError):
        batch.assert_true(expected.with_columns(pl.col("minute_ts_us") + MINUTE), expected)
