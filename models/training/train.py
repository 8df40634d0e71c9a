"""Trains the LSTM on the lake, stores it, and announces it. Runs in a process of its own: it must not slow what serves."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from kafka import KafkaProducer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models import registry
from models.forecaster import recurrent_recipe
from models.forecaster.base import HORIZONS_MIN, LEVELS, QUANTILES, Effort, Forecaster
from models.forecaster.onnx_model import OnnxForecaster
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Array
from models.registry import StoredModel
from models.training import dataset
from models.training.dataset import Dataset, Part
from streams import bus
from streams.errors import TickcastError
from streams.messages import ModelAnnouncement, State
from streams.settings import Settings

NAME = "forecaster"
EPOCHS = 12
SEED = 7

Say = Callable[[State, str, dict[str, int]], None]


def train(settings: Settings, *, epochs: int = EPOCHS, seed: int = SEED, progress: bool = True) -> ModelAnnouncement:
    """Train the LSTM on the lake's features, store it, announce it as promoted where a broker is set, and return that.

    Parameters
    ----------
    epochs : int
        At most so many; training stops earlier when validation has not improved for two.
    seed : int
        The same seed, lake and machine give the same model, id and all.
    progress : bool
        Whether to draw a progress bar on stderr.

    Raises
    ------
    UserError
        The lake is empty or too short, or no broker answers.
    ModelError
        Training diverged, or the export is not what was trained.
    """
    with _reporting(settings) as (client, say), _bar(epochs, shown=progress) as draw:
        say("training", "reading the lake", {"epoch": 0, "epochs": epochs})
        data = dataset.load(settings, seed)

        def tell(done: int) -> None:
            draw(done)
            say("training", "", {"epoch": done, "epochs": epochs, "windows": len(data.train.windows)})

        stored = _trained(settings, data, epochs, seed, tell)
        announcement = stored.announcement(promoted=True, reason=verdict(stored.card.metrics))
        if client is not None:
            registry.announce(settings, announcement, client)
        say("done", f"{announcement.model_id}: {announcement.reason}", {"epochs": epochs})
    return announcement


def _trained(settings: Settings, data: Dataset, epochs: int, seed: int, tell: Callable[[int], None]) -> StoredModel:
    from models.forecaster import recurrent  # noqa: PLC0415 - seconds of TensorFlow, only once there is something to train on

    card = recurrent_recipe.card(data, seed, NAME)
    network = recurrent_recipe.trained(data, seed, Effort(epochs, tell))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recurrent.write(network, card.scaler, folder, data.validation.windows.features[:256])
        metrics = compare(OnnxForecaster(StoredModel(folder, card)), RandomWalk(), data.validation)
        return registry.save(settings, msgspec.structs.replace(card, metrics=metrics), "lstm", folder)


def compare(model: Forecaster, naive: Forecaster, part: Part) -> dict[str, float]:
    """Return how `model` does on `part` beside `naive`, on the same windows.

    `mse` and `pinball` (mean over the quantiles) are in log-return units for each horizon; a `skill` is 1 minus the
    ratio of the two losses, and without a horizon the mean over the horizons; `covered_80` is a share.
    """
    metrics: dict[str, float] = {"windows": float(len(part.windows))}
    for name, losses in (("mse", _squared_errors), ("pinball", _pinball)):
        ours, theirs = losses(model, part), losses(naive, part)
        skills = 1.0 - ours / theirs
        metrics |= _by_horizon(name, ours) | _by_horizon(f"naive_{name}", theirs) | _by_horizon(f"skill_{name}", skills)
        metrics[f"skill_{name}"] = float(skills.mean())
    return metrics | _by_horizon("covered_80", _covered(model, part))


def _by_horizon(name: str, values: Array) -> dict[str, float]:
    return {f"{name}_{horizon_min}m": float(value) for horizon_min, value in zip(HORIZONS_MIN, values, strict=True)}


def _squared_errors(model: Forecaster, part: Part) -> Array:
    errors: Array = ((model.forecast(part.windows).mean - part.targets) ** 2).mean(axis=0)
    return errors


def _pinball(model: Forecaster, part: Part) -> Array:
    miss = part.targets[:, :, None] - model.forecast(part.windows).quantiles
    losses: Array = np.maximum(LEVELS * miss, (LEVELS - 1.0) * miss).mean(axis=(0, 2))
    return losses


def _covered(model: Forecaster, part: Part) -> Array:
    quantiles = model.forecast(part.windows).quantiles
    low, high = quantiles[:, :, QUANTILES.index("0.1")], quantiles[:, :, QUANTILES.index("0.9")]
    covered: Array = ((low <= part.targets) & (part.targets <= high)).mean(axis=0)
    return covered


def verdict(metrics: dict[str, float]) -> str:
    """Return in words what the validation says; no claim of an edge is made without a test of significance."""
    return (
        f"promoted unchallenged; on {metrics['windows']:.0f} validation windows its skill against the random walk is"
        f" {metrics['skill_mse']:+.1%} (squared error) and {metrics['skill_pinball']:+.1%} (pinball loss);"
        " no significance test was made: no demonstrated edge"
    )


@contextlib.contextmanager
def _reporting(settings: Settings) -> Iterator[tuple[KafkaProducer | None, Say]]:
    """Yield a producer and a way to say how it goes, or None and silence where no broker is set."""
    if not settings.broker:
        yield None, lambda _state, _detail, _counts: None
        return
    client = bus.producer(settings)
    reporter = bus.StatusReporter(settings, "train", client)
    try:
        yield client, reporter.say
    except TickcastError as error:
        reporter.say("failed", str(error))
        raise
    finally:
        client.flush()
        client.close()


@contextlib.contextmanager
def _bar(epochs: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("training the LSTM"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("training", total=epochs)
        yield lambda done: bar.update(task, completed=done)
