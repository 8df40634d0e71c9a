"""The models' record in MLflow: parameters, metrics, plots, files and decisions of every training, by default in HOME/registry.

What serves never asks MLflow: models are served from the store (`registry.py`), whose checksums the record repeats as tags.
A training is recorded under an id of its own, so that one which was killed while it was recorded is completed, not repeated.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import msgspec

from models.registry import StoredModel
from streams.errors import EnvironmentFault
from streams.settings import Settings

TRAINING = "tickcast.training_id"
CHAMPION, CHALLENGER = "champion", "challenger"
DATABASE = "mlflow.db"
UNFINISHED = ".unfinished-"
# Nothing goes to other machines but what the user's own tracking server gets; and a server that is down is said soon.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True)
class Facts:
    """What is kept of a training beside the model's own card.

    Parameters
    ----------
    training_id : str
        The same for a training that is repeated.
    params : Mapping[str, Any]
        What was asked for.
    curves : Mapping[str, list[float]]
        A loss for each epoch, by name.
    files : Mapping[str, bytes]
        Plots and reports, by file name.
    metrics : Mapping[str, float]
        Beside the card's: those of the decision.
    promoted : bool
        Whether the model became champion.
    reason : str
        Why, or why not.
    """

    training_id: str
    params: Mapping[str, Any]
    curves: Mapping[str, list[float]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    promoted: bool = False
    reason: str = ""


@contextmanager
def client(settings: Settings) -> Iterator[Any]:
    """Yield an `mlflow.MlflowClient` of the tracking server, or of the files in HOME/registry.

    Raises
    ------
    EnvironmentFault
        The server does not answer, or the files cannot be used.
    """
    os.environ.update(ENVIRONMENT)
    place = settings.tracking or _address(_folder(settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow and its libraries deprecate each other; nobody here can act on it
        from mlflow import MlflowClient  # noqa: PLC0415 - seconds
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        for name in ("mlflow", "alembic"):  # they set their own levels when they are loaded
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            if not settings.tracking:
                _ensure_database(_folder(settings))
            yield MlflowClient(place, place)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            said = str(error).splitlines()[0][:200]
            raise EnvironmentFault(
                f"the models' record at {place} cannot be used ({said}); the model in place serves on"
            ) from error


def _folder(settings: Settings) -> Path:
    folder = (settings.home / "registry").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _address(folder: Path) -> str:
    return f"sqlite:///{folder / DATABASE}"


def _ensure_database(folder: Path) -> None:
    """Make the database in `folder` where there is none, whole or not at all.

    MLflow makes it in dozens of steps that SQLite commits one by one, and never opens again what was killed between two.
    """
    from mlflow import MlflowClient  # noqa: PLC0415 - seconds

    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # a command may look at the record while a training begins it
        if (folder / DATABASE).exists():
            return
        for left in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
        MlflowClient(_address(work), _address(work)).search_registered_models()  # either of MLflow's two stores
        (work / DATABASE).replace(folder / DATABASE)
        work.rmdir()


def record(settings: Settings, model: StoredModel, facts: Facts) -> str:
    """Record a training and its model; return where others find the model. What is recorded already stays as it is.

    That is the folder in the store, or the copy that a tracking server keeps.

    Raises
    ------
    EnvironmentFault
        As :func:`client`.
    """
    card = model.card
    with client(settings) as mlflow:
        experiment = _experiment(settings, mlflow, card.name)
        run = _run(mlflow, experiment, facts)
        for name, value in {**facts.params, "data_cutoff_ts_us": card.data_cutoff_ts_us, "seed": card.seed}.items():
            mlflow.log_param(run, name, value)
        for name, metric in {**card.metrics, **facts.metrics}.items():
            mlflow.log_metric(run, name, metric, step=0, timestamp=0)
        for name, losses in facts.curves.items():
            for epoch, loss in enumerate(losses):
                mlflow.log_metric(run, name, loss, step=epoch, timestamp=0)
        for name, tag in _tags(model, facts).items():
            mlflow.set_tag(run, name, tag)
        mlflow.log_artifacts(run, str(model.folder), "model")
        mlflow.log_dict(run, {name: list(values) for name, values in card.scaler.items()}, "scaler.json")
        _log_files(mlflow, run, facts.files)
        _register(mlflow, run, model, facts)
        mlflow.set_terminated(run, "FINISHED")
        return f"runs:/{run}/model" if settings.tracking else model.folder.resolve().as_uri()


def _experiment(settings: Settings, mlflow: Any, name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = None if settings.tracking else (_folder(settings) / "artifacts" / name).as_uri()
    return str(mlflow.create_experiment(name, artifact_location=local))


def _run(mlflow: Any, experiment: str, facts: Facts) -> str:
    """Return the id of the training's run, begun before or now."""
    found = mlflow.search_runs([experiment], f"tags.`{TRAINING}` = '{facts.training_id}'", max_results=1)
    run = found[0] if found else mlflow.create_run(experiment, tags={TRAINING: facts.training_id})
    return str(run.info.run_id)


def _tags(model: StoredModel, facts: Facts) -> dict[str, str]:
    sums = {f"sha256.{name}": digest for name, digest in model.card.files.items()}
    said = {"model_id": model.card.model_id, "feature_version": str(model.card.feature_version)}
    return sums | said | {"code": code_version(), "promoted": str(facts.promoted).lower(), "reason": facts.reason}


def _log_files(mlflow: Any, run: str, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            path = Path(scratch) / name
            path.write_bytes(content)
            mlflow.log_artifact(run, str(path))


def _register(mlflow: Any, run: str, model: StoredModel, facts: Facts) -> None:
    """Make the run's model a version of the registered model, where it is none yet, and give it its alias."""
    name = model.card.name
    if not mlflow.search_registered_models(f"name = '{name}'"):
        mlflow.create_registered_model(name)
    known = [one for one in mlflow.search_model_versions(f"name = '{name}'") if one.run_id == run]
    made = known[0] if known else mlflow.create_model_version(name, _source(mlflow, run), run_id=run, tags=_tags(model, facts))
    mlflow.set_registered_model_alias(name, CHAMPION if facts.promoted else CHALLENGER, made.version)


def _source(mlflow: Any, run: str) -> str:
    return f"{mlflow.get_run(run).info.artifact_uri}/model"


def name_champion(settings: Settings, name: str, model_id: str) -> None:
    """Set the champion's alias to the newest version of `model_id`, where it is recorded.

    Raises
    ------
    EnvironmentFault
        As :func:`client`.
    """
    with client(settings) as mlflow:
        found = [one for one in mlflow.search_model_versions(f"name = '{name}'") if one.tags.get("model_id") == model_id]
        for newest in sorted(found, key=lambda one: int(one.version))[-1:]:
            mlflow.set_registered_model_alias(name, CHAMPION, newest.version)


def code_version() -> str:
    """Return the commit of the code that runs, or its release where it is not a checkout."""
    told = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() if told.returncode == 0 else version("tickcast")


def download(settings: Settings, uri: str) -> Path:
    """Return a local copy of the model at `uri`, which is no file of this machine.

    Raises
    ------
    EnvironmentFault
        As :func:`client`.
    """
    with client(settings):
        from mlflow import artifacts  # noqa: PLC0415 - after its settings

        target = settings.home / "models" / "downloaded" / urlparse(uri).path.strip("/").replace("/", "-")
        target.mkdir(parents=True, exist_ok=True)
        return Path(artifacts.download_artifacts(uri, dst_path=str(target), tracking_uri=settings.tracking or None))


def versions(settings: Settings, name: str) -> list[dict[str, str]]:
    """Return what is recorded of the versions of `name`, newest first.

    Raises
    ------
    EnvironmentFault
        As :func:`client`.
    """
    with client(settings) as mlflow:
        found = sorted(mlflow.search_model_versions(f"name = '{name}'"), key=lambda one: -int(one.version))
        return [{"version": str(one.version), **one.tags} for one in found]


def as_json(value: object) -> bytes:
    """Return `value` as indented JSON, for the files of a record."""
    return msgspec.json.format(msgspec.json.encode(value))
