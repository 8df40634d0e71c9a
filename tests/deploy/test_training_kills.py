"""`tickcast verify training`: it says "same" where a killed training leaves nothing behind, and sees what is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from deploy.verify import training
from deploy.verify.training import State, Word
from models.training.train import STEPS
from streams.settings import Settings

WORDS = (Word("", "lstm-1", promoted=True, reason="promoted unchallenged"),)
WHOLE = State(
    left=(),
    shards="abc",
    stored=(Word("", "lstm-1"),),
    recorded=WORDS,
    promoted=WORDS,
    announced=(WORDS[0]._replace(key="forecaster"), WORDS[0]._replace(key="forecaster:challenger")),
    forecasts=np.full((2, 3, 7), 1e-4),
)
OTHER = replace(
    WHOLE,
    stored=(Word("", "lstm-2"),),
    recorded=(WORDS[0]._replace(model_id="lstm-2"),),
    promoted=(WORDS[0]._replace(model_id="lstm-2"),),
    announced=tuple(word._replace(model_id="lstm-2") for word in WHOLE.announced),
)


@pytest.mark.parametrize(
    ("left", "outcome", "difference"),
    [
        (WHOLE, "same", ""),
        (OTHER, "same forecasts, another id", ""),
        (replace(OTHER, forecasts=WHOLE.forecasts * 1.01), "differs", "the champion forecasts something else"),
        (replace(OTHER, recorded=OTHER.recorded * 2), "differs", "recorded: lstm-2 True"),
        (replace(WHOLE, recorded=WORDS * 2), "differs", "recorded: lstm-1 True"),
        (replace(WHOLE, promoted=()), "differs", "promoted: nothing instead of lstm-1"),
        (replace(WHOLE, announced=WHOLE.announced[:1]), "differs", "announced: forecaster lstm-1"),
        (replace(OTHER, promoted=(OTHER.promoted[0]._replace(promoted=False),)), "differs", "promoted: lstm-2 promoted"),
        (replace(WHOLE, shards="abd"), "differs", "other shards"),
        (replace(WHOLE, left=("training/job/job.json",)), "differs", "left unfinished: training/job/job.json"),
        (replace(WHOLE, forecasts=np.empty(0)), "differs", "the champion forecasts something else"),
    ],
)
def test_what_is_left_is_told_apart(left: State, outcome: str, difference: str) -> None:
    assert left.outcome(WHOLE) == outcome
    found = left.differences(WHOLE)
    assert len(found) == bool(difference)
    assert all(said.startswith(difference) for said in found)


def test_every_step_is_killed_within_its_length_and_a_seed_repeats_the_points() -> None:
    begun = {"etl": 10.0, "training": 15.0, "registration": 30.0, "promotion": 34.0, "end": 34.5}
    points = training._points(begun, 5, seed=1)  # noqa: SLF001
    assert [step for step, _ in points] == [step for step in STEPS for _ in range(5)]
    lengths = {"etl": 5.0, "training": 15.0, "registration": 4.0, "promotion": 0.5}
    assert all(0 <= delay < lengths[step] for step, delay in points)
    assert points == training._points(begun, 5, seed=1)  # noqa: SLF001


@pytest.mark.slow
def test_a_training_killed_in_any_step_is_made_up_for(config: Settings) -> None:
    figures = training.run(config, 1, 2, Console())
    assert [case["step"] for case in figures["cases"]] == list(STEPS)
    assert all(case["killed"] for case in figures["cases"])
    assert {case["outcome"] for case in figures["cases"]} <= {"same", "same forecasts, another id"}
    assert figures["holds"]
