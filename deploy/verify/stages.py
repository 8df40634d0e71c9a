"""What every stage of the product says of a market, each piece with the time from which it may be known.

`lookahead.py` compares these for two markets that share a past. A piece is known when the last thing that it is made of is: a
window at the end of its last minute, a target `horizon` minutes later, a score at its forecast's target. A target that reaches
past a time is therefore no piece of what is known then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from consumers.forecaster import ForecastHandler
from consumers.scorer import ScoreHandler
from deploy.verify.markets import START_US
from models.evaluation import walk_forward
from models.forecaster import recurrent_recipe
from models.forecaster.base import HORIZONS_MIN, Effort, Forecaster, Recipe
from models.training import dataset
from streams import codec
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US
from streams.errors import TickcastError
from streams.messages import Calibration, Event, Features, Forecast, Score

SEED = 1
BEFORE_MIN, AFTER_MIN = 155, 45  # what the handlers see around a cut
BATCH_MIN = 50  # minutes that they get at once, as when they are behind; one batch begins 5 minutes before the cut
# How much more than the past up to a cut the trainings get, so that their borders lie some minutes before it.
TRAINING_SHARE = 1 - dataset.VALIDATION_SHARE
FOLD_SHARE, FOLD_SLACK_MIN = walk_forward.FIRST_SHARE, 40


class Piece(NamedTuple):
    """Something that a stage said, and from when on it may be known, microseconds UTC."""

    known_us: int
    value: bytes


Said = dict[tuple[str, ...], Piece]
"""By kind and identity."""


@dataclass(frozen=True)
class Study:
    """What the stages are tried with: a champion that was fitted before every cut, and recipes for walk-forward."""

    champion: Forecaster
    recipes: Sequence[Recipe]


Stage = Callable[[pl.DataFrame, int, Study], Said]


def features(rows: pl.DataFrame, _cut_us: int, _study: Study) -> Said:
    """Return the rows themselves, each known at the end of its minute."""
    return {
        ("features", row["symbol"], str(row["minute_ts_us"])): Piece(row["minute_ts_us"] + MINUTE_US, repr(row).encode())
        for row in rows.iter_rows(named=True)
    }


def windows(rows: pl.DataFrame, _cut_us: int, _study: Study) -> Said:
    """Return every window, raw and as a model sees it, and its targets."""
    ends = dataset.window_ends(rows)
    part = dataset.part(rows, ends)
    said: Said = {}
    for at, minute in enumerate(rows["minute_ts_us"].to_numpy()[ends].tolist()):
        who, ended_us = (str(part.symbols[at]), str(minute)), minute + MINUTE_US
        seen = part.windows.rows[at].tobytes() + part.windows.features[at].tobytes()
        said["windows", *who] = Piece(ended_us, seen)
        for horizon, target in zip(HORIZONS_MIN, part.targets[at], strict=True):
            said["targets", *who, str(horizon)] = Piece(ended_us + horizon * MINUTE_US, target.tobytes())
    return said


def training(rows: pl.DataFrame, cut_us: int, _study: Study) -> Said:
    """Return what a training whose validation part begins at the cut learns from, and its scaler."""
    known = _first(rows, (cut_us - START_US) / TRAINING_SHARE)
    data = dataset.make(known, SEED)
    end_us = int(known["minute_ts_us"].max()) + MINUTE_US  # type: ignore[arg-type]
    scaler = recurrent_recipe.card(data, SEED).scaler
    return {
        ("scaler",): Piece(cut_us, repr(scaler).encode()),
        ("training windows",): Piece(cut_us, data.train.windows.features.tobytes()),
        ("training targets",): Piece(cut_us, data.train.examples.scaled.tobytes()),
        ("validation",): Piece(end_us, data.validation.windows.features.tobytes()),
    }


def fitted(rows: pl.DataFrame, cut_us: int, study: Study) -> Said:
    """Return what walk-forward fits before a border at the cut, and how that answers the windows behind it."""
    known = _first(rows, (cut_us - START_US) / FOLD_SHARE - FOLD_SLACK_MIN * MINUTE_US)
    trial = walk_forward.run(known, study.recipes, seed=SEED, effort=Effort(epochs=1), count=1)
    if trial.failed:
        raise TickcastError(f"no model to look at: {trial.failed}")
    said: Said = {("models", name): Piece(trial.borders[0], ids[0].encode()) for name, ids in trial.model_ids.items()}
    for name, answer in trial.answers.items():
        for at, minute in enumerate(trial.minutes.tolist()):
            value = answer.mean[at].tobytes() + answer.quantiles[at].tobytes()
            said["answers", name, str(trial.symbols[at]), str(minute)] = Piece(minute + MINUTE_US, value)
    return said


def served(rows: pl.DataFrame, cut_us: int, study: Study) -> Said:
    """Return what forecaster and scorer send when they get the rows around a cut, many minutes at once."""
    forecaster, scorer = ForecastHandler(lambda _at: study.champion), ScoreHandler()
    said: Said = {}
    for records in _batches(rows, cut_us):
        sent = forecaster.handle(records)
        forecasts = [_record(one, at) for at, one in enumerate(sent) if one.topic == "forecasts"]
        said |= dict(map(_piece, [*sent, *scorer.handle(forecasts), *scorer.handle(records)]))
    return said


STAGES: dict[str, Stage] = {
    "features": features,
    "windows": windows,
    "training": training,
    "walk-forward": fitted,
    "serving": served,
}
KINDS = (
    *("features", "windows", "targets", "scaler", "training windows", "training targets"),
    *("models", "answers", "forecasts", "calibration", "scores"),
)
"""What there must be something of before every cut."""


def _first(rows: pl.DataFrame, span_us: float) -> pl.DataFrame:
    return rows.filter(pl.col("minute_ts_us") < START_US + span_us)


def _batches(rows: pl.DataFrame, cut_us: int) -> Iterator[list[Record]]:
    around = rows.sort("minute_ts_us", "symbol").with_columns(pl.col("minute_ts_us") - cut_us)
    for begin in range(-BEFORE_MIN, AFTER_MIN, BATCH_MIN):
        span = pl.col("minute_ts_us").is_between(begin * MINUTE_US, (begin + BATCH_MIN) * MINUTE_US, closed="left")
        some = around.filter(span).with_columns(pl.col("minute_ts_us") + cut_us).iter_rows(named=True)
        yield [Record("features", 0, at, row["symbol"].encode(), codec.encode(Features(**row)), 0) for at, row in enumerate(some)]


def _record(sent: Outgoing, offset: int) -> Record:
    return Record(sent.topic, 0, offset, sent.key, sent.value, 0)


def _piece(sent: Outgoing) -> tuple[tuple[str, ...], Piece]:
    """Return what a message is, and when its newest input was known."""
    if sent.topic == "forecasts":
        forecast = codec.decode(Forecast, sent.value)
        return ("forecasts", forecast.forecast_id), Piece(forecast.as_of_ts_us, sent.value)
    if sent.topic == "calibration":
        state = codec.decode(Calibration, sent.value)
        return ("calibration", sent.key.decode(), str(state.as_of_ts_us)), Piece(state.as_of_ts_us, sent.value)
    if sent.topic == "scores":
        score = codec.decode(Score, sent.value)
        return ("scores", score.forecast_id), Piece(score.target_ts_us, sent.value)
    if sent.topic == "events":
        event = codec.decode(Event, sent.value)
        return ("drift", event.detail), Piece(event.counts["event_ts_us"], sent.value)
    raise TickcastError(f"a handler could not use a row: {sent.value.decode()}")
