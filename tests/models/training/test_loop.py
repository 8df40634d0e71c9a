"""The training loop on little: going on after a kill; workers are tested in `test_workers.py`. These load TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.forecaster.base import HORIZONS_MIN
from models.forecaster.windows import FEATURES, WINDOW
from models.training.checkpoint import Checkpoint
from streams.errors import ModelError

pytestmark = pytest.mark.slow

SCALER = dict.fromkeys(FEATURES, (0.0, 1.0))
COUNT = 192


class _Killed(BaseException):
    """What stands for a kill -9: nothing catches it."""


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    chance = np.random.default_rng(1)
    features = chance.normal(size=(COUNT, WINDOW, len(FEATURES))).astype(np.float32)
    returns = features[:, -1:, :1] + chance.normal(size=(COUNT, len(HORIZONS_MIN), 1))
    return features, np.concatenate([returns, np.ones_like(returns)], axis=2).astype(np.float32)


def trainer(epochs: int = 3, strategy: Any = None, *, dropout: bool = True) -> Any:
    from models.forecaster import recurrent  # noqa: PLC0415 - loads TensorFlow
    from models.training import loop  # noqa: PLC0415

    recurrent.prepare()
    return loop.Trainer(lambda: recurrent.build(SCALER, seed=3, dropout=dropout), loop.Plan(epochs, batch=64), strategy)


def examples(data: tuple[Any, Any]) -> Any:
    from models.training import loop  # noqa: PLC0415 - loads TensorFlow

    return loop.of_arrays(*data, seed=5)


def weights(own: Any) -> list[bytes]:
    return [variable.value.numpy().tobytes() for variable in own.network.variables]


def test_a_training_that_was_killed_goes_on_to_the_same_bits(data: tuple[Any, Any], tmp_path: Path) -> None:
    whole = trainer()
    history = whole.fit(examples(data), data)
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", "this")

    def kill(so_far: Any) -> None:
        if len(so_far.validation) == 2:
            raise _Killed

    with pytest.raises(_Killed):
        trainer().fit(examples(data), data, checkpoint, kill)
    resumed = trainer()
    seen: list[int] = []
    again = resumed.fit(examples(data), data, checkpoint, lambda so_far: seen.append(len(so_far.validation)))
    assert seen == [3]
    assert (again.train, again.validation) == (history.train, history.validation)
    assert weights(resumed) == weights(whole)


def test_a_loss_that_is_no_number_is_one_sentence(data: tuple[Any, Any]) -> None:
    broken = np.full_like(data[1], np.nan)
    with pytest.raises(ModelError, match="diverged"):
        trainer().fit(examples((data[0], broken)), data)


def test_a_checkpoint_of_another_training_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    Checkpoint(path, "this").write([1.0], [2.0], [np.ones(2)], [np.ones(3), np.zeros(1, np.int64)])
    found = Checkpoint(path, "this").read()
    assert found is not None
    assert (found.train, found.validation, len(found.best), len(found.state)) == ([1.0], [2.0], 1, 2)
    assert Checkpoint(path, "that").read() is None
    path.write_bytes(path.read_bytes()[:100])
    assert Checkpoint(path, "this").read() is None


def test_a_checkpoint_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        Checkpoint(tmp_path / "file" / "checkpoint.npz", "this").write([1.0], [1.0], [], [])
