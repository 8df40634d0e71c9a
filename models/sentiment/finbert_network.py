"""FinBERT in torch: its files read by transformers, its columns put in our order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from models.sentiment.base import LABELS
from models.sentiment.finbert import model_id
from models.sentiment.torch_runtime import Network
from streams.errors import ModelError

MAX_TOKENS = 512


class Classifier(torch.nn.Module):  # type: ignore[misc] # torch is not type-checked here
    """A transformers classifier with its columns put in our order: ids and mask [n, tokens] to logits [n, 3]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.order = label_order(model.config.id2label)

    def forward(self, ids: Any, mask: Any) -> Any:
        """Return the logits of positive, negative, neutral."""
        return self.model(input_ids=ids, attention_mask=mask).logits[:, self.order]


def network(folder: Path) -> Network:
    """Return the classifier in `folder`.

    Raises
    ------
    ModelError
        The files are damaged, or the model does not know the labels positive, negative and neutral.
    """
    name = model_id(folder)
    tokenizer, model = read(folder)
    limit = min(MAX_TOKENS, model.config.max_position_embeddings)
    return Network(name, tokenizer.backend_tokenizer, Classifier(model).eval(), limit)


def label_order(id2label: dict[int, str]) -> list[int]:
    """Return the model's columns of positive, negative and neutral.

    >>> label_order({0: "Neutral", 1: "positive", 2: "NEGATIVE"})
    [1, 2, 0]
    """
    columns = {label.lower(): column for column, label in id2label.items()}
    if set(columns) != set(LABELS):
        raise ModelError(f"the model's labels are {sorted(columns)}, not {sorted(LABELS)}: this is no FinBERT")
    return [columns[label] for label in LABELS]


def read(folder: Path) -> tuple[Any, Any]:
    """Return the tokenizer and the classifier in `folder` as transformers' objects; its weights are not checked."""
    disable_progress_bar()  # of reading a local file
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a damaged file makes transformers, torch or safetensors raise
        raise ModelError(f"the model in {folder} cannot be read ({error}); delete it and get it again") from error
    return tokenizer, model.eval()
