from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from models.forecaster.base import HORIZONS_MIN, Predictions
from models.forecaster.random_walk import RandomWalk, Z
from models.forecaster.windows import Windows
from models.training import promotion
from models.training.promotion import Block, decide
from streams.clock import MINUTE_US
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import frame_of

ROWS = frame_of(rows(1_500), rows(1_500, "MSFT", seed=2))
BEGIN = int(ROWS["minute_ts_us"].min()) + 300 * MINUTE_US  # type: ignore[arg-type]
END = int(ROWS["minute_ts_us"].max()) + MINUTE_US  # type: ignore[arg-type]


@dataclass
class Clairvoyant:
    """Knows a share of what comes; its intervals are `width` times a random walk's."""

    unseen: Block
    share: float
    width: float = 1.0
    model_id: str = "clairvoyant"
    minimum_bars: int = 1
    data_cutoff_ts_us: int = 0

    def forecast(self, windows: Windows) -> Predictions:
        mean = self.share * self.unseen.part.targets
        spread = windows.sigma[:, None] * np.sqrt(np.array(HORIZONS_MIN)) * self.width
        quantiles = mean[:, :, None] + spread[:, :, None] * np.array(Z)
        return Predictions(mean, quantiles, np.full_like(mean, 0.5))


@pytest.fixture(scope="module")
def unseen() -> Block:
    return promotion.block(ROWS, BEGIN, END)


def test_the_block_holds_the_windows_from_its_begin_whose_targets_end_before_its_end(unseen: Block) -> None:
    assert unseen.minutes.min() == BEGIN
    assert unseen.minutes.max() + 15 * MINUTE_US == END - MINUTE_US
    assert promotion.block(ROWS, BEGIN, END - 10 * MINUTE_US).minutes.max() == unseen.minutes.max() - 10 * MINUTE_US


def test_a_challenger_that_knows_more_than_champion_and_naive_is_promoted(unseen: Block) -> None:
    decision = decide(Clairvoyant(unseen, 0.5), Clairvoyant(unseen, 0.2), unseen)
    assert decision.promoted
    assert decision.reason.startswith("promoted: on ")
    assert decision.metrics["dm_p_vs_champion"] < 0.01
    assert decision.metrics["dm_p_vs_naive"] < 0.01


def test_one_that_is_no_better_or_worse_than_the_champion_is_not(unseen: Block) -> None:
    same = decide(RandomWalk(), RandomWalk(), unseen)
    assert not same.promoted
    assert "not demonstrably different from the champion" in same.reason
    worse = decide(Clairvoyant(unseen, 0.2), Clairvoyant(unseen, 0.5), unseen)
    assert not worse.promoted
    assert "worse than the champion" in worse.reason


def test_one_that_beats_a_bad_champion_but_is_worse_than_naive_is_not(unseen: Block) -> None:
    decision = decide(Clairvoyant(unseen, -0.5), Clairvoyant(unseen, -2.0), unseen)
    assert not decision.promoted
    assert "worse than the random walk" in decision.reason


def test_one_that_is_as_good_as_naive_replaces_a_champion_that_is_worse(unseen: Block) -> None:
    decision = decide(RandomWalk(), Clairvoyant(unseen, -1.0), unseen)
    assert decision.promoted
    assert "not demonstrably different from the random walk" in decision.reason


def test_one_whose_intervals_hold_much_less_is_not(unseen: Block) -> None:
    decision = decide(Clairvoyant(unseen, 0.8, width=0.1), Clairvoyant(unseen, 0.0), unseen)
    assert not decision.promoted
    assert "but its 80 % intervals hold" in decision.reason


def test_without_a_champion_it_serves_and_the_reason_says_what_it_is_worth(unseen: Block) -> None:
    known, naive = decide(Clairvoyant(unseen, 0.5), None, unseen), decide(RandomWalk(), None, unseen)
    assert known.promoted
    assert naive.promoted
    assert "no demonstrated edge" not in known.reason
    assert "no demonstrated edge" in naive.reason


def test_on_too_few_minutes_nothing_is_tested(unseen: Block) -> None:
    short = promotion.block(ROWS, END - 40 * MINUTE_US, END)
    decision = decide(RandomWalk(), RandomWalk(), short)
    assert not decision.promoted
    assert "too few" in decision.reason
    assert decide(RandomWalk(), None, short).promoted
    none = promotion.block(ROWS, END, END)
    assert len(none.minutes) == 0
