"""The daily study: one LSTM for six big companies, the next day's close from 50 days of 8 features, by Spark and TensorFlow.

The published system scales prices between the least and the greatest of each stock. Prices of the test part are far beyond
what the network has seen then, so the same network is also trained on returns, which is what this system does, and once more
with retraining as time goes on. Persistence is beside each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from models.evaluation import metrics
from models.evaluation.metrics import Array
from models.evaluation.significance import diebold_mariano, verdict
from models.studies import daily_data, daily_pictures, pool, rows
from models.studies.base import Column, Options, Report, Row, Table
from models.studies.daily_data import Source
from models.studies.daily_files import DAYS, Days
from models.studies.daily_network import Task, train_alone
from models.studies.daily_windows import View
from models.studies.resume import Parts, key_of
from models.studies.rows import DM, MAE, RMSE

VERSION = 1  # raise it with every change that changes a figure: finished parts are then made anew
SYMBOLS, QUICK_SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "META"), ("AAPL", "TSLA")
QUICK_DAYS: Days = ("2023-06-01", DAYS[1], DAYS[2])
SEED = 2025
EPOCHS, QUICK_EPOCHS = 30, 1
SHARED_EPOCHS = 3  # of the trainings by one and by two workers, which are compared
TEST = 0.85  # of the days asked for, by time, come before the test part
AGAIN = (0.90, 0.95)  # where the network is trained again
SECONDS = Column("seconds", "from reading the windows to the last forecast, wall time", ".0f")
PER_CENT = (
    Column("MAE", "mean absolute error, per cent of the newest close", ".3f"),
    Column("RMSE", "root mean squared error, per cent of the newest close", ".3f"),
    DM,
)


@dataclass(frozen=True)
class Model:
    """A row of the tables: the trainings that answer for it, each for its share of the test part."""

    name: str
    parts: tuple[str, ...]


MODELS = (
    Model("LSTM on prices", ("prices",)),
    Model("LSTM on returns", ("returns",)),
    Model("LSTM on returns, trained again", ("returns", *(f"returns-{share:.2f}" for share in AGAIN))),
)


class Daily:
    """The study."""

    name = "daily"

    def run(self, options: Options) -> Report:
        """Run it; see :class:`models.studies.base.Study`."""
        place = options.folder / Daily.name
        symbols, days = (QUICK_SYMBOLS, QUICK_DAYS) if options.quick else (SYMBOLS, DAYS)
        source = daily_data.source(options.settings, options.data, place, symbols, days)
        daily_data.ensure(source, options.tell)
        tasks = _tasks(options, source)
        parts = Parts(Path(tasks[0].parts))
        due = [task for task in tasks if parts.read(task.name) is None]
        pool.each(train_alone, due, lambda done: options.tell("trainings", len(tasks) - len(due) + done, len(tasks)))
        two = msgspec.structs.replace(tasks[-1], name="two-workers")
        if parts.read(two.name) is None:
            options.tell("two workers", 0, 1)
            together(two, 2)
        options.tell("two workers", 1, 1)
        return _report(options, source, _Outcome(parts, options.seeds))


def together(task: Task, count: int) -> None:
    """Train one network by `count` processes on this machine, each with its share of every batch."""
    from models.studies import daily_worker  # noqa: PLC0415 - a program
    from models.training import workers  # noqa: PLC0415 - in the end alone

    folder = Path(task.parts) / task.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / daily_worker.FILE).write_bytes(msgspec.json.encode(task))
    workers.run(folder, count, lambda: None, module=daily_worker.__name__)


def _tasks(options: Options, source: Source) -> list[Task]:
    """Return all trainings; the last is the one that two workers repeat."""
    asked = daily_data.asked(source)
    end = int(asked.max()) + 1
    cuts = [int(np.quantile(asked, share)) for share in (TEST, *AGAIN)] + [end]
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    parts = options.folder / Daily.name / key_of(source.out, str(VERSION), str(epochs))

    first = Task(
        name="",
        windows=f"{source.out}/windows",
        parts=str(parts),
        view="returns",
        seed=SEED,
        epochs=epochs,
        known_until=cuts[0],
        until=end,
    )
    made = [
        one for seed in range(SEED, SEED + options.seeds) for one in _of_seed(msgspec.structs.replace(first, seed=seed), cuts)
    ]
    return [*made, msgspec.structs.replace(first, name="one-worker", epochs=min(SHARED_EPOCHS, epochs))]


def _of_seed(first: Task, cuts: Sequence[int]) -> Iterator[Task]:
    """Yield the trainings of one seed: on prices, on returns, and on returns again at each cut but the first and last."""
    for view in get_args(View):
        yield msgspec.structs.replace(first, name=f"{view}-{first.seed}", view=view)
    for share, begin, end in zip(AGAIN, cuts[1:], cuts[2:], strict=False):
        yield msgspec.structs.replace(first, name=f"returns-{share:.2f}-{first.seed}", known_until=begin, until=end)


@dataclass(frozen=True)
class Forecasts:
    """Of one model, in the order of symbol and day: `said` [S, n] by seeds, the rest [n]."""

    said: Array
    came: Array
    naive: Array
    day: Any
    symbols: Any

    def of(self, symbol: str) -> Forecasts:
        """Return those of one symbol, in the order of time."""
        own = self.symbols == symbol
        return Forecasts(self.said[:, own], self.came[own], self.naive[own], self.day[own], self.symbols[own])


@dataclass(frozen=True)
class _Outcome:
    """Everything that was trained."""

    parts: Parts
    seeds: int

    def part(self, name: str) -> dict[str, Any]:
        return self.parts.finished(name, dict)

    def forecasts(self, model: Model) -> Forecasts:
        """Return the forecasts of a model; where it is trained again the newest network answers."""
        each = [[self.part(f"{name}-{seed}") for name in model.parts] for seed in range(SEED, SEED + self.seeds)]
        base = each[0][0]
        said = np.stack([_newest(networks) for networks in each])
        return Forecasts(said, base["came"], base["naive"], base["day"], base["symbols"])

    def alone(self, name: str) -> Forecasts:
        part = self.part(name)
        return Forecasts(part["said"][None], part["came"], part["naive"], part["day"], part["symbols"])


def _newest(networks: Sequence[dict[str, Any]]) -> Array:
    base = networks[0]
    said: Array = base["said"].copy()
    for later in networks[1:]:
        said[np.isin(base["day"], later["day"])] = later["said"]
    return said


def _report(options: Options, source: Source, outcome: _Outcome) -> Report:
    found = {model.name: outcome.forecasts(model) for model in MODELS}
    pooled = _pooled_table(found)
    by_symbol = _symbol_table(source.symbols, found)
    return Report(
        study=Daily.name,
        title="Six big companies, daily" + (" (quick: figures mean nothing)" if options.quick else ""),
        about=_about(options, source, next(iter(found.values()))),
        tables=(by_symbol, pooled, _worker_table(outcome)),
        verdicts=tuple(_verdicts(pooled, by_symbol)),
        pictures=tuple(daily_pictures.pictures(found, {name: outcome.part(f"{name}-{SEED}") for name in ("prices", "returns")})),
        notes=NOTES,
        facts={
            "removed": daily_data.removed(source),
            "windows_learnt": int(outcome.part(f"returns-{SEED}")["windows"]),
            "epochs": {name: len(outcome.part(f"{name}-{SEED}")["loss_train"]) for name in ("prices", "returns")},
            "seconds": {name: float(outcome.part(f"{name}-{SEED}")["seconds"]) for name in ("prices", "returns")},
        },
    )


def _about(options: Options, source: Source, one: Forecasts) -> str:
    first, last = (np.datetime64(int(end), "D") for end in (one.day.min(), one.day.max()))
    return (
        f"{', '.join(source.symbols)}, {source.days[0]} to {source.days[1]}; windows of 50 days x 8 features, an LSTM of 128,"
        f" dropout 0.2, Adam, MSE, the next day's close; tested on {first} to {last}; {options.seeds} seed(s) from {SEED}."
    )


NOTES = (
    "Prices are in dollars, adjusted for splits and dividends. ± is the standard deviation over seeds.",
    "No published figures of this system are at hand, so no table has a published row.",
    "The last 15 % of the days test; the epoch is chosen on the 15 % before them. Scaling knows the training part alone.",
    "Trained again: anew, on all that was known by then, where 90 and 95 % of the days are past.",
    "The stocks were chosen for what they have become: their rise is known beforehand; nobody could have chosen so in 2010.",
)


def _symbol_table(symbols: Sequence[str], found: dict[str, Forecasts]) -> Table:
    made: list[Row] = []
    for symbol in symbols:
        own = {name: forecasts.of(symbol) for name, forecasts in found.items()}
        made += [rows.measured(f"{symbol}: {name}", one.said, one.came, one.naive) for name, one in own.items()]
        beside = next(iter(own.values()))
        made.append(rows.naive(f"{symbol}: persistence", beside.naive, beside.came))
    return Table("The next day's close by symbol", rows.OF_PRICES, tuple(made))


def _pooled_table(found: dict[str, Forecasts]) -> Table:
    made = [_pooled(name, one) for name, one in found.items()]
    note = "Symbols move together: losses of a day are averaged over symbols before they are tested."
    return Table("All symbols together, errors in per cent", PER_CENT, (*made, _pooled_naive(next(iter(found.values())))), note)


def _pooled(name: str, one: Forecasts) -> Row:
    errors = 100 * (one.said - one.came) / one.naive
    losses, naive_losses = (errors**2).mean(axis=0), _naive_errors(one) ** 2
    test = diebold_mariano(metrics.mean_by(one.day, losses), metrics.mean_by(one.day, naive_losses))
    return Row(name, "ours", {**_sizes(errors), DM.name: (test.p_value,)}, verdict(test))


def _pooled_naive(one: Forecasts) -> Row:
    return Row("persistence", "naive", _sizes(_naive_errors(one)[None]))


def _naive_errors(one: Forecasts) -> Array:
    errors: Array = 100 * (one.naive - one.came) / one.naive
    return errors


def _sizes(errors: Array) -> dict[str, tuple[float, ...]]:
    return {
        MAE.name: tuple(np.abs(errors).mean(axis=1).tolist()),
        RMSE.name: tuple(np.sqrt((errors**2).mean(axis=1)).tolist()),
    }


def _worker_table(outcome: _Outcome) -> Table:
    made = []
    for name, part in (("one worker", "one-worker"), ("two workers", "two-workers")):
        row = _pooled(name, outcome.alone(part))
        made.append(Row(name, row.kind, {**row.values, SECONDS.name: (float(outcome.part(part)["seconds"]),)}, row.verdict))
    note = f"{SHARED_EPOCHS} epochs at most, on returns; each worker is a process on this machine, with one thread."
    columns = (SECONDS, *PER_CENT)
    return Table(
        "One worker against MultiWorkerMirroredStrategy", columns, (*made, _pooled_naive(outcome.alone("one-worker"))), note
    )


def _verdicts(pooled: Table, by_symbol: Table) -> Iterator[str]:
    for row in pooled.rows:
        if row.kind == "ours":
            yield f"{row.name} against persistence, all symbols: {row.verdict} (DM p = {row.values[DM.name][0]:.2g})."
            own = [one for one in by_symbol.rows if one.name.endswith(f": {row.name}")]
            said = {word: sum(one.verdict == word for one in own) for word in dict.fromkeys(one.verdict for one in own)}
            yield f"{row.name} by symbol: {', '.join(f'{word} on {count}' for word, count in said.items())}."


STUDY = Daily()
