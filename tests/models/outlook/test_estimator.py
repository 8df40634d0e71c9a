"""The model file and what it says: whole or refused, the same months the same answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from models.outlook import pretrained
from models.outlook.estimator import THRESHOLD, Estimator
from models.sentiment.files import sha256
from streams.errors import ModelError
from tests.models.outlook.samples import about, model_file

MATRIX = np.array([[0.05, 0.1], [-0.02, 0.0], [0.01, -0.3], [0.08, 0.2]])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_file(tmp_path_factory.mktemp("model"))


def test_a_file_is_read_as_it_was_written(path: Path) -> None:
    held = pretrained.read(path)
    assert (held.about, len(held.weights)) == (about(), 2)
    assert held.model_id == f"outlook-{path.with_suffix('.sha256').read_text()[:8]}"


def test_the_same_months_give_the_same_answer_and_others_another(path: Path) -> None:
    first = Estimator(path).estimate(MATRIX, 0.1)
    assert first == Estimator(path).estimate(MATRIX, 0.1)
    assert first.expected != Estimator(path).estimate(-MATRIX, 0.1).expected
    assert first.ensemble_spread > 0 < first.dropout_spread


def test_intervals_are_nested_around_the_expected_return_and_as_wide_as_the_stock_moves(path: Path) -> None:
    calm, wild = (Estimator(path).estimate(MATRIX, volatility) for volatility in (0.05, 0.5))
    for estimate in (calm, wild):
        (a, f), (b, e), (c, d) = (estimate.intervals[share] for share in ("95", "80", "50"))
        assert -1 < a <= b <= c < estimate.expected < d < e < f
    assert wild.intervals["80"][1] - wild.expected == pytest.approx(10 * (calm.intervals["80"][1] - calm.expected))
    assert Estimator(path).estimate(MATRIX, math.nan).volatility == about().usual_volatility


def test_what_stocks_rise_on_average_suggests_nothing(path: Path) -> None:
    estimate = Estimator(path).estimate(MATRIX, 0.1)
    assert (estimate.buy_from, estimate.sell_from) == pytest.approx((about().usual_return + THRESHOLD, -THRESHOLD))
    returns = (0.046, 0.044, about().usual_return, 0.0, -0.019, -0.021)
    assert [estimate._replace(expected=value).suggestion for value in returns] == ["buy", "hold", "hold", "hold", "hold", "sell"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "without checksum", "another version"])
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, damage: str) -> None:
    path = model_file(tmp_path, networks=1)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "without checksum":
        path.with_suffix(".sha256").unlink()
    else:
        path.write_bytes(whole.replace(b'\\"version\\":1', b'\\"version\\":2'))
        path.with_suffix(".sha256").write_text(sha256(path))
    with pytest.raises(ModelError, match=r"reinstall|damaged"):
        Estimator(path)


def test_the_file_that_is_shipped_is_whole_and_says_what_it_is_worth() -> None:
    estimator = Estimator()
    told = estimator.about
    assert len(pretrained.read().weights) == 5
    assert told.verdict == "no demonstrated edge"
    assert told.tested > 400
    assert abs(estimator.estimate(MATRIX, 0.08).expected) < 0.2
