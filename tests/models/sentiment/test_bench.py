"""The benchmark's own arithmetic; its run takes a minute and is a command, not a test."""

from __future__ import annotations

import time

import pytest

from models.sentiment import bench


def test_a_rate_counts_texts_by_the_second() -> None:
    def spin(texts: object) -> None:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass

    found = bench.rate(spin, ["text"] * 10)
    assert found["per_cpu_s"] == pytest.approx(200, rel=0.3)
    assert found["headlines_per_s"] <= 210


def test_the_table_compares_with_its_first_row() -> None:
    rates = {"slow": {"headlines_per_s": 1.0, "per_cpu_s": 2.0}, "quick": {"headlines_per_s": 9.0, "per_cpu_s": 20.0}}
    assert bench.table(rates).splitlines()[-1].split() == ["quick", "9.0", "20.0", "10.0"]
