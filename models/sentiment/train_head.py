"""Train the offline default: low-rank adapters and a head on MiniLM, from SEntFiN and our own headlines.

    python -m models.sentiment.train_head --labels SEntFiN.csv

Needs the package `peft` (the extra `train`); serving does not. SEntFiN names a label per company: a headline's target is the
share of each label among its companies, so that a mixed headline teaches both. `phrasebank` and FinBERT's recorded answers
are for evaluation (`evaluate.py`) and never come here.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import json
import logging
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from models.sentiment import minilm_network
from models.sentiment.base import LABELS
from models.sentiment.files import sha256
from models.sentiment.minilm import HEAD_FILE
from streams.errors import ModelError

OWN_HEADLINES = Path(__file__).with_name("headlines.csv")
BEFORE, BEHIND = "base_model.model.", ".default.weight"  # what peft puts around the names of adapters
HELD_OUT = 10  # one headline in ten, by its hash, is kept for the temperature and for the report

log = logging.getLogger(__name__)


class Example(NamedTuple):
    """One text and its target distribution over positive, negative, neutral."""

    text: str
    target: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """How to train. `own_repeats`: how often an epoch shows each of our own headlines."""

    epochs: int = 4
    batch: int = 32
    rank: int = 16
    adapter_rate: float = 5e-4
    head_rate: float = 2e-3
    own_repeats: int = 3
    dropout: float = 0.1
    seed: int = 7


def read_sentfin(path: Path) -> tuple[list[Example], int]:
    """Return SEntFiN's examples, and how many rows were skipped because their label cell is no Python literal."""
    examples, skipped = [], 0
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                labels = list(ast.literal_eval(row["Decisions"]).values())
            except (SyntaxError, ValueError):
                skipped += 1
                continue
            examples.append(Example(row["Title"], tuple(labels.count(name) / len(labels) for name in LABELS)))
    return examples, skipped


def read_own(path: Path = OWN_HEADLINES) -> list[Example]:
    """Return this project's own labelled headlines."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Example(row["text"], tuple(float(row["label"] == name) for name in LABELS)) for row in csv.DictReader(file)]


def held_out(example: Example) -> bool:
    """Return whether `example` is kept from training; its text alone decides."""
    return int(hashlib.sha256(example.text.encode()).hexdigest(), 16) % HELD_OUT == 0


def adapted(model: Any, recipe: Recipe) -> Any:
    """Return `model` with trainable low-rank adapters by `peft`, and nothing else trainable."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - only training needs it

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.rank,
        lora_dropout=recipe.dropout,
        target_modules=list(minilm_network.ADAPTED),
        exclude_modules=["pooler.dense"],
    )
    return get_peft_model(model, config)


class Trainer:
    """One training run: the encoder with adapters, the head, and their optimizer.

    Parameters
    ----------
    start : Path, optional
        A head file to go on from; its adapters have the recipe's rank. By default the training begins with nothing.
    """

    def __init__(self, recipe: Recipe, start: Path | None = None) -> None:
        self.recipe = recipe
        torch.manual_seed(recipe.seed)
        self.tokenizer, model = minilm_network.backbone()
        self.model = adapted(model, recipe)
        self.head = torch.nn.Linear(model.config.hidden_size, len(LABELS))
        self.dropout = torch.nn.Dropout(recipe.dropout)
        if start is not None:
            self._go_on_from(minilm_network.read(start).tensors)

    def _go_on_from(self, tensors: dict[str, Any]) -> None:
        adapters = {f"{BEFORE}{name}{BEHIND}": value.float() for name, value in tensors.items() if ".lora_" in name}
        if unknown := self.model.load_state_dict(adapters, strict=False).unexpected_keys:
            raise ModelError(f"the head to go on from has layers that the encoder lacks: {', '.join(unknown)}")
        self.head.load_state_dict({name: tensors[f"head.{name}"].float() for name in ("weight", "bias")})

    def logits(self, texts: list[str]) -> Any:
        """Return logits [n, 3] of `texts`."""
        encoded = self.tokenizer(texts, truncation=True, max_length=minilm_network.MAX_TOKENS, padding=True, return_tensors="pt")
        hidden = self.model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).last_hidden_state
        return self.head(self.dropout(minilm_network.pool(hidden, encoded["attention_mask"])))

    def fit(self, examples: list[Example], tell: Callable[[int], None] = lambda _epochs: None) -> list[float]:
        """Train on `examples` for the recipe's epochs, the rates falling to zero; return the mean loss of each."""
        adapter = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": adapter, "lr": self.recipe.adapter_rate},
            {"params": self.head.parameters(), "lr": self.recipe.head_rate},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        steps = self.recipe.epochs * math.ceil(len(examples) / self.recipe.batch)
        rising = min(50, steps // 10 + 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / rising) * (1 - step / steps))
        means = []
        for epoch in range(self.recipe.epochs):
            losses = [self._step(batch, optimizer, schedule) for batch in self._batches(examples, epoch)]
            means.append(sum(losses) / len(losses))
            log.info("epoch %d: mean loss %.4f", epoch + 1, means[-1])
            tell(epoch + 1)
        return means

    def _batches(self, examples: list[Example], epoch: int) -> Iterator[list[Example]]:
        """Yield shuffled batches of similar length: a batch is padded to its longest text."""
        shuffled = random.Random(self.recipe.seed + epoch)  # noqa: S311 - a shuffle, not a secret
        order = sorted(examples, key=lambda example: len(example.text) + shuffled.uniform(0, 25))
        size = self.recipe.batch
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        shuffled.shuffle(batches)
        yield from batches

    def _step(self, batch: list[Example], optimizer: Any, schedule: Any) -> float:
        self.model.train()
        target = torch.tensor([example.target for example in batch])
        loss = torch.nn.functional.cross_entropy(self.logits([example.text for example in batch]), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        schedule.step()
        return float(loss.detach())

    def predict(self, examples: list[Example]) -> Any:
        """Return logits [n, 3] of `examples`, dropout off."""
        self.model.eval()
        self.dropout.eval()
        with torch.inference_mode():
            return torch.cat([self.logits([e.text for e in examples[i : i + 32]]) for i in range(0, len(examples), 32)])

    def tensors(self) -> dict[str, Any]:
        """Return what is shipped, in float16: adapters by the name of their layer, and the head."""
        found = {}
        for key, value in self.model.state_dict().items():
            name, middle, _ = key.removeprefix(BEFORE).rpartition(BEHIND)
            if middle and ".lora_" in name:
                found[name] = value
        found |= {"head.weight": self.head.weight.data, "head.bias": self.head.bias.data}
        return {key: value.detach().to(torch.float16).contiguous() for key, value in found.items()}


def fit_temperature(logits: Any, target: Any) -> float:
    """Return the temperature that makes `logits` [n, 3] most likely under `target` [n, 3] (Guo et al., 2017)."""
    grid = torch.linspace(0.5, 5.0, 451)
    losses = torch.stack([torch.nn.functional.cross_entropy(logits / t, target) for t in grid])
    return float(grid[losses.argmin()])


def accuracy(logits: Any, target: Any) -> float:
    """Return the share of rows whose most likely label is the target's."""
    return float((logits.argmax(1) == target.argmax(1)).double().mean())


def train(labels: Path, out: Path, recipe: Recipe) -> dict[str, float]:
    """Train, write `out` and its checksum, and return the figures on the held-out part."""
    sentfin, skipped = read_sentfin(labels)
    own = read_own()
    log.info("SEntFiN: %d headlines, %d skipped; own: %d", len(sentfin), skipped, len(own))
    trainer = Trainer(recipe)
    shown = sentfin + own * recipe.own_repeats
    trainer.fit([example for example in shown if not held_out(example)])
    kept = {"sentfin": [e for e in sentfin if held_out(e)], "own": [e for e in own if held_out(e)]}
    logits = {name: trainer.predict(examples) for name, examples in kept.items()}
    target = {name: torch.tensor([e.target for e in examples]) for name, examples in kept.items()}
    temperature = fit_temperature(torch.cat(list(logits.values())), torch.cat(list(target.values())))
    figures = {f"held_out_accuracy_{name}": accuracy(logits[name], target[name]) for name in kept}
    write(out, trainer.tensors(), {"scale": 1.0, "temperature": round(temperature, 2), **figures})
    return {"temperature": temperature, **figures}


def write(out: Path, tensors: dict[str, Any], about: dict[str, float]) -> None:
    """Write the head file and the checksum beside it."""
    save_file(tensors, out, metadata={"tickcast": json.dumps(about)})
    out.with_suffix(".sha256").write_text(f"{sha256(out)}  {out.name}\n", encoding="ascii")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="SEntFiN.csv")
    parser.add_argument("--out", type=Path, default=HEAD_FILE)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--own-repeats", type=int, default=Recipe.own_repeats)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    figures = train(given.labels, given.out, Recipe(epochs=given.epochs, own_repeats=given.own_repeats))
    log.info("%s", json.dumps(figures))


if __name__ == "__main__":
    main()
