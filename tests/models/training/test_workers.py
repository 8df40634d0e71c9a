"""Two workers train as one does, and what a killed one leaves is gone on with. Real processes, which load TensorFlow each."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from models.training import etl, fitting, job, workers
from models.training.job import Choice, Place
from streams import settings
from streams.errors import ModelError
from streams.settings import Settings
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import fill

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = msgspec.structs.replace(settings.load({}), home=tmp_path_factory.mktemp("home"))
    fill(made, rows(500), rows(500, "MSFT", seed=2))
    etl.run(made)
    return made


@pytest.fixture(scope="module")
def place(own: Settings) -> Place:
    return job.begin(own, etl.run(own), Choice(epochs=3, batch=128))


def weights(network: Any) -> list[Any]:
    return [variable.value.numpy() for variable in network.trainable_variables]


def test_a_killed_worker_ends_the_training_and_the_next_goes_on_and_two_end_near_one(place: Place) -> None:
    epochs: list[int] = []

    def kill(history: Any) -> None:
        epochs.append(len(history.train))
        if len(history.train) == 1:
            os.kill(_pids(place)[1], signal.SIGKILL)

    with pytest.raises(ModelError, match=r"worker \d of 2 ended early"):
        workers.fit(place, 2, kill)
    standing = place.checkpoint().read()
    assert standing is not None
    assert 1 <= len(standing.train) < 3
    network, history = workers.fit(place, 2, lambda _: None)
    assert history.train[: len(standing.train)] == standing.train
    place.checkpoint().clear()
    alone, _ = fitting.fit(place, "one", lambda _: None)
    for found, expected in zip(weights(network), weights(alone), strict=True):
        assert np.abs(found - expected).max() < 0.05  # dropout differs between replicas; see `tickcast bench train` without


def _pids(place: Place) -> list[int]:
    """Return the process ids of the workers, found by their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"models.training.worker" in words and str(place.folder).encode() in words:
            found.append(int(path.parent.name))
    return sorted(found)
