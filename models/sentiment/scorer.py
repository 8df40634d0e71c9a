"""What every model here shares: cleaning, tokens, length-bucketed batches and softmax.

A model differs only in its tokenizer and in the function from token ids to logits: in torch (`torch_runtime.py`) or in ONNX
Runtime (`onnx_runtime.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.sentiment.text import clean

Tokens = NDArray[np.int64]
Logits = Callable[[Tokens, Tokens], NDArray[np.float32]]  # ids and mask, both [n, tokens], to [n, 3]: see `LABELS`

CPU_TOKENS = 256  # in one batch, padding included: measured best from 64 to 2,048, a larger one leaves a core's cache


def cpu_threads() -> int:
    """Return how many threads a model takes: the other half is for the broker, Spark and the forecaster."""
    return max(1, (os.cpu_count() or 2) // 2)


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


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities of `logits`, row by row."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


class Scorer:
    """A sentiment model; see :class:`models.sentiment.base.SentimentModel`.

    Parameters
    ----------
    model_id : str
        What the sentiment messages will name.
    tokenizer : tokenizers.Tokenizer
        The model's own; its truncation and padding are set here.
    logits : callable
        From token ids and mask, int64 [n, tokens], to logits [n, 3]: positive, negative, neutral.
    max_tokens : int
        Longer texts are cut.
    budget : int
        How many tokens one call of `logits` may have, padding included.
    """

    def __init__(self, model_id: str, tokenizer: Tokenizer, logits: Logits, max_tokens: int, budget: int = CPU_TOKENS) -> None:
        self.model_id = model_id
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        self._special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._logits = logits
        self._budget = budget

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities [n, 3] of positive, negative, neutral; a row of NaN where a text has no known word."""
        return self.score_as_is([clean(text) for text in texts])

    def score_as_is(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return what :meth:`score` does, of texts that need no cleaning."""
        found = np.full((len(texts), 3), np.nan)
        tokens = [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        known = [position for position, ids in enumerate(tokens) if not self._special.issuperset(ids)]
        for batch in buckets([len(tokens[position]) for position in known], self._budget):
            rows = [known[position] for position in batch]
            found[rows] = softmax(self._logits(*_padded([tokens[row] for row in rows])))
        return found


def _padded(tokens: list[list[int]]) -> tuple[Tokens, Tokens]:
    """Return ids and mask [n, tokens]; the id of padding does not matter to a BERT, because it is masked."""
    width = max(map(len, tokens))
    ids = np.array([row + [0] * (width - len(row)) for row in tokens], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in tokens], dtype=np.int64)
    return ids, mask
