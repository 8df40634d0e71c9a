"""Training, on a handful of headlines: what it writes is what serving reads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from models.sentiment import minilm_network, torch_runtime, train_head
from models.sentiment.train_head import Recipe

pytest.importorskip("peft", reason="training needs the extra `train`", exc_type=ImportError)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Title", "Decisions"])
        rows.writerows([f"Profit of unit {n} rises", "{'unit': 'positive'}"] for n in range(30))
        rows.writerows([f"Loss of unit {n} grows", "{'unit': 'negative', 'bank': 'neutral'}"] for n in range(30))
        rows.writerow(["Drug maker's shares slip", "{'Dr Reddy's': 'negative'}"])
    return path


def test_a_mixed_headline_teaches_every_label_by_its_share(labels: Path) -> None:
    examples, skipped = train_head.read_sentfin(labels)
    assert (examples[0].target, examples[-1].target, skipped) == ((1, 0, 0), (0, 0.5, 0.5), 1)


def test_the_temperature_cools_what_is_too_sure() -> None:
    logits = torch.tensor([[8.0, 0, 0]] * 10)
    target = torch.eye(3)[[0] * 7 + [1] * 3]
    assert train_head.fit_temperature(logits, target) > 2


def test_what_training_writes_is_what_serving_reads(labels: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, own_repeats=0, rank=2)
    trainer = train_head.Trainer(recipe)
    examples, _ = train_head.read_sentfin(labels)
    trainer.fit(examples)
    out = tmp_path / "head.safetensors"
    train_head.write(out, trainer.tensors(), {"scale": 1.0, "temperature": 1.0})
    served = torch_runtime.scorer(minilm_network.network(out), torch.device("cpu"))
    expected = torch.softmax(trainer.predict(examples), dim=1).numpy()
    np.testing.assert_allclose(served.score([example.text for example in examples]), expected, atol=2e-3)  # float16 weights
