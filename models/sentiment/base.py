"""What a sentiment model is, and which one is used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streams.errors import EnvironmentFault, ModelError
from streams.settings import Settings

NAME = "sentiment"  # of all such models together, in the store and on `models`
LABELS = ("positive", "negative", "neutral")  # the order of the columns, everywhere

log = logging.getLogger(__name__)


class SentimentModel(Protocol):
    """From texts to probabilities.

    `score` is called by one thread at a time and may block for seconds. It takes any text: none raises. A text's result
    does not depend on the others' beyond the last bits of a float32 (padding and batch size change the order of sums).
    """

    model_id: str
    """Names the exact weights; every sentiment message carries it."""

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return [n, 3]: positive, negative, neutral. A row sums to 1, or is NaN where the text cannot be scored."""


def load(settings: Settings) -> SentimentModel:
    """Return the model that `settings.sentiment` asks for, warmed up.

    "auto" is FinBERT where it can be had, else MiniLM after one line of warning.

    Raises
    ------
    EnvironmentFault
        FinBERT was asked for by name and cannot be had.
    ModelError
        The weights of MiniLM are damaged.
    """
    from models.sentiment import minilm  # noqa: PLC0415 - ONNX Runtime takes a second to import

    model: SentimentModel | None = _finbert(settings)
    model = model or minilm.load(settings.cache)
    model.score(["Operating profit rose."])
    return model


def _finbert(settings: Settings) -> SentimentModel | None:
    if settings.sentiment == "minilm":
        return None
    from models.sentiment import finbert  # noqa: PLC0415 - torch takes seconds to import

    try:
        return finbert.load(finbert.locate(settings), settings.cache)
    except ModelError as error:
        if settings.sentiment == "finbert":
            raise EnvironmentFault(str(error)) from error
        log.warning("%s. Headlines are scored by MiniLM until then", error)
        return None
