"""A small model file, and a model of texts that reads their first word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.outlook import pretrained
from models.outlook.pretrained import About
from models.outlook.scaling import Scaler

PROBABILITIES = {"good": (0.8, 0.1, 0.1), "bad": (0.1, 0.7, 0.2)}
LEVELS = {"0.025": -2.0, "0.1": -1.3, "0.25": -0.6, "0.75": 0.7, "0.9": 1.2, "0.975": 2.1}


class WordModel:
    """Good and bad are known, no other first word; counts what it is asked."""

    model_id = "words"

    def __init__(self) -> None:
        self.asked = 0

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.asked += len(texts)
        return np.array([PROBABILITIES.get(text.partition(" ")[0], (np.nan,) * 3) for text in texts])


def about(sentiment_model_id: str = "words") -> About:
    scaler = Scaler((0.02, 0.0), (0.09, 0.1), 0.015, 0.09)
    return About(
        scaler=scaler,
        sentiment_model_id=sentiment_model_id,
        trained_until="2016-08-31",
        samples=600,
        usual_return=0.025,
        usual_volatility=0.08,
        residuals=LEVELS,
        rmse=0.105,
        naive_rmse=0.106,
        mean_rmse=0.104,
        dm_p_value=0.3,
        verdict="no demonstrated edge",
        tested=445,
    )


def model_file(folder: Path, networks: int = 2) -> Path:
    """Write a file of untrained networks and return its path."""
    from models.outlook import network  # noqa: PLC0415 - torch takes seconds to import

    path = folder / "model.safetensors"
    chance = np.random.default_rng(3)
    part = network.Part(chance.normal(size=(8, 4, 2)), chance.normal(size=8))
    pretrained.write(path, [dict(network.train(part, part, seed, epochs=1).weights) for seed in range(networks)], about())
    return path
