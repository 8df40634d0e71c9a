"""`tickcast retrain --model daily`: the daily study's network on returns, trained on the files as they are now, and judged.

The windows are those of the study's Spark step, the training is the study's too, with its checkpoint: one that was killed goes
on from its last epoch. The newest :data:`UNSEEN_DAYS` days are kept from it: they judge (`daily_decision.py`). Nothing serves
this network.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from models import registry, tracking
from models.outlook import months
from models.registry import ModelCard, StoredModel
from models.studies import daily, daily_data, daily_decision, daily_files, daily_model, daily_network, pool
from models.studies.base import Options
from models.studies.daily_data import Source
from models.studies.daily_decision import Answers
from models.studies.daily_model import NAME, Asked, Held
from models.studies.daily_network import Task
from models.studies.daily_windows import COLUMNS, WINDOW
from models.studies.resume import Arrays, Parts, key_of
from models.tensor_file import SERVED
from models.training import session
from models.training.session import Decision
from streams.errors import SourceError
from streams.messages import ModelAnnouncement

UNSEEN_DAYS = 250  # a year; the 15 % of the study would keep two from the network
LEAST_DAYS = 2 * UNSEEN_DAYS


class _Cut(NamedTuple):
    """The first day of the files that counts, the last one that is learnt from, the first one that judges, and the newest."""

    first: date
    known: date
    unseen: date
    newest: date


def refit(options: Options, *, seed: int, epochs: int = daily.EPOCHS) -> ModelAnnouncement:
    """Train, compare, store and record, announce where a broker is set; return that.

    Parameters
    ----------
    options : Options
        As of the study: the files. One network is trained, whatever `seeds` says.

    Raises
    ------
    SourceError
        Files are missing or damaged, or too short.
    EnvironmentFault
        Another training runs, the disk is full, or the models' record is down.
    """
    settings = options.settings
    place = settings.home / "training" / NAME
    with session.alone(settings), session.reporting(settings) as (client, say):
        say("training", "daily, reading the files", {"epochs": epochs})
        symbols = daily.QUICK_SYMBOLS if options.quick else daily.SYMBOLS
        cut = _cut(options, symbols)
        # whether a row is an outlier is seen on the day after, which must not be one that judges
        days = (cut.first.isoformat(), cut.newest.isoformat(), cut.known.isoformat())
        source = daily_data.source(settings, options.data, place, symbols, days)
        daily_data.ensure(source, options.tell)
        task = _task(source, cut, seed, epochs)
        part = _trained(task, options)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / SERVED
            daily_model.write(path, part, cut.known.isoformat(), seed)
            challenger = daily_model.read(path)
            decision = _decided(options, challenger, path, task)
            model = registry.save(settings, _card(challenger, decision), NAME, path.parent)
        announcement = session.told(model, decision, _recorded(options, model, decision, task, part))
        session.carry_out(settings, model, announcement, client)
        shutil.rmtree(place)  # and what a killed training on other files left
        say("done", f"{announcement.model_id}: {announcement.reason}", {"epochs": epochs})
    return announcement


def _cut(options: Options, symbols: tuple[str, ...]) -> _Cut:
    first = date.fromisoformat(daily_files.DAYS[0])
    files = [daily_files.us(options.data, symbol).filter(pl.col("date") >= first).drop_nulls("close") for symbol in symbols]
    days = pl.concat(file["date"] for file in files).unique().sort().to_list()
    if len(days) < LEAST_DAYS:
        raise SourceError(
            f"the files have {len(days)} days since {first}, of which {UNSEEN_DAYS} judge, and {LEAST_DAYS} are needed; pass"
            " --data DIR with files that go on for longer"
        )
    return _Cut(first, days[-UNSEEN_DAYS - 1], days[-UNSEEN_DAYS], days[-1])


def _task(source: Source, cut: _Cut, seed: int, epochs: int) -> Task:
    begin, newest = (int(np.datetime64(day, "D").astype(int)) for day in (cut.unseen, cut.newest))
    return Task(
        name=f"{daily_model.VIEW}-{seed}",
        windows=f"{source.out}/windows",
        parts=str(Path(source.out).parent / key_of(source.out, str(daily.VERSION), str(epochs))),
        view=daily_model.VIEW,
        seed=seed,
        epochs=epochs,
        known_until=begin,
        until=newest + 1,
    )


def _trained(task: Task, options: Options) -> Arrays:
    parts = Parts(Path(task.parts))
    due = [task] if parts.read(task.name) is None else []
    pool.each(daily_network.train_alone, due, lambda _done: options.tell("training", 0, 1))
    options.tell("training", 1, 1)
    return parts.finished(task.name, dict)


def _card(challenger: Held, decision: Decision) -> ModelCard:
    return ModelCard(
        name=NAME,
        seed=challenger.about.seed,
        features=COLUMNS,
        window=WINDOW,
        data_cutoff_ts_us=months.close_us(date.fromisoformat(challenger.about.trained_until)),
        scaling=daily_model.SCALING,
        metrics=decision.metrics,
        served=SERVED,
    )


def _decided(options: Options, challenger: Held, path: Path, task: Task) -> Decision:
    stored = registry.promoted(options.settings, NAME)
    if (known := session.already(options.settings, stored, challenger.model_id)) is not None:
        return known
    champion = None if stored is None else _answers(stored.served, task)
    return daily_decision.decide(_answers(path, task), champion)


def _answers(path: Path, task: Task) -> Answers:
    """Return what the network in the file says of the windows that `task` has not learnt from."""
    held = daily_model.read(path)
    asked = Asked(name=held.model_id, model=str(path), windows=task.windows, parts=task.parts, since=task.known_until)
    pool.each(daily_model.forecast_alone, [asked], lambda _done: None)  # TensorFlow stays out of this process
    return Answers(**Parts(Path(task.parts)).finished(held.model_id, dict), trained_until=held.about.trained_until)


def _recorded(options: Options, model: StoredModel, decision: Decision, task: Task, part: Arrays) -> str:
    inputs = Path(task.windows).parent.name
    facts = tracking.Facts(
        training_id=f"{inputs}-{model.card.model_id}",
        params={"epochs": task.epochs, "seed": task.seed, "windows": int(part["windows"]), "inputs": inputs},
        curves={f"{name}_loss": part[f"loss_{name}"].tolist() for name in ("train", "validation")},
        files={"decision.json": tracking.as_json(decision), "about.json": tracking.as_json(daily_model.read(model.served).about)},
        metrics=decision.metrics,
        promoted=decision.promoted,
        reason=decision.reason,
    )
    return tracking.record(options.settings, model, facts)
