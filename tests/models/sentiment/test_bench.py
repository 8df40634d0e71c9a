"""The benchmark's own arithmetic; its run takes a minute and is a command, not a test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from models.sentiment import bench
from streams.errors import EnvironmentFault


def test_a_rate_counts_texts_by_the_second() -> None:
    def spin(texts: object) -> None:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass

    found, _ = bench.rate(spin, ["text"] * 10)
    assert found["per_cpu_s"] == pytest.approx(200, rel=0.3)
    assert found["headlines_per_s"] <= 210


def test_a_row_is_compared_with_both_pipelines() -> None:
    rates = {name: {"headlines_per_s": wall, "per_cpu_s": 2 * wall} for name, wall in (("one", 1.0), ("32", 3.0), ("ours", 12.0))}
    found = bench.ratios(rates)["ours"]
    assert (found["times_one_by_one"], found["times_batch_32"]) == (12, 4)
    assert (found["cpu_times_one_by_one"], found["cpu_times_batch_32"]) == (12, 4)


def test_every_batch_size_of_a_gpu_is_timed_without_missing_a_text() -> None:
    asked: list[int] = []
    found = dict(bench.by_batch(lambda texts: asked.append(len(texts)), (1, 4), seconds=1e-6))
    assert list(found) == ["batch 1", "batch 4"]
    assert set(asked) == {1, 4}
    assert all(row["headlines_per_s"] > 0 for row in found.values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_gpu_bench_says_so() -> None:
    with pytest.raises(EnvironmentFault, match="no CUDA GPU"):
        bench.gpu_name()


@pytest.mark.slow
def test_all_contenders_say_what_torch_says(tmp_path: Path) -> None:
    found = dict(bench.on_cpu(bench.random_bert(), 16, tmp_path))
    assert len(found) == 5
    assert found["ONNX float32, bucketed"]["difference_from_torch"] < 1e-4
