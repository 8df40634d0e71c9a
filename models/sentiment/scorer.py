"""What every torch model here shares: cleaning, length-bucketed batches, the device, and softmax.

A model differs only in its tokenizer and in the function from token ids to logits (see `minilm.py`, `finbert.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.sentiment.text import clean

Logits = Callable[[Any, Any], Any]  # token ids and mask, both [n, tokens], to logits [n, 3]: positive, negative, neutral

# Tokens in one batch, padding included. A small batch stays in a core's cache; a GPU wants to be filled.
CPU_TOKENS = 1_024
GPU_TOKENS = 65_536


def pick_device() -> Any:
    """Return the best device that torch sees: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))  # the rest is for the broker, Spark and the forecaster
    return torch.device("cpu")


def buckets(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return the positions of `lengths` in batches of similar length, at most `budget` tokens each with padding.

    >>> buckets([3, 9, 3, 2], budget=9)
    [[3, 0, 2], [1]]
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[position] <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


class TorchScorer:
    """A sentiment model in torch; see :class:`models.sentiment.base.SentimentModel`.

    Parameters
    ----------
    model_id : str
        What the sentiment messages will name.
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's own.
    logits : callable
        From token ids and mask, int64 tensors [n, tokens] on `device`, to logits [n, 3]: positive, negative, neutral.
    device : torch.device
        Where `logits` wants its tensors.
    max_tokens : int
        Longer texts are cut.
    """

    def __init__(self, model_id: str, tokenizer: Any, logits: Logits, device: Any, max_tokens: int) -> None:
        self.model_id = model_id
        self._tokenizer = tokenizer
        self._logits = logits
        self._device = device
        self._max_tokens = max_tokens
        self._budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities [n, 3] of positive, negative, neutral; a row of NaN where a text has no known word."""
        found = np.full((len(texts), 3), np.nan)
        tokens = self._tokens(texts)
        known = [position for position, ids in enumerate(tokens) if self._says_something(ids)]
        for batch in buckets([len(tokens[position]) for position in known], self._budget):
            rows = [known[position] for position in batch]
            found[rows] = self._probabilities([tokens[row] for row in rows])
        return found

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        cleaned = [clean(text) for text in texts]
        encoded = self._tokenizer(cleaned, truncation=True, max_length=self._max_tokens)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _says_something(self, ids: list[int]) -> bool:
        return not set(ids) <= set(self._tokenizer.all_special_ids)

    def _probabilities(self, tokens: list[list[int]]) -> NDArray[np.float64]:
        width = max(map(len, tokens))
        padding = self._tokenizer.pad_token_id
        ids = torch.tensor([row + [padding] * (width - len(row)) for row in tokens], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in tokens], device=self._device)
        with torch.inference_mode():
            probabilities = torch.softmax(self._logits(ids, mask).double().cpu(), dim=-1)
        found: NDArray[np.float64] = probabilities.numpy()
        return found
