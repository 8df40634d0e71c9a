"""The models' record on a real MLflow server, and a model that is served from it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from models import registry, tracking
from models.forecaster.onnx_model import OnnxForecaster
from models.registry import StoredModel
from models.tracking import Facts
from models.training.workers import free_ports
from streams import settings
from streams.errors import EnvironmentFault
from streams.settings import Settings
from streams.testing import eventually
from tests.models.forecaster.samples import stored_onnx, windows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking server as people run one, that keeps the files itself."""
    home = tmp_path_factory.mktemp("server")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}", "--artifacts-destination", str(home / "artifacts")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment())
    try:
        eventually(lambda: process.poll() is not None or _answers(port), 400)
        assert process.poll() is None, (home / "log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _environment() -> dict[str, str]:
    import os  # noqa: PLC0415

    return os.environ | tracking.ENVIRONMENT


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def connected(server: str, tmp_path: Path) -> Settings:
    return msgspec.structs.replace(settings.load({}), home=tmp_path / "home", tracking=server)


@pytest.fixture
def model(connected: Settings, tmp_path: Path) -> StoredModel:
    return stored_onnx(connected, tmp_path / "made")


def test_recorded_twice_it_is_recorded_once_and_served_from_the_server(
    connected: Settings, model: StoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = Facts("0123", {"epochs": 2}, {"train_loss": [0.3, 0.2]}, {"loss.png": b"picture"}, promoted=True, reason="first")
    uri = tracking.record(connected, model, facts)
    assert tracking.record(connected, model, facts) == uri
    (version,) = tracking.versions(connected, model.card.name)
    assert (version["model_id"], version["sha256.model.onnx"]) == (model.card.model_id, model.sha256)
    for name, value in connected.environment().items():
        monkeypatch.setenv(name, value)
    there = registry.load(uri, model.sha256)
    assert there.folder != model.folder
    expected = OnnxForecaster(model).forecast(windows(3))
    assert OnnxForecaster(there).forecast(windows(3)).quantiles.tobytes() == expected.quantiles.tobytes()


def test_a_server_that_is_down_is_one_sentence(connected: Settings, model: StoredModel) -> None:
    (port,) = free_ports(1)
    down = msgspec.structs.replace(connected, tracking=f"http://127.0.0.1:{port}")
    with pytest.raises(EnvironmentFault, match="the model in place serves on"):
        tracking.record(down, model, Facts("0123", {}))


def test_files_that_are_no_database_are_one_sentence(connected: Settings, model: StoredModel) -> None:
    own = msgspec.structs.replace(connected, tracking="")
    (own.home / "registry").mkdir(parents=True)
    (own.home / "registry" / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        tracking.record(own, model, Facts("0123", {}))


def test_a_record_that_was_killed_while_it_was_begun_is_begun_again(connected: Settings) -> None:
    own = msgspec.structs.replace(connected, tracking="")
    command = [
        sys.executable,
        "-c",
        "from models import tracking; from streams import settings; tracking.versions(settings.load(), 'x')",
    ]
    with subprocess.Popen(command, env=_environment() | own.environment()) as process:
        try:
            eventually(lambda: process.poll() is not None or _has_tables(own), 400, 0.01)  # MLflow is long to load
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL, "it was killed too late to show anything"
    assert not (own.home / "registry" / tracking.DATABASE).exists()
    assert tracking.versions(own, "x") == []
    assert [path.name for path in (own.home / "registry").iterdir() if path.name.startswith(tracking.UNFINISHED)] == []


def _has_tables(own: Settings) -> bool:
    made = [*(own.home / "registry").glob(f"**/{tracking.DATABASE}")]
    return any(path.stat().st_size > 100_000 for path in made)
