"""How fast headlines are scored: transformers' `pipeline()` against ours, on one model, in one run, on one CPU thread each.

    python -m models.sentiment.bench [--json FILE] [--n 128]

The model is BERT-base as FinBERT is, with random weights: speed does not depend on their values. Texts are real sentences
(`headlines.csv`). Rates are per second of wall time; `per_cpu_s` is per second of this process's CPU time, which is what to
compare on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, TextClassificationPipeline

from models.sentiment import finbert_network, minilm_network, onnx_runtime, torch_runtime
from models.sentiment.base import LABELS
from models.sentiment.scorer import cpu_threads
from models.sentiment.train_head import read_own

Rates = dict[str, dict[str, float]]


def finbert_shaped() -> tuple[Any, Any]:
    """Return a BERT-base classifier with random weights, and MiniLM's tokenizer, whose vocabulary is BERT's own."""
    tokenizer, _ = minilm_network.backbone()
    torch.manual_seed(1)
    config = BertConfig(id2label=dict(enumerate(LABELS)), label2id={label: n for n, label in enumerate(LABELS)})
    return tokenizer, BertForSequenceClassification(config).eval()


def contenders(tokenizer: Any, model: Any, scratch: Path) -> Iterator[tuple[str, Callable[[Sequence[str]], object]]]:
    """Yield each way to score a list of texts, with its name; lazily, so that one graph at a time is in memory."""
    pipeline = TextClassificationPipeline(model=model, tokenizer=tokenizer, device=torch.device("cpu"), top_k=None)
    yield "pipeline, one by one", lambda texts: [pipeline(text) for text in texts]
    yield "pipeline, batch 32", lambda texts: pipeline(list(texts), batch_size=32)
    network = torch_runtime.Network(
        "finbert-shaped", tokenizer.backend_tokenizer, finbert_network.Classifier(model), finbert_network.MAX_TOKENS
    )
    yield "torch, bucketed", torch_runtime.scorer(network, torch.device("cpu")).score
    for name, int8 in (("ONNX float32, bucketed", False), ("ONNX int8, bucketed", True)):
        onnx_runtime.export(network, scratch / name, int8=int8)
        yield name, onnx_runtime.load(scratch / name).score


def rate(score: Callable[[Sequence[str]], object], texts: Sequence[str]) -> dict[str, float]:
    """Return headlines per second of `score`, after a warm-up."""
    score(texts[:8])
    wall, cpu = time.perf_counter(), time.process_time()
    score(texts)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return {"headlines_per_s": len(texts) / seconds, "per_cpu_s": len(texts) / cpu_seconds}


def bench(n: int) -> Rates:
    """Return the rates of all contenders on `n` texts."""
    torch.set_num_threads(cpu_threads())
    texts = [example.text for example in read_own()]
    random.Random(5).shuffle(texts)  # noqa: S311 - an order, not a secret
    with tempfile.TemporaryDirectory() as scratch:
        return {name: rate(score, texts[:n]) for name, score in contenders(*finbert_shaped(), Path(scratch))}


def table(rates: Rates) -> str:
    """Return the rates for people, each with its ratio to the first by CPU time."""
    first = next(iter(rates.values()))["per_cpu_s"]
    rows = [
        f"{name:26}{of['headlines_per_s']:10.1f}{of['per_cpu_s']:12.1f}{of['per_cpu_s'] / first:8.1f}"
        for name, of in rates.items()
    ]
    return "\n".join([f"{'BERT-base, random weights':26}{'per s':>10}{'per CPU s':>12}{'times':>8}", *rows])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--n", type=int, default=128)
    given = parser.parse_args()
    rates = bench(given.n)
    if given.json:
        given.json.write_text(json.dumps(rates, indent=1), encoding="utf-8")
    print(table(rates))  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
