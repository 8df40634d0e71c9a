"""One training, whole: shards, network, comparison, store, record, announcement. In a process of its own, apart from what serves.

Whatever step a training is killed in, the next one with the same choice goes on from there and ends the same: the job's folder
says what is learnt from and how far it is, the store and the record know what they have, and the decision is written down
before it is carried out.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models import registry, tracking
from models.evaluation import curves
from models.forecaster import recurrent_recipe
from models.forecaster.base import HORIZONS_MIN, LEVELS, QUANTILES, Forecaster
from models.forecaster.onnx_model import OnnxForecaster
from models.forecaster.random_walk import RandomWalk
from models.forecaster.recurrent_recipe import CHECKED, NAME
from models.forecaster.windows import Array
from models.registry import ModelCard, StoredModel
from models.training import dataset, etl, fitting, job, promotion, session
from models.training.dataset import Part
from models.training.fitting import Strategy
from models.training.job import Choice, Place
from models.training.promotion import Block
from models.training.session import Decision, Say
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

if TYPE_CHECKING:
    from models.training.loop import History

DECISION = "decision.json"
Step = Literal["etl", "training", "registration", "promotion"]
STEPS: tuple[Step, ...] = get_args(Step)
Enter = Callable[[Step], None]


class How(msgspec.Struct, frozen=True, kw_only=True):
    """What changes the way of a training but not its result.

    Parameters
    ----------
    workers : int
        Processes that share each batch; 1: this one.
    strategy : Strategy
        With one worker: on which devices.
    shadow : bool
        Whether a challenger that is not promoted forecasts beside the champion from then on.
    ablation : bool
        Whether to train without sentiment too, and report what sentiment is worth.
    progress : bool
        Whether to draw progress bars on stderr.
    """

    workers: int = 1
    strategy: Strategy = "auto"
    shadow: bool = False
    ablation: bool = True
    progress: bool = True


def _told_nobody(_step: Step) -> None:
    """Tell nobody."""


def train(
    settings: Settings,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    how: How = How(),  # noqa: B008 - frozen
    enter: Enter = _told_nobody,
) -> ModelAnnouncement:
    """Train the LSTM on the lake, compare it, store and record it, announce what was decided where a broker is set; return that.

    Parameters
    ----------
    enter : Enter
        Called as each step begins: whoever kills trainings wants to know which one it hits.

    Raises
    ------
    UserError
        The lake is empty or too short, or no broker answers.
    ModelError
        Training diverged, a worker died, or the export is not what was trained.
    EnvironmentFault
        Another training runs, the disk is full, or the models' record is down; the model in place serves on.
    """
    with session.alone(settings), session.reporting(settings) as (client, say), _bars(shown=how.progress) as bars:
        say("training", "reading the lake", {"epoch": 0, "epochs": choice.epochs})
        enter("etl")
        place = job.unfinished(settings, choice)
        if place is None:
            place = job.begin(settings, etl.run(settings, bars.shards), choice)
        enter("training")
        network, history = _fitted(place, how, bars, say)
        enter("registration")
        unseen = promotion.block(dataset.final_rows(settings), place.job.border_ts_us, place.job.end_ts_us)
        model = _stored(settings, place, network, unseen, history)
        blind = _blind(place, how, bars, say) if how.ablation else None
        decision = _decided(settings, place, model, blind, unseen)
        announcement = session.told(model, decision, _record(settings, place, model, decision, history))
        announcement = msgspec.structs.replace(announcement, shadow=how.shadow and not decision.promoted)
        enter("promotion")
        session.carry_out(settings, model, announcement, client)
        place.end()
        say("done", f"{announcement.model_id}: {announcement.reason}", {"epochs": choice.epochs})
    return announcement


def _fitted(place: Place, how: How, bars: _Bars, say: Say) -> tuple[Any, History]:
    epochs = place.job.choice.epochs
    what = "training the LSTM" if place.job.choice.sentiment else "the same without sentiment"

    def tell(history: History) -> None:
        done = len(history.train)
        bars.epoch(done, epochs, what)
        say("training", "", {"epoch": done, "epochs": epochs, "windows": len(place.parts[0])})

    bars.epoch(0, epochs, what)
    if how.workers > 1:
        from models.training import workers  # noqa: PLC0415 - only where there are several

        return workers.fit(place, how.workers, tell)
    return fitting.fit(place, how.strategy, tell)


def _stored(settings: Settings, place: Place, network: Any, unseen: Block, history: History) -> StoredModel:
    from models.forecaster import recurrent  # noqa: PLC0415 - loaded by now

    card = _card(place)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recurrent.write(network, card.scaler, folder, place.parts[1].features[:CHECKED])
        registry.write_losses(folder, registry.Losses(train=history.train, validation=history.validation))
        metrics = compare(OnnxForecaster(StoredModel(folder, card)), RandomWalk(), unseen.part)
        return registry.save(settings, msgspec.structs.replace(card, metrics=metrics), "lstm", folder)


def _blind(place: Place, how: How, bars: _Bars, say: Say) -> Forecaster:
    """Return the same network, trained without sentiment."""
    from models.forecaster import recurrent, recurrent_graph  # noqa: PLC0415 - loaded by now

    own = place.without_sentiment()
    network, _ = _fitted(own, how, bars, say)
    graph = recurrent_graph.build([recurrent.weights(network, fitting.scaler(own))])
    return recurrent_recipe.served(graph, _card(own), "blind")


def _card(place: Place) -> ModelCard:
    return recurrent_recipe.card_of(place.data_cutoff_ts_us, place.job.choice.seed, fitting.scaler(place))


def _decided(settings: Settings, place: Place, model: StoredModel, blind: Forecaster | None, unseen: Block) -> Decision:
    """Return the decision on `model`, written down: carried out in part, it must not be taken again."""
    path = place.folder / DECISION
    if path.is_file():
        return msgspec.json.decode(path.read_bytes(), type=Decision)
    champion = registry.promoted(settings, NAME)
    decision = _compared(model, champion, unseen)
    if blind is not None:
        decision = _with_ablation(model, blind, unseen, decision)
    scratch = path.with_suffix(".tmp")
    scratch.write_bytes(msgspec.json.encode(decision))
    scratch.replace(path)
    return decision


def _with_ablation(model: StoredModel, blind: Forecaster, unseen: Block, decision: Decision) -> Decision:
    found = promotion.ablation(OnnxForecaster(model), blind, unseen)
    if found is None:
        return decision
    figures = {**decision.metrics, "skill_pinball_5m_vs_no_sentiment": found.skill, "dm_p_vs_no_sentiment": found.p_value}
    return Decision(promoted=decision.promoted, reason=f"{decision.reason}; {found.said}", metrics=figures)


def _compared(model: StoredModel, champion: StoredModel | None, unseen: Block) -> Decision:
    if champion is not None and champion.card.model_id == model.card.model_id:
        return Decision(promoted=True, reason="it is the champion already: nothing that it learns from has changed", metrics={})
    return promotion.decide(OnnxForecaster(model), usable(champion), unseen)


def usable(stored: StoredModel | None) -> Forecaster | None:
    """Return the forecaster that is stored; None where there is none, or it was made for other features."""
    try:
        return None if stored is None else OnnxForecaster(stored)
    except ModelError:
        return None


def _record(settings: Settings, place: Place, model: StoredModel, decision: Decision, history: History) -> str:
    losses = {"train_loss": history.train, "validation_loss": history.validation}
    facts = tracking.Facts(
        training_id=f"{place.job.training_id}-{model.card.model_id}",  # other code makes another model of the same
        params={**msgspec.structs.asdict(place.job.choice), "windows": len(place.parts[0])},
        curves=losses,
        files={
            "loss.png": curves.losses(losses),
            "decision.json": tracking.as_json(decision),
            "index.json": tracking.as_json(place.job.index),
        },
        metrics=decision.metrics,
        promoted=decision.promoted,
        reason=decision.reason,
    )
    return tracking.record(settings, model, facts)


def compare(model: Forecaster, naive: Forecaster, part: Part) -> dict[str, float]:
    """Return how `model` does on `part` beside `naive`, on the same windows.

    `mse` and `pinball` (mean over the quantiles) are in log-return units for each horizon; a `skill` is 1 minus the
    ratio of the two losses, and without a horizon the mean over the horizons; `covered_80` is a share. Without a window
    there is nothing but their number.
    """
    metrics: dict[str, float] = {"windows": float(len(part.windows))}
    if not len(part.windows):
        return metrics
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


class _Bars:
    """Progress bars of a training's steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def shards(self, done: int, total: int) -> None:
        """Show how many shards are made."""
        self._show("making shards", done, total)

    def epoch(self, done: int, total: int, what: str) -> None:
        """Show how many epochs are done."""
        self._show(what, done, total)

    def _show(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


@contextlib.contextmanager
def _bars(*, shown: bool) -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        yield _Bars(progress)
