"""MiniLM with our own adapter and head: the sentiment model that needs no network and no download.

Served by ONNX Runtime from a graph that is made once from `minilm_network.py` and kept in the cache: torch, which takes
seconds and hundreds of megabytes to import, is needed for the first start only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.sentiment import onnx_runtime
from models.sentiment.files import checked_sha256
from models.sentiment.scorer import Scorer

if TYPE_CHECKING:
    from models.sentiment.torch_runtime import Network

HEAD_FILE = Path(__file__).with_name("minilm_head.safetensors")


def model_id(head_file: Path = HEAD_FILE) -> str:
    """Return the name of the model with the head in `head_file`.

    Raises
    ------
    ModelError
        The head file is missing, or is not the one that its `.sha256` file names.
    """
    return f"minilm-{checked_sha256(head_file, head_file.with_suffix('.sha256'))[:8]}"


def load(cache: Path, head_file: Path = HEAD_FILE, *, int8: bool = False) -> Scorer:
    """Return the model, ready to score on the CPU, in float32 or with int8 weights; its graph is kept in `cache`.

    Raises
    ------
    ModelError
        The head file is missing or damaged.
    """

    def make() -> Network:
        from models.sentiment import minilm_network  # noqa: PLC0415 - imports torch

        return minilm_network.network(head_file)

    folder = cache / "sentiment" / (model_id(head_file) + onnx_runtime.suffix(int8=int8))
    return onnx_runtime.load_cached(folder, make, int8=int8)
