"""`tickcast evaluate` and `tickcast bench forecast-call` through the command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest

from models.forecaster.catalog import CATALOG
from streams import settings
from streams.settings import Settings
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import fill


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home")


def tickcast(own: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKCAST_")}
    return subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        env=environment | own.environment() | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_lake_is_evaluated_into_a_page_and_figures(own: Settings, tmp_path: Path) -> None:
    fill(own, rows(900), rows(900, "MSFT", seed=2))
    page, figures = tmp_path / "report.html", tmp_path / "figures.json"
    done = tickcast(own, "evaluate", "--model", "har-rv", "--folds", "2", "--html", str(page), "--json", str(figures))
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert list(found["models"]) == ["random-walk", "har-rv"]
    assert found["symbols"] == ["AAPL", "MSFT"]
    assert page.read_text().count("data:image/png") == 6
    assert "har-rv: expected price: no demonstrated edge at 1 and 5 and 15 min" in done.stdout


@pytest.mark.slow
def test_files_are_evaluated_and_the_lake_stays_as_it_was(own: Settings, tmp_path: Path) -> None:
    market = pl.DataFrame([msgspec.structs.asdict(row) for row in rows(1_000)], infer_schema_length=None)
    path, figures = tmp_path / "AAPL.csv", tmp_path / "figures.json"
    market.select(pl.col("minute_ts_us").alias("timestamp"), "open", "high", "low", "close", "volume").write_csv(path)
    done = tickcast(own, "evaluate", str(path), "--model", "garch", "--folds", "1", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["symbols"] == ["AAPL"]
    assert 430 < found["windows"] < 500
    assert not (own.home / "lake").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [((), "has no final feature rows"), (("--model", "arima"), "there is no forecaster 'arima'")],
)
def test_what_cannot_be_evaluated_is_one_sentence(own: Settings, arguments: tuple[str, ...], told: str) -> None:
    done = tickcast(own, "evaluate", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_forecast_call_is_timed_against_keras(own: Settings, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = tickcast(own, "bench", "forecast-call", "--windows", "100", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["predict_times"] > 5
    assert found["eager_times"] > 2
    assert found["batch_windows"] == 100
    assert found["batch_ms"] < 100 * found["served_ms"] * 5
    assert found["batch_bound_ms"] * found["peak_gflops"] == pytest.approx(100 * 2e-6 * 50 * 512 * (128 + 11))


def test_the_help_names_every_forecaster_of_the_catalogue(own: Settings) -> None:
    said = tickcast(own, "evaluate", "--help").stdout
    assert [name for name in CATALOG if name not in said] == []
