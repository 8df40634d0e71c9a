"""`tickcast study` through the command itself: all studies small, killed on the way, and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from models.studies.catalog import SUMMARIES
from streams import settings
from streams.settings import Settings
from streams.testing import eventually
from tests.models.forecaster.samples import rows
from tests.models.studies.files import bars, headlines, index, stock
from tests.models.training.lakes import fill

DAYS = 4_800  # weekdays since the middle of 2006


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home", offline=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with what each study reads: one symbol with a hole, one that was listed later, an index, headlines."""
    folder = tmp_path / "data"
    stock(folder, "AAPL", bars(DAYS, 1), holed=DAYS - 150)
    stock(folder, "MSFT", bars(DAYS, 3))
    stock(folder, "TSLA", bars(330, 2))
    index(folder, 400)
    headlines(folder)
    return folder


def started(own: Settings, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKCAST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "deploy", "study", *arguments],
        env=environment | own.environment() | {"COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(own: Settings, *arguments: str) -> tuple[int, str, str]:
    with started(own, *arguments) as process:
        out, errors = process.communicate()
    return process.returncode, out, errors


def parts(own: Settings) -> dict[Path, int]:
    """Return the finished parts, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in own.home.rglob("studies/**/*.npz")}


@pytest.mark.slow
@pytest.mark.timeout(1200)  # four studies, with Spark and networks
def test_a_killed_study_leaves_no_process_and_the_next_goes_on_with_what_is_missing(own: Settings, data: Path) -> None:
    fill(own, rows(900), rows(900, "MSFT", seed=2))
    with started(own, "sse", "--quick", "--data", str(data)) as first:
        eventually(lambda: parts(own), timeout_s=240)
        workers = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(signal.SIGKILL)
    assert workers
    eventually(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers), timeout_s=60)
    before = parts(own)
    code, _, errors = finished(own, "all", "--quick", "--data", str(data))
    assert code == 0, errors
    after = parts(own)
    assert {path: after[path] for path in before} == before
    page, figures = ((own.home / "studies" / f"all.{kind}").read_text() for kind in ("html", "json"))
    told = json.loads(figures)
    assert list(told) == list(SUMMARIES)
    for study in told.values():
        for table in study["tables"]:
            kinds = [row["kind"] for row in table["rows"]]
            assert "ours" in kinds, table["title"]
            assert "naive" in kinds, table["title"]
        assert study["verdicts"]
    assert page.count("<article>") == len(SUMMARIES)
    assert page.count("data:image/png") >= 3 * len(SUMMARIES)
    found = told["daily"]
    assert found["facts"]["removed"] == [{"symbol": "AAPL", "reason": "missing", "rows": 1}]
    assert {row["name"] for row in found["tables"][2]["rows"]} == {"one worker", "two workers", "persistence"}


def test_what_cannot_be_run_is_told_at_the_end_and_nothing_is_half_written(own: Settings, tmp_path: Path) -> None:
    code, _, errors = finished(own, "all", "--quick", "--data", str(tmp_path / "nowhere"))
    assert code == 2
    assert "sse: there are no daily prices of SSE" in errors
    assert "daily: there are no daily prices of AAPL" in errors
    assert "minute: there is nothing to train on" in errors
    assert not parts(own)
    assert not list(own.home.rglob("*.tmp"))
