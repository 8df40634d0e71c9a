"""Models in torch: what GPUs run, and what ONNX graphs are exported from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.sentiment.scorer import CPU_TOKENS, Scorer, Tokens, cpu_threads

GPU_TOKENS = 65_536  # in one batch: a GPU wants to be filled


class Network(NamedTuple):
    """A classifier in torch. `module` takes ids and mask [n, tokens] and returns logits [n, 3] in the order of `LABELS`."""

    model_id: str
    tokenizer: Tokenizer
    module: Any
    max_tokens: int


def pick_device() -> Any:
    """Return the best device that torch sees: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def scorer(network: Network, device: Any, *, compiled: bool = False) -> Scorer:
    """Return `network` on `device`, ready to score; in bfloat16 on cuda. Attention is torch's own fused one (SDPA).

    `compiled`: by `torch.compile`, which takes a minute at first and then saves launches of kernels; worth it on a GPU only.
    """
    cuda, cpu = device.type == "cuda", device.type == "cpu"
    if cpu:
        torch.set_num_threads(cpu_threads())
    module = network.module.eval().to(device, dtype=torch.bfloat16 if cuda else torch.float32)
    if compiled:
        module = torch.compile(module, dynamic=True)

    def logits(ids: Tokens, mask: Tokens) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = module(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
        values: NDArray[np.float32] = found.float().cpu().numpy()
        return values

    return Scorer(network.model_id, network.tokenizer, logits, network.max_tokens, CPU_TOKENS if cpu else GPU_TOKENS)
