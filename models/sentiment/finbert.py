"""FinBERT (`ProsusAI/finbert`, or any BERT classifier of positive, negative, neutral).

`locate` finds the weights: a local folder, the hub's local cache, or a download. `load` makes them a model: torch on a GPU,
ONNX Runtime on a CPU. The classifier itself is in `finbert_network.py`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import httpx
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from models.sentiment import onnx_runtime
from models.sentiment.files import checked_sha256, sha256
from models.sentiment.scorer import Scorer
from streams.errors import ModelError
from streams.settings import Settings

DECIDE_S = 5.0  # how long a hub may take to say that it has the model, before we go on without it
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is used
SMALL = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
HOW_TO_GET = (
    "set TICKCAST_FINBERT to a folder that holds config.json, vocab.txt and model.safetensors, "
    "or fill the local cache on a machine with network: `hf download ProsusAI/finbert`"
)

log = logging.getLogger(__name__)


def locate(settings: Settings, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Return the folder with FinBERT's weights, after downloading them where that is allowed and needed.

    Parameters
    ----------
    settings : Settings
        `finbert` is a folder or a hub name; `offline` forbids to ask the hub.
    endpoint : str, optional
        Address of the hub; the public one by default.
    cache : Path, optional
        Where the hub's files are kept; the cache that all programs of this person share, by default.

    Raises
    ------
    ModelError
        There are no weights; the text says how to get them.
    """
    folder = Path(settings.finbert).expanduser()
    if not folder.is_dir():
        folder = _cached(settings.finbert, cache) or _downloaded(settings, endpoint, cache)
    if not onnx_runtime.is_exported(folder):
        weights_file(folder)
    return folder


def weights_file(folder: Path) -> Path:
    """Return the file with the weights in `folder`.

    Raises
    ------
    ModelError
        There is none.
    """
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder} holds no {' or '.join(WEIGHTS)}; to get FinBERT, {HOW_TO_GET}")
    return found


def _cached(name: str, cache: Path | None) -> Path | None:
    try:
        folder = Path(snapshot_download(name, cache_dir=cache, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if any((folder / file).is_file() for file in WEIGHTS) else None


def _downloaded(settings: Settings, endpoint: str | None, cache: Path | None) -> Path:
    if settings.offline:
        raise ModelError(f"FinBERT ({settings.finbert}) is not on this machine and it is offline; to get it, {HOW_TO_GET}")
    try:
        info = HfApi(endpoint=endpoint).model_info(settings.finbert, timeout=DECIDE_S)
        there = {file.rfilename for file in info.siblings or ()}
        wanted = [*SMALL, next((name for name in WEIGHTS if name in there), WEIGHTS[0])]
        log.info("downloading FinBERT (%s), about 440 MB, once", settings.finbert)
        return Path(snapshot_download(settings.finbert, cache_dir=cache, endpoint=endpoint, allow_patterns=wanted))
    except (httpx.HTTPError, OSError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled) as error:
        raise ModelError(f"FinBERT cannot be had from the hub ({_first_line(error)}); to get it, {HOW_TO_GET}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def load(folder: Path, cache: Path, *, int8: bool = False) -> Scorer:
    """Return the model in `folder`, ready to score: in bfloat16 on a GPU, else by ONNX Runtime from a graph kept in `cache`.

    With `int8` it is always the CPU. A folder that holds an exported model is served as it is.

    Raises
    ------
    ModelError
        The files are damaged, or the model does not know the labels positive, negative and neutral.
    """
    if onnx_runtime.is_exported(folder):
        return onnx_runtime.load(folder)
    from models.sentiment import finbert_network, torch_runtime  # noqa: PLC0415 - torch takes seconds to import

    device = torch_runtime.pick_device()
    if device.type != "cpu" and not int8:
        return torch_runtime.scorer(finbert_network.network(folder), device)
    kept = cache / "sentiment" / (model_id(folder) + onnx_runtime.suffix(int8=int8))
    return onnx_runtime.load_cached(kept, lambda: finbert_network.network(folder), int8=int8)


def model_id(folder: Path) -> str:
    """Return the name of the model in `folder`, after checking its weights.

    They are compared with a `.sha256` file beside them, or with the name that the hub's cache gave them.
    """
    weights = weights_file(folder)
    sidecar = weights.with_suffix(weights.suffix + ".sha256")
    blob = weights.resolve().name
    if sidecar.is_file():
        digest = checked_sha256(weights, sidecar)
    else:
        digest = checked_sha256(weights, blob) if re.fullmatch("[0-9a-f]{64}", blob) else sha256(weights)
    return f"finbert-{digest[:8]}"
