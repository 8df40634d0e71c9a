"""How fast headlines are scored: transformers' `pipeline()` against ours, on one model, in one run, on one CPU thread each.

Run by `tickcast models sentiment bench`. The model is FinBERT where it is on this machine, else a BERT-base as FinBERT is, with
random weights: speed does not depend on their values. Texts are real sentences (`headlines.csv`). Rates are per second of wall
time; `per_cpu_s` is per second of this process's CPU time, which is what to compare on a machine that does other work too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, TextClassificationPipeline

from models.sentiment import finbert, finbert_network, minilm_network, onnx_runtime, torch_runtime
from models.sentiment.base import LABELS
from models.sentiment.scorer import cpu_threads
from models.sentiment.torch_runtime import Network
from models.sentiment.train_head import read_own
from streams.errors import EnvironmentFault, ModelError
from streams.settings import Settings

Score = Callable[[Sequence[str]], object]
Row = dict[str, float]

IN_TORCH = "torch, bucketed"
GPU_BATCHES = tuple(2**power for power in range(11))  # 1 to 1,024
GPU_SECONDS = 1.0  # of measuring each batch size


class Subject(NamedTuple):
    """The model that all contenders run, and what to call it."""

    name: str
    tokenizer: Any
    model: Any

    def network(self) -> Network:
        """Return it in our own form."""
        limit = min(finbert_network.MAX_TOKENS, self.model.config.max_position_embeddings)
        return Network("bench", self.tokenizer.backend_tokenizer, finbert_network.Classifier(self.model), limit)


def subject(settings: Settings) -> Subject:
    """Return FinBERT where it is on this machine, else a BERT-base with random weights and MiniLM's (BERT's own) vocabulary."""
    try:
        folder = finbert.locate(msgspec.structs.replace(settings, offline=True))
        return Subject(finbert.model_id(folder), *finbert_network.read(folder))
    except ModelError:
        return random_bert()


def random_bert() -> Subject:
    """Return a BERT-base classifier with random weights."""
    tokenizer, _ = minilm_network.backbone()
    torch.manual_seed(1)
    config = BertConfig(id2label=dict(enumerate(LABELS)), label2id={label: n for n, label in enumerate(LABELS)})
    return Subject("BERT-base, random weights", tokenizer, BertForSequenceClassification(config).eval())


def contenders(of: Subject, scratch: Path) -> Iterator[tuple[str, Score]]:
    """Yield each way to score a list of texts, with its name; lazily, so that one graph at a time is in memory."""
    pipeline = TextClassificationPipeline(model=of.model, tokenizer=of.tokenizer, device=torch.device("cpu"), top_k=None)
    yield "pipeline, one by one", lambda texts: [pipeline(text) for text in texts]
    yield "pipeline, batch 32", lambda texts: pipeline(list(texts), batch_size=32)
    network = of.network()
    yield IN_TORCH, torch_runtime.scorer(network, torch.device("cpu")).score
    for name, int8 in (("ONNX float32, bucketed", False), ("ONNX int8, bucketed", True)):
        onnx_runtime.export(network, scratch / name, int8=int8)
        yield name, onnx_runtime.load(scratch / name).score


def rate(score: Score, texts: Sequence[str]) -> tuple[Row, object]:
    """Return headlines per second of `score`, after a warm-up, and what it answered."""
    score(texts[:8])
    wall, cpu = time.perf_counter(), time.process_time()
    answers = score(texts)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return {"headlines_per_s": len(texts) / seconds, "per_cpu_s": len(texts) / cpu_seconds}, answers


def on_cpu(of: Subject, n: int, scratch: Path) -> Iterator[tuple[str, Row]]:
    """Yield each contender's name and rates on `n` texts; ours with the largest difference from torch's probabilities."""
    torch.set_num_threads(cpu_threads())
    sample = texts(n)
    exact: object = None
    for name, score in contenders(of, scratch):
        rates, answers = rate(score, sample)
        if isinstance(answers, np.ndarray):
            exact = answers if name == IN_TORCH else exact
            rates["difference_from_torch"] = float(np.abs(answers - exact).max())
        yield name, rates


def texts(n: int) -> list[str]:
    """Return `n` of our own headlines, shuffled, again from the start where there are fewer."""
    own = [example.text for example in read_own()]
    random.Random(5).shuffle(own)  # noqa: S311 - an order, not a secret
    return [own[k % len(own)] for k in range(n)]


def on_gpu(of: Subject, *, compiled: bool) -> Iterator[tuple[str, Row]]:
    """Yield each batch size and its rates, on the GPU in bfloat16.

    Raises
    ------
    EnvironmentFault
        torch sees no GPU.
    """
    gpu_name()
    return by_batch(torch_runtime.scorer(of.network(), torch_runtime.pick_device(), compiled=compiled).score)


def gpu_name() -> str:
    """Return what the GPU calls itself; raise EnvironmentFault where torch sees none."""
    if not torch.cuda.is_available():
        raise EnvironmentFault(
            "torch sees no CUDA GPU on this machine, so there is nothing to measure; leave --gpu out for the CPU"
        )
    return str(torch.cuda.get_device_name())


def by_batch(score: Score, batches: Sequence[int] = GPU_BATCHES, seconds: float = GPU_SECONDS) -> Iterator[tuple[str, Row]]:
    """Yield each of the sizes in `batches` with the rates of `score` at it, measured for about `seconds`."""
    for size in batches:
        sample = texts(size)
        once, _ = rate(score, sample)
        rounds = max(1, round(seconds * once["headlines_per_s"] / size))
        yield f"batch {size}", rate(partial(_in_batches, score, size), sample * rounds)[0]


def _in_batches(score: Score, size: int, many: Sequence[str]) -> list[object]:
    return [score(many[start : start + size]) for start in range(0, len(many), size)]


def ratios(rates: Mapping[str, Row]) -> dict[str, Row]:
    """Return `rates` with each contender's multiples of the first one's and of the second's speed, by wall and by CPU time."""
    one, batched = list(rates.values())[:2]
    return {
        name: {
            **row,
            "times_one_by_one": row["headlines_per_s"] / one["headlines_per_s"],
            "times_batch_32": row["headlines_per_s"] / batched["headlines_per_s"],
            "cpu_times_one_by_one": row["per_cpu_s"] / one["per_cpu_s"],
            "cpu_times_batch_32": row["per_cpu_s"] / batched["per_cpu_s"],
        }
        for name, row in rates.items()
    }
