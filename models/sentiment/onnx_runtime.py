"""Models in ONNX Runtime: what CPUs run. Twice as fast as torch in float32, four times in int8, and without importing torch.

A folder holds one model: `model.onnx`, `model.onnx.sha256`, `tokenizer.json` and `about.json`.
`tickcast models sentiment export` makes one, and `TICKCAST_FINBERT=FOLDER` serves it.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.sentiment.files import checked_sha256, sha256
from models.sentiment.int8 import quantized
from models.sentiment.scorer import Scorer, Tokens, cpu_threads
from streams.errors import ModelError

if TYPE_CHECKING:
    from models.sentiment.torch_runtime import Network

GRAPH = "model.onnx"
INT8 = "-int8.2"  # .2: the second way to quantize; scores and graphs are kept by model id, so another way needs another id

log = logging.getLogger(__name__)


class About(msgspec.Struct, frozen=True):
    """What `about.json` tells."""

    model_id: str
    max_tokens: int


def suffix(*, int8: bool) -> str:
    """Return what is added to the id of a model that is served in int8."""
    return INT8 if int8 else ""


def is_exported(folder: Path) -> bool:
    """Return whether `folder` holds a model that :func:`load` can read."""
    return (folder / GRAPH).is_file() and (folder / "about.json").is_file()


def about(folder: Path) -> About:
    """Return what the exported model in `folder` tells of itself; raise ModelError where that cannot be read."""
    try:
        return msgspec.json.decode((folder / "about.json").read_bytes(), type=About)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"the model in {folder} cannot be read ({error}); delete the folder and export it again") from error


def load(folder: Path) -> Scorer:
    """Return the model in `folder`, ready to score on the CPU.

    Raises
    ------
    ModelError
        A file is missing, or the graph is not the one that was exported.
    """
    import onnxruntime  # noqa: PLC0415 - slow to import

    graph = folder / GRAPH
    checked_sha256(graph, folder / f"{GRAPH}.sha256")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    told = about(folder)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime and the tokenizer raise their own kinds, straight from Exception
        raise ModelError(f"the model in {folder} cannot be read ({error}); delete the folder and export it again") from error

    def logits(ids: Tokens, mask: Tokens) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {"ids": ids, "mask": mask})[0]
        return found

    return Scorer(told.model_id, tokenizer, logits, told.max_tokens)


def load_cached(folder: Path, make: Callable[[], Network], *, int8: bool = False) -> Scorer:
    """Return the model in `folder`; where it is absent or damaged, export it there from `make()` first."""
    if is_exported(folder):
        with contextlib.suppress(ModelError):
            return load(folder)
    log.info("exporting the sentiment model to %s, once", folder)
    export(make(), folder, int8=int8)
    return load(folder)


def export(network: Network, folder: Path, *, int8: bool = False) -> None:
    """Write `network` to `folder` as float32, or with int8 weights: model id and all.

    Each file appears whole, `about.json` last: until then :func:`is_exported` is false.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        graph = Path(scratch) / GRAPH
        _export_float32(network, graph)
        if int8:
            graph = quantized(graph, network.tokenizer, network.max_tokens)
        (Path(scratch) / f"{GRAPH}.sha256").write_text(f"{sha256(graph)}  {GRAPH}\n", encoding="ascii")
        network.tokenizer.save(str(Path(scratch) / "tokenizer.json"))
        told = About(network.model_id + suffix(int8=int8), network.max_tokens)
        (Path(scratch) / "about.json").write_bytes(msgspec.json.encode(told))
        graph.replace(folder / GRAPH)
        for name in (f"{GRAPH}.sha256", "tokenizer.json", "about.json"):
            (Path(scratch) / name).replace(folder / name)


def _export_float32(network: Network, graph: Path) -> None:
    import torch  # noqa: PLC0415 - slow to import, and serving does without

    ids = torch.arange(5, 39).reshape(2, 17)
    axes = {0: "n", 1: "tokens"}
    with warnings.catch_warnings():  # the tracer's doubts about shapes: the outputs are compared in the tests
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.module.eval().cpu().float(),
            (ids, torch.ones_like(ids)),
            graph,
            dynamo=False,
            input_names=["ids", "mask"],
            output_names=["logits"],
            dynamic_axes={"ids": axes, "mask": axes, "logits": {0: "n"}},
            opset_version=17,
        )
