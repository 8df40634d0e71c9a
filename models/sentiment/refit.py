"""`tickcast retrain --model sentiment`: adapter, head and temperature fitted again to labelled headlines, and judged.

The new model begins as the one that is shipped, and is shown our own headlines beside the new ones, so that it forgets
nothing. One headline in ten, by its hash, is never learnt from: on those it must beat what serves and the labels' shares,
each by a paired test of the log losses (headlines are independent, so Diebold and Mariano's statistic without lags).

The same labels and seed give the same model: a training that was killed is repeated, and ends as it would have.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models import registry, tracking
from models.evaluation.significance import Test, diebold_mariano
from models.registry import ModelCard, StoredModel
from models.sentiment import base, minilm, onnx_runtime
from models.sentiment.base import LABELS, NAME, SentimentModel
from models.sentiment.scorer import cpu_threads
from models.training import session
from models.training.session import Decision
from streams.errors import ModelError, UserError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

if TYPE_CHECKING:
    from models.sentiment.train_head import Example

HEAD = "head.safetensors"
LEAST = 30  # labelled headlines for the test
UNSURE = 1e-6  # no probability is taken for less: a single sure mistake must not decide
Losses = NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """Labelled headlines: what is learnt from, what sets the temperature, and what judges."""

    train: list[Example]
    warmth: list[Example]
    unseen: list[Example]
    fingerprint: str


def read(path: Path) -> Labels:
    """Return the headlines of a CSV with the columns `label` and `text`, or `Title` and `Decisions` as SEntFiN has them.

    Raises
    ------
    UserError
        It cannot be read, a label is unknown, or there are too few headlines.
    """
    from models.sentiment import train_head  # noqa: PLC0415 - imports torch

    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file), [])
        examples = train_head.read_sentfin(path)[0] if "Decisions" in columns else list(_rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    texts = {example.text: example for example in examples}  # the last word on a text counts
    unseen = [example for example in texts.values() if train_head.held_out(example)]
    if len(unseen) < LEAST:
        raise UserError(
            f"{path} has {len(texts)} headlines, of which {len(unseen)} are kept for the test; it needs {LEAST}: label about "
            f"{LEAST * train_head.HELD_OUT}"
        )
    learnt = [example for example in texts.values() if not train_head.held_out(example)]
    warmth = learnt[:: train_head.HELD_OUT]
    digest = hashlib.sha256(json.dumps([list(example) for example in texts.values()]).encode()).hexdigest()
    return Labels([example for n, example in enumerate(learnt) if n % train_head.HELD_OUT], warmth, unseen, digest)


def _rows(path: Path) -> Iterator[Example]:
    from models.sentiment.train_head import Example  # noqa: PLC0415 - imports torch

    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            if (text := row.get("text")) is None or (label := row.get("label")) is None:
                raise UserError(f"line {number} of {path} has no text or no label; the file needs the columns label and text")
            if label not in LABELS:
                raise UserError(f"line {number} of {path} has the label {label!r}; there are {', '.join(LABELS)}")
            yield Example(text, tuple(float(label == name) for name in LABELS))


def refit(settings: Settings, path: Path, *, epochs: int, seed: int, tell: Callable[[str], None]) -> ModelAnnouncement:
    """Train on the labelled headlines in `path`, compare, store and record, announce where a broker is set; return that.

    Raises
    ------
    UserError
        As :func:`read`.
    ModelError
        Training diverged.
    EnvironmentFault
        Another training runs, the disk is full, or the models' record is down; the model in place serves on.
    """
    with session.alone(settings), session.reporting(settings) as (client, say):
        labels = read(path)
        say("training", f"sentiment, on {len(labels.train)} headlines", {"epochs": epochs})
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            losses = _fitted(labels, folder, epochs, seed, tell)
            registry.write_losses(folder, registry.Losses(train=losses))
            tell("comparing")
            decision = _decided(settings, onnx_runtime.load(folder), labels)
            model = registry.save(settings, _card(folder, seed, decision), "minilm", folder)
        announcement = session.told(model, decision, _recorded(settings, model, decision, labels, losses))
        session.carry_out(settings, model, announcement, client)
        say("done", f"{announcement.model_id}: {announcement.reason}", {"epochs": epochs})
    return announcement


def _fitted(labels: Labels, folder: Path, epochs: int, seed: int, tell: Callable[[str], None]) -> list[float]:
    """Train, write head and graph into `folder`, and return the mean loss of each epoch."""
    import torch  # noqa: PLC0415 - seconds

    from models.sentiment import minilm_network, train_head  # noqa: PLC0415

    torch.set_num_threads(cpu_threads())
    torch.use_deterministic_algorithms(mode=True)
    recipe = train_head.Recipe(epochs=epochs, adapter_rate=2e-4, head_rate=1e-3, seed=seed)
    trainer = train_head.Trainer(recipe, minilm.HEAD_FILE)
    own = [example for example in train_head.read_own() if not train_head.held_out(example)]
    losses = trainer.fit([*labels.train, *own], lambda done: tell(f"epoch {done} of {epochs}"))
    if not np.isfinite(losses).all():
        raise ModelError("training diverged: the loss is not a number; look for damaged rows among the labels")
    target = torch.tensor([example.target for example in labels.warmth])
    temperature = train_head.fit_temperature(trainer.predict(labels.warmth), target)
    train_head.write(folder / HEAD, trainer.tensors(), {"scale": 1.0, "temperature": round(temperature, 2)})
    onnx_runtime.export(minilm_network.network(folder / HEAD), folder)
    return losses


def _card(folder: Path, seed: int, decision: Decision) -> ModelCard:
    return ModelCard(name=NAME, seed=seed, metrics=decision.metrics, model_id=onnx_runtime.about(folder).model_id)


def _decided(settings: Settings, challenger: SentimentModel, labels: Labels) -> Decision:
    stored = registry.promoted(settings, NAME)
    if (known := session.already(settings, stored, challenger.model_id)) is not None:
        return known
    champion: SentimentModel = base.load(settings) if stored is None else onnx_runtime.load(stored.folder)
    shares = np.mean([example.target for example in (*labels.train, *labels.warmth)], axis=0)
    return decide(_losses(challenger, labels.unseen), _losses(champion, labels.unseen), _of_shares(shares, labels.unseen))


def decide(challenger: Losses, champion: Losses, naive: Losses) -> Decision:
    """Return whether the challenger takes over, by log losses of the same unseen headlines, [n] each.

    It must be significantly better than the champion, and than `naive`, which always says how often each label came.
    """
    tests = {"champion": diebold_mariano(challenger, champion, 1), "naive": diebold_mariano(challenger, naive, 1)}
    means = {"log_loss": challenger, "champion_log_loss": champion, "naive_log_loss": naive}
    figures = {"unseen_headlines": float(len(challenger)), **{name: float(losses.mean()) for name, losses in means.items()}}
    figures |= {f"dm_p_vs_{name}": test.p_value for name, test in tests.items()}
    told = [
        _said(tests["champion"], figures["log_loss"], figures["champion_log_loss"], "the champion"),
        _said(tests["naive"], figures["log_loss"], figures["naive_log_loss"], "the shares of the labels"),
    ]
    promoted = all(test.better for test in tests.values())
    verdict = "promoted" if promoted else "not promoted"
    reason = f"{verdict}: on {len(challenger)} unseen headlines it is {' and '.join(told)}"
    return Decision(promoted=promoted, reason=reason, metrics=figures)


def _said(test: Test, ours: float, theirs: float, whom: str) -> str:
    return f"{test.compared(whom)} (log loss {ours:.3f} to {theirs:.3f}, p = {test.p_value:.2g})"


def _losses(model: SentimentModel, examples: list[Example]) -> Losses:
    """Return the log loss of each example, [n]; a text that the model cannot score costs what no opinion does."""
    found = np.nan_to_num(model.score([example.text for example in examples]), nan=1 / len(LABELS))
    return _log_losses(found, examples)


def _of_shares(shares: Any, examples: list[Example]) -> Losses:
    return _log_losses(np.tile(shares, (len(examples), 1)), examples)


def _log_losses(probabilities: Losses, examples: list[Example]) -> Losses:
    target = np.array([example.target for example in examples])
    losses: Losses = -(target * np.log(np.maximum(probabilities, UNSURE))).sum(axis=1)
    return losses


def _recorded(settings: Settings, model: StoredModel, decision: Decision, labels: Labels, losses: list[float]) -> str:
    facts = tracking.Facts(
        training_id=f"{labels.fingerprint[:16]}-{model.card.model_id}",
        params={"epochs": len(losses), "headlines": len(labels.train), "labels_sha256": labels.fingerprint},
        curves={"train_loss": losses},
        files={"decision.json": msgspec.json.encode(decision)},
        metrics=decision.metrics,
        promoted=decision.promoted,
        reason=decision.reason,
    )
    return tracking.record(settings, model, facts)
