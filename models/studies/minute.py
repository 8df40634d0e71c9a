"""The minute study: what this system itself forecasts, from the lake, walk-forward, in the same report as the published ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from models.evaluation import plots, report
from models.evaluation.metrics import Array
from models.evaluation.significance import diebold_mariano, verdict
from models.evaluation.summary import Figures, by_minute, losses_of, summary
from models.evaluation.walk_forward import Trial
from models.forecaster import catalog
from models.forecaster.base import HORIZONS_MIN, Predictions
from models.studies import pool
from models.studies.base import Column, Options, Picture, Report, Row, Table
from models.studies.resume import Arrays, Parts, key_of
from streams.clock import iso

VERSION = 1  # raise it with every change that changes a figure
SEED = 7
NETWORKS = ("rnn", "lstm")  # what the seed changes
MODELS, QUICK_MODELS = ("garch", "har-rv", "linear", *NETWORKS), ("har-rv", "lstm")
FOLDS, QUICK_FOLDS = 3, 2
EPOCHS, QUICK_EPOCHS = 12, 1
QUICK_ROWS = 1_200
SKILL = Column("skill", "1 - MSE / MSE of the random walk", "+.2%")
DM = Column("DM p", "Diebold-Mariano test of squared errors against the random walk, losses averaged over seeds", ".2g")
PINBALL = Column("intervals", "1 - pinball loss / that of the random walk", "+.2%")
PINBALL_DM = Column("their DM p", "the same test of the pinball losses", ".2g")
MAE, RMSE, CRPS = (Column(f"{name} bp", "of returns, basis points", ".3f") for name in ("MAE", "RMSE", "CRPS"))
R = Column("R", "Pearson's correlation of returns", ".3f")
COVERED = Column("80 %", "share of prices inside the 80 % interval", ".1%")
COLUMNS = (SKILL, DM, PINBALL, PINBALL_DM, MAE, RMSE, CRPS, R, COVERED)


@dataclass(frozen=True)
class Task:
    """What a worker process tries: one recipe, one seed."""

    parts: Parts
    rows: pl.DataFrame
    recipe: str
    seed: int
    folds: int
    epochs: int

    @property
    def name(self) -> str:
        """Of its part."""
        return f"{self.recipe}-{self.seed}"


class Minute:
    """The study."""

    name = "minute"

    def run(self, options: Options) -> Report:
        """Run it; see :class:`models.studies.base.Study`."""
        tasks = _tasks(options)
        due = [task for task in tasks if task.parts.read(task.name) is None]
        pool.each(attempt, due, lambda done: options.tell("walks", len(tasks) - len(due) + done, len(tasks)))
        trials = list(_trials(tasks))
        return _report(options, trials, [summary(trial, catalog.NAIVE) for trial in trials])


def attempt(task: Task) -> None:
    """Walk forward and keep the part; for a process of its own, since it may load TensorFlow."""
    from models.evaluation import walk_forward  # noqa: PLC0415 - in the worker alone
    from models.forecaster.base import Effort  # noqa: PLC0415 - as above

    if task.recipe in NETWORKS:
        pool.one_thread()
    recipe = catalog.CATALOG[task.recipe]
    trial = walk_forward.run(task.rows, [recipe], seed=task.seed, effort=Effort(task.epochs), count=task.folds)
    task.parts.keep(task.name, _kept(trial, task.recipe))


def _tasks(options: Options) -> list[Task]:
    from models.training import dataset  # noqa: PLC0415 - reads the lake

    rows = dataset.final_rows(options.settings)
    if options.quick:
        rows = rows.group_by("symbol", maintain_order=True).tail(QUICK_ROWS)
    folds, epochs = (QUICK_FOLDS, QUICK_EPOCHS) if options.quick else (FOLDS, EPOCHS)
    names = (catalog.NAIVE, *(QUICK_MODELS if options.quick else MODELS))
    said = rows.hash_rows(seed=0).to_numpy().tobytes()
    parts = Parts(options.folder / Minute.name / key_of(said, f"{VERSION} {folds} {epochs}"))
    return [
        Task(parts, rows, name, SEED + number, folds, epochs)
        for name in names
        for number in range(options.seeds if name in NETWORKS else 1)
    ]


def _kept(trial: Trial, name: str) -> Arrays:
    """Return a trial of one recipe as arrays."""
    answer = trial.answers.get(name)
    said = {"mean": answer.mean, "quantiles": answer.quantiles, "prob_up": answer.prob_up} if answer else {}
    about = {"model_ids": trial.model_ids, "failed": trial.failed, "borders": trial.borders}
    common = {"minutes": trial.minutes, "symbols": trial.symbols.astype(str), "targets": trial.targets, "usual": trial.usual}
    return {**common, **said, "about": np.array(json.dumps(about))}


def _trials(tasks: Sequence[Task]) -> Iterator[Trial]:
    """Yield a trial of all recipes for each seed; those that no seed changes are in each of them."""
    held = {task.name: (task, task.parts.finished(task.name, dict)) for task in tasks}
    first = {task.recipe: task for task in reversed(tasks)}
    for seed in sorted({task.seed for task in tasks}):
        own = [held.get(f"{recipe}-{seed}", held[first[recipe].name]) for recipe in dict.fromkeys(task.recipe for task in tasks)]
        yield _joined([(task.recipe, part) for task, part in own])


def _joined(parts: Sequence[tuple[str, dict[str, Any]]]) -> Trial:
    alone = [_trial(name, part) for name, part in parts]
    joined = alone[0]
    for other in alone[1:]:
        joined = replace(
            joined,
            answers=joined.answers | other.answers,
            model_ids=joined.model_ids | other.model_ids,
            failed=joined.failed | other.failed,
        )
    return joined


def _trial(name: str, part: dict[str, Any]) -> Trial:
    about = json.loads(str(part["about"]))
    answers = {name: Predictions(part["mean"], part["quantiles"], part["prob_up"])} if "mean" in part else {}
    common = {key: part[key] for key in ("minutes", "targets", "usual")}
    return Trial(**common, **about, symbols=part["symbols"].astype(object), answers=answers)


def _report(options: Options, trials: Sequence[Trial], figures: Sequence[Figures]) -> Report:
    first = figures[0]
    tables = tuple(_table(trials, figures, at) for at in range(len(HORIZONS_MIN)))
    return Report(
        study=Minute.name,
        title="The minute-level system, walk-forward" + (" (quick: figures mean nothing)" if options.quick else ""),
        about=_about(options, first),
        tables=tables,
        verdicts=tuple(_verdicts(tables)),
        pictures=tuple(Picture(caption, png) for caption, png in plots.pictures(trials[0], first)),
        notes=(*report.NOTES, "Pictures are of the first seed; ± is the standard deviation over seeds."),
        facts={"model_ids": first["model_ids"], "by_symbol": _by_symbol(first)},
    )


def _about(options: Options, figures: Figures) -> str:
    span = f"from {iso(figures['from_ts_us'])} to {iso(figures['to_ts_us'])}, in {len(figures['borders_ts_us'])} blocks"
    what = f"{figures['windows']:,} forecasts at each horizon for {', '.join(figures['symbols'])}"
    return f"{what}, {span}; networks of {options.seeds} seed(s) from {SEED}."


def _table(trials: Sequence[Trial], figures: Sequence[Figures], at: int) -> Table:
    names = [name for name in trials[0].answers if name != catalog.NAIVE]
    made = [_row(trials if name in NETWORKS else trials[:1], figures, name, at) for name in names]
    return Table(f"{HORIZONS_MIN[at]} minutes ahead", COLUMNS, (*made, _row(trials[:1], figures, catalog.NAIVE, at)))


def _verdicts(tables: Sequence[Table]) -> Iterator[str]:
    """Yield what the tests over all seeds say of each model, by horizon."""
    for rows in zip(*(table.rows for table in tables), strict=True):
        if rows[0].kind == "ours":
            said = (f"{horizon} min: price {row.verdict}, {row.note}" for horizon, row in zip(HORIZONS_MIN, rows, strict=True))
            yield f"{rows[0].name}: {'; '.join(said)}."


def _row(trials: Sequence[Trial], figures: Sequence[Figures], name: str, at: int) -> Row:
    own = [one["models"][name][str(HORIZONS_MIN[at])] for one in figures[: len(trials)]]
    values = {MAE.name: "mae", RMSE.name: "rmse", CRPS.name: "crps"}
    shown = {column: tuple(1e4 * one[field] for one in own) for column, field in values.items()}
    shown[COVERED.name] = tuple(one["coverage"]["80"]["share"] for one in own)
    if name == catalog.NAIVE:
        return Row(name, "naive", shown)
    point, interval = (_test(trials, name, at, which) for which in (0, 1))
    shown |= {SKILL.name: tuple(one["skill"] for one in own), PINBALL.name: tuple(one["skill_pinball"] for one in own)}
    shown |= {DM.name: (point.p_value,), PINBALL_DM.name: (interval.p_value,)}
    shown |= {R.name: tuple(one["r"] for one in own if one["r"] is not None)}
    return Row(name, "ours", shown, verdict(point), f"intervals {verdict(interval)}")


def _test(trials: Sequence[Trial], name: str, at: int, which: int) -> Any:
    """Return the test of the losses, squared errors (0) or pinball (1), averaged over seeds and the symbols of a minute."""
    ours: Array = np.mean([losses_of(trial, name, at)[which] for trial in trials], axis=0)
    naive = losses_of(trials[0], catalog.NAIVE, at)[which]
    return diebold_mariano(by_minute(trials[0], ours), by_minute(trials[0], naive), HORIZONS_MIN[at])


def _by_symbol(figures: Figures) -> dict[str, Any]:
    return {name: {horizon: row["by_symbol"] for horizon, row in rows.items()} for name, rows in figures["models"].items()}


STUDY = Minute()
