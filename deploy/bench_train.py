"""`tickcast bench train`: the input pipeline, how busy a training step is, and one worker against several on one machine."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from rich.table import Table

from deploy import first_model
from models.forecaster.base import HORIZONS_MIN
from models.forecaster.windows import RAW, WINDOW, Windows
from models.training import dataset, etl, fitting, job, shards, workers
from models.training.job import Choice, Place
from models.training.shards import Index
from streams.errors import UserError
from streams.settings import Settings

STEPS = 50
AGREE = 1e-4  # how far the losses of a step may differ between one worker and several
FASTER, BUSY = 5.0, 0.9
BUSY_STEPS = 40
PYTHON_WINDOWS = 2_000
AT = HORIZONS_MIN.index(5)

Tell = Callable[[str], None]


def run(settings: Settings, counts: Sequence[int], epochs: int, tell: Tell) -> dict[str, Any]:
    """Measure on the lake of `settings`, or on simulated history where that has too little; the home is left as it is.

    Raises
    ------
    UserError
        One worker is not among `counts`: it is what the others are compared with.
    """
    if 1 not in counts:
        raise UserError("--workers must name 1 too: the others are compared with it")
    with tempfile.TemporaryDirectory() as home:
        own = msgspec.structs.replace(settings.unconnected(), home=Path(home))
        (Path(home) / "lake").symlink_to(_lake(settings, own, tell))
        tell("making shards")
        index = etl.run(own)
        place = job.begin(own, index, Choice(epochs=epochs))
        tell("timing the input pipeline")
        figures: dict[str, Any] = {"pipeline": _pipeline(own, index), "step": _busy(place)}
        figures["workers"] = {str(count): _workers(place, count, tell) for count in counts}
        return figures | _verdict(figures)


def _lake(settings: Settings, own: Settings, tell: Tell) -> Path:
    """Return the lake of `settings`, or a simulated one beside `own` where it has too little."""
    if first_model.windows_in_lake(settings) >= first_model.ENOUGH_WINDOWS:
        return (settings.home / "lake").resolve()
    tell("simulating history")
    simulated = msgspec.structs.replace(own, home=own.home / "simulated")
    first_model.ingest(simulated)
    return simulated.home / "lake"


def _pipeline(own: Settings, index: Index) -> dict[str, float]:
    """Return windows a second, from shards by `tf.data`, and from CSV in Python, one window after another."""
    place = shards.folder(own)
    paths = [place / shard.file for shard in index.shards]
    list(shards.batches_of(paths[:1]))  # TensorFlow's first call loads libraries
    begun = time.perf_counter()
    read = sum(len(batch[0]) for batch in shards.batches_of(paths))
    from_shards = read / (time.perf_counter() - begun)
    frame = dataset.final_rows(own)
    one = frame.filter(pl.col("symbol") == frame["symbol"][0]).head(PYTHON_WINDOWS + WINDOW)
    path = own.home / "rows.csv"
    one.select(*RAW).with_columns(pl.col("flat").cast(pl.Int8)).write_csv(path)
    begun = time.perf_counter()
    made = _from_csv(path)
    from_csv = made / (time.perf_counter() - begun)
    return {"shards_windows_per_s": from_shards, "csv_windows_per_s": from_csv, "ratio": from_shards / from_csv}


def _from_csv(path: Path) -> int:
    """Make the features of every window of a CSV file, as a first program would; return how many."""
    with path.open(newline="") as file:
        rows = [tuple(float(row[name] or 0.0) for name in RAW) for row in csv.DictReader(file)]
    for end in range(WINDOW, len(rows) + 1):
        Windows.stack([rows[end - WINDOW : end]]).features  # noqa: B018 - a property that computes
    return len(rows) + 1 - WINDOW


def _busy(place: Place) -> dict[str, float]:
    """Return how much of a training's time is spent in steps, not in waiting for windows, and windows a second."""
    from models.training import loop  # noqa: PLC0415 - seconds of TensorFlow

    own = fitting.trainer(place)
    fitting.steps(own, place, 3)  # traced
    train = place.parts[0]
    examples = loop.of_arrays(train.features, train.scaled, place.job.choice.seed)
    begun = time.perf_counter()
    waited = own.waited(examples(1), BUSY_STEPS)
    took = time.perf_counter() - begun
    steps = min(BUSY_STEPS, len(train) // own.plan.batch)
    return {"busy": 1 - waited / took, "windows_per_s": steps * own.plan.batch / took}


def _workers(place: Place, count: int, tell: Tell) -> dict[str, Any]:
    tell(f"{count} workers: {STEPS} steps without dropout")
    losses, weights = workers.trace(place, count, STEPS)
    tell(f"{count} workers: {place.job.choice.epochs} epochs")
    place.checkpoint().clear()
    begun = time.perf_counter()
    network, history = workers.fit(place, count, lambda _: None)
    took = time.perf_counter() - begun
    place.checkpoint().clear()
    validation = place.parts[1]
    errors = np.asarray(network(validation.features, training=False))[:, AT, 0] - validation.scaled[:, AT, 0]
    return {
        "wall_s": took,
        "windows_per_s": len(history.train) * len(place.parts[0]) / took,
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "validation_loss": history.validation,
        "step_losses": losses,
        "_weights": weights,
    }


def _verdict(figures: dict[str, Any]) -> dict[str, Any]:
    one = figures["workers"]["1"]
    for row in figures["workers"].values():
        row["largest_loss_difference"] = float(np.abs(np.subtract(row["step_losses"], one["step_losses"])).max())
        pairs = zip(row["_weights"], one["_weights"], strict=True)
        row["largest_weight_difference"] = max(float(np.abs(mine - its).max()) for mine, its in pairs)
    for row in figures["workers"].values():
        del row["_weights"]
    agree = all(row["largest_loss_difference"] <= AGREE for row in figures["workers"].values())
    holds = agree and figures["pipeline"]["ratio"] >= FASTER and figures["step"]["busy"] >= BUSY
    return {"holds": holds, "said": SAID}


SAID = (
    "Workers of one machine share its cores, so this shows that several train what one trains, not that they train it faster:"
    " that needs machines of their own, which were not at hand."
)


def table(figures: dict[str, Any]) -> Table:
    """Return the figures as a table."""
    pipeline, step = figures["pipeline"], figures["step"]
    title = (
        f"shards {pipeline['shards_windows_per_s']:,.0f} windows/s, CSV in Python {pipeline['csv_windows_per_s']:,.0f}:"
        f" {pipeline['ratio']:.1f} times; {step['busy']:.1%} of the time in steps"
    )
    made = Table(title=title, caption=figures["said"])
    columns = ("workers", "wall s", "windows/s", "RMSE (volatilities, 5 min)", f"loss, {STEPS} steps: differs by", "weights by")
    for name in columns:
        made.add_column(name, justify="right")
    for count, row in figures["workers"].items():
        cells = (f"{row['wall_s']:.1f}", f"{row['windows_per_s']:,.0f}", f"{row['rmse']:.4f}")
        made.add_row(count, *cells, f"{row['largest_loss_difference']:.1e}", f"{row['largest_weight_difference']:.1e}")
    return made
