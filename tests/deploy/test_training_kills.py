"""`tickcast verify training`: it says "same" where a killed training leaves nothing behind, and sees what is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from deploy.verify import training
from deploy.verify.training import State
from models.registry import Promotion
from models.training.train import STEPS
from streams.settings import Settings

PROMOTED = Promotion(model_id="lstm-1", reason="promoted unchallenged")
WHOLE = State(
    left=(),
    shards="abc",
    names=(("lstm-1",), (("lstm-1", "true", "promoted unchallenged"),)),
    said=((PROMOTED,), ("forecaster", "lstm-1", True, "promoted unchallenged")),
    forecasts=np.full((2, 3, 7), 1e-4),
)
OTHER = (("lstm-2",), (("lstm-2", "true", "promoted unchallenged"),))
TWICE = (WHOLE.names[0], WHOLE.names[1] * 2)


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        (WHOLE, "same"),
        (replace(WHOLE, names=OTHER), "same forecasts, another id"),
        (replace(WHOLE, names=OTHER, forecasts=WHOLE.forecasts * 1.01), "differs"),
        (replace(WHOLE, names=TWICE), "differs"),
        (replace(WHOLE, said=WHOLE.said[:1]), "differs"),
        (replace(WHOLE, shards="abd"), "differs"),
        (replace(WHOLE, left=("training/job/job.json",)), "differs"),
        (replace(WHOLE, forecasts=np.empty(0)), "differs"),
    ],
)
def test_what_is_left_is_told_apart(left: State, outcome: str) -> None:
    assert left.outcome(WHOLE) == outcome


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
