"""The lookahead check: it holds, and each stage that is made to look ahead is caught."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from consumers import scorer
from consumers.forecaster import ForecastHandler
from deploy.cli import app
from deploy.verify import lookahead, stages
from deploy.verify.lookahead import QUICK, Tally, Worlds
from deploy.verify.stages import Piece, Said
from models.evaluation import walk_forward
from models.training import dataset
from models.training.dataset import Dataset, Examples, Part
from streams import codec, settings
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US
from streams.messages import Features, Forecast
from tests.deploy.conftest import LOOKAHEAD_SEED, Rows

pytestmark = pytest.mark.slow


@pytest.fixture
def worlds(made: Rows) -> Worlds:
    """Return the market and all of its other futures."""
    assert made
    return lookahead.worlds(settings.load({}), QUICK, LOOKAHEAD_SEED)


@pytest.fixture
def two(worlds: Worlds) -> Worlds:
    """Return the market and one other future, in which whatever looks ahead shows as well as in several."""
    (cut_us, other), *_ = worlds.others.items()
    return Worlds(worlds.base, {cut_us: other})


def differing(worlds: Worlds) -> dict[str, int]:
    """Return what the check says differs, by kind; it must hold where that is nothing, and only there."""
    figures = lookahead.judged(worlds, QUICK, lambda _what: None)
    found = {kind: row["differing"] for kind, row in figures["kinds"].items() if row["differing"]}
    assert figures["holds"] is not bool(found)
    return found


def later(rows: pl.DataFrame, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places one minute after `ends`, where there still are targets."""
    return np.minimum(ends + 1, rows.height - 1 - dataset.LONGEST)


def test_nothing_looks_ahead(worlds: Worlds) -> None:
    assert differing(worlds) == {}


def test_a_rolling_mean_that_knows_the_next_minute_is_caught(two: Worlds) -> None:
    ahead = pl.col("ma7").shift(-1).over("symbol", order_by="minute_ts_us").fill_null(pl.col("ma7"))
    others = {cut_us: rows.with_columns(ahead) for cut_us, rows in two.others.items()}
    assert {"features", "windows"} <= differing(Worlds(two.base.with_columns(ahead), others)).keys()


def test_a_window_shifted_by_one_is_caught(two: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dataset.part

    def shifted(rows: pl.DataFrame, ends: NDArray[np.int64]) -> Part:
        return replace(right(rows, ends), windows=right(rows, later(rows, ends)).windows)

    monkeypatch.setattr(dataset, "part", shifted)
    found = differing(two)
    assert found["windows"] == len(lookahead.SYMBOLS) * len(two.others)  # the last one of each
    assert "targets" not in found


def test_a_target_that_is_said_to_be_nearer_than_it_is_is_caught(two: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dataset.part

    def farther(rows: pl.DataFrame, ends: NDArray[np.int64]) -> Part:
        return replace(right(rows, ends), targets=right(rows, later(rows, ends)).targets)

    monkeypatch.setattr(dataset, "part", farther)
    assert "targets" in differing(two)


class WholeScaled(Examples):
    """Examples whose scaler was fitted on others too."""

    whole: Examples

    def scaler(self) -> dict[str, tuple[float, float]]:
        return self.whole.scaler()


def test_a_scaler_fitted_on_the_whole_is_caught(two: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dataset.make

    def leaking(rows: pl.DataFrame, seed: int, limit: int = dataset.TRAINING_WINDOWS) -> Dataset:
        data = right(rows, seed, limit)
        ours = data.train.examples
        scaled = WholeScaled(ours.features, ours.scale, ours.targets, ours.symbols)
        object.__setattr__(scaled, "whole", dataset.part(rows, dataset.window_ends(rows)).examples)
        data.train.__dict__["examples"] = scaled
        return data

    monkeypatch.setattr(dataset, "make", leaking)
    assert differing(two) == {"scaler": len(two.others)}


def test_a_model_fitted_beyond_its_border_is_caught(two: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    right = walk_forward.folds

    def unbounded(rows: pl.DataFrame, count: int = 1) -> list[walk_forward.Fold]:
        return [replace(fold, known=rows) for fold in right(rows, count)]

    monkeypatch.setattr(walk_forward, "folds", unbounded)
    assert {"models", "answers"} == differing(two).keys()


def test_a_calibration_that_learns_early_is_caught(two: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ForecastHandler.handle

    def early(self: ForecastHandler, records: Sequence[Record]) -> list[Outgoing]:
        for record in records:
            self._calibrator.mature(codec.decode(Features, record.value))
        return right(self, records)

    monkeypatch.setattr(ForecastHandler, "handle", early)
    assert "forecasts" in differing(two)


def test_a_score_against_a_later_close_is_caught(two: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(forecast: Forecast) -> int:
        return forecast.target_ts_us

    monkeypatch.setattr(scorer, "_minute", late)
    assert set(differing(two)) == {"scores"}


@pytest.mark.parametrize("leaks", [False, True])
def test_the_command_tells_by_its_exit_code(two: Worlds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, leaks: bool) -> None:
    def prepared(*_arguments: Any) -> Worlds:
        return two

    monkeypatch.setattr(lookahead, "worlds", prepared)
    if leaks:
        monkeypatch.setattr(scorer, "_minute", lambda forecast: forecast.target_ts_us)
    result = CliRunner().invoke(app, ["verify", "lookahead", "--quick", "--json", str(tmp_path / "figures.json")])
    assert (result.exit_code, json.loads((tmp_path / "figures.json").read_text())["holds"]) == (int(leaks), not leaks)


def test_what_is_the_same_for_all_times_was_not_looked_at() -> None:
    tally = Tally()
    said: Said = {("later",): Piece(MINUTE_US, b"same")}
    said |= {(kind,): Piece(0, b"same") for kind in stages.KINDS}
    for name in stages.STAGES:
        tally.add(name, 1, said, said)
    assert not tally.holds()
    for name in stages.STAGES:
        tally.add(name, 1, said, said | {("later",): Piece(MINUTE_US, b"other")})
    assert tally.holds()
    tally.add("features", 1, said, {key: piece for key, piece in said.items() if key != ("windows",)})
    assert not tally.holds()
