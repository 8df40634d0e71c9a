"""`tickcast study monthly`: do four months of news and returns tell the next month's return? FinBERT-LSTM, with the naive rows.

The network is `models/outlook/network.py`, what it sees `models/outlook/months.py`; the same serve `/v1/outlook`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.outlook.months import Array
from models.sentiment.reading import reader
from models.studies import monthly_data, monthly_plots, monthly_rows
from models.studies.base import Options, Report, Row, Table
from models.studies.monthly_data import AGGREGATIONS, NEWS_UNTIL, Inputs, Samples
from models.studies.monthly_trial import Arrays, Forecasts, Plan, Trainings, Variant, is_forecast
from models.studies.resume import Parts, key_of

NAME = "monthly"
VERSION = "1"  # of the code that computes parts: another one counts them as none
YEARS = (2010, 2011, 2012, 2013, 2014, 2015, 2016)
EPOCHS = 120
QUICK_YEARS = (2010, 2011)
QUICK_EPOCHS = 2
MAIN = "LSTM"
NEWS_REMOVED = "news removed"
NOTES = (
    "No network saw the month that it forecast, nor was it stopped by it: the last year before a border decides when a training"
    " ends.",
    "Headlines count up to 20:00 UTC of the day of the forecast, which is never after New York's close; fewer than three in a"
    " month count as neutral. Months before a stock was listed are no move and no news.",
    "Stocks share their months: for tests one month is one observation.",
    "The six stocks were chosen because they became large: the mean of all months before looks better here than it was in"
    " prospect.",
    "“Edge” is said only of what is better, by the tests, than no change and than the mean of all months before.",
    "The sentiment model was made after these years, from other headlines; FinBERT itself has read news up to 2019.",
    "Stocks were found in headlines by their names, so some headlines are about something else.",
    "Closes are adjusted for splits and dividends with all that is known today, which leaves returns as they were.",
)


@dataclass(frozen=True)
class Outcome:
    """All that the study computed, for the report and for the model file.

    `walked` are the samples that were forecast in walk-forward; `final` are the trainings on all `known` samples, which forecast
    `later` ones.
    """

    inputs: Inputs
    known: Samples
    walked: Samples
    later: Samples
    forecasts: dict[str, Forecasts]
    mean: Array
    line: Array
    final: list[Arrays]
    seconds: float = 0.0


class Monthly:
    """The study; see :class:`models.studies.base.Study`."""

    name = NAME

    def run(self, options: Options) -> Report:
        """Run it; see :class:`models.studies.base.Study`."""
        return report(compute(options), options)


STUDY = Monthly()


def compute(options: Options) -> Outcome:
    """Return what comes out, from where an earlier run with the same inputs stopped; errors as for the study."""
    began = time.monotonic()
    quick = options.quick
    tell = options.tell
    read = monthly_data.read(
        options.data, reader(options.settings), lambda done, total: tell("headlines", done, total), quick=quick
    )
    plan = Plan(QUICK_YEARS if quick else YEARS, tuple(range(1, 1 + options.seeds)), QUICK_EPOCHS if quick else EPOCHS)
    variants, later = _variants(read, quick)
    parts = Parts(options.folder / NAME / key_of(VERSION, read.digest(), str(plan.epochs)))
    trainings = Trainings(plan, parts, counter(options, len(plan.seeds) * (1 + len(plan.years) * len(variants))))
    return replace(fitted(read, variants, later, trainings), seconds=time.monotonic() - began)


def fitted(read: Inputs, variants: Sequence[Variant], later: Samples, trainings: Trainings) -> Outcome:
    """Return what comes of `variants`, the main one first: walk-forward of each, and the main one on all it has, for `later`."""
    forecasts = {one.name: trainings.walk(one) for one in variants}
    final = trainings.final(variants[0], later)
    known = variants[0].samples
    mean, line = _simple(known, trainings.plan)
    walked = known.where(is_forecast(known, trainings.plan.years))
    return Outcome(read, known, walked, later, forecasts, mean, line, final)


def report(found: Outcome, options: Options) -> Report:
    """Return the report on `found`."""
    main = found.forecasts[MAIN]
    tables = (
        _first(found),
        _robustness(found),
        Table("Stock by stock", monthly_rows.PER_STOCK, monthly_rows.per_stock(main.expected, found.walked)),
        _uncertainty(found),
        _later(found),
    )
    return Report(
        study=NAME,
        title="Monthly returns from news and returns",
        about=_about(found, options),
        tables=tables,
        verdicts=_verdicts(found),
        pictures=tuple(monthly_plots.pictures(found.walked, main, found.mean)),
        notes=NOTES,
        facts=_facts(found),
    )


def _variants(read: Inputs, quick: bool) -> tuple[list[Variant], Samples]:
    """Return the ways to make inputs, the main one first, and the samples after the news."""
    last = monthly_data.QUICK_LAST if quick else NEWS_UNTIL
    made = {name: monthly_data.samples(read, how, last=last) for name, how in AGGREGATIONS.items()}
    mean = made["mean"]
    after = monthly_data.samples(read)
    variants = [
        Variant(MAIN, mean),
        Variant(NEWS_REMOVED, mean.quiet()),
        Variant("median of scores", made["median"]),
        Variant("trimmed mean of scores", made["trimmed"]),
        Variant("min-max scaling", mean, "min-max"),
        Variant("no scaling", mean, "none"),
    ]
    return variants, after.where(after.as_of > mean.as_of.max())


def counter(options: Options, total: int) -> Callable[[], None]:
    """Return what tells, at each call, that one more of `total` networks is fitted."""
    done = iter(range(1, total + 1))
    return lambda: options.tell("networks", next(done), total)


def _simple(known: Samples, plan: Plan) -> tuple[Array, Array]:
    """Return, for each sample that is forecast, the mean return of all before its year, and what a linear regression says."""
    years = known.until.astype("datetime64[Y]").astype(int) + 1970
    flat = np.column_stack([np.ones(len(known)), known.matrices.reshape(len(known), -1)])
    means, lines = [], []
    for year in plan.years:
        before, now = years < year, years == year
        weights = np.linalg.lstsq(flat[before], known.changes[before])[0]
        means.append(np.full(int(now.sum()), known.changes[before].mean()))
        lines.append(flat[now] @ weights)
    return np.concatenate(means), np.concatenate(lines)


def _first(found: Outcome) -> Table:
    walked, mean, expected = found.walked, found.mean, found.forecasts[MAIN].expected
    rows = [
        monthly_rows.row("no change", "naive", np.zeros((1, len(walked))), walked, mean, "the price stays"),
        monthly_rows.row(
            "mean of all stocks", "naive", mean[None], walked, mean, "the mean return of all months before the year"
        ),
        monthly_rows.row("linear regression", "ours", found.line[None], walked, mean, "on the same eight numbers"),
        monthly_rows.row(MAIN, "ours", expected, walked, mean, "each seed by itself"),
    ]
    if len(expected) > 1:
        ensemble = expected.mean(axis=0, keepdims=True)
        rows.append(monthly_rows.row("LSTM, ensemble", "ours", ensemble, walked, mean, f"the mean of {len(expected)} seeds"))
    return Table("Next month's return, walk-forward", monthly_rows.ERRORS, tuple(rows), "Percentage points of monthly return.")


def _robustness(found: Outcome) -> Table:
    rows = [monthly_rows.row(name, "ours", found.forecasts[name].expected, found.walked, found.mean) for name in found.forecasts]
    naive = monthly_rows.row("no change", "naive", np.zeros((1, len(found.walked))), found.walked, found.mean)
    return Table("The same with one thing changed", monthly_rows.ERRORS, (naive, *rows))


def _uncertainty(found: Outcome) -> Table:
    walked, forecasts = found.walked, found.forecasts[MAIN]
    expected = forecasts.expected.mean(axis=0)
    rows: list[Row] = [
        monthly_rows.gaussian("dropout", forecasts.expected[0], forecasts.dropout[0], walked, "50 passes of the first seed"),
    ]
    if len(forecasts.expected) > 1:
        rows.append(monthly_rows.gaussian("ensemble", expected, forecasts.expected.std(axis=0), walked, "spread over seeds"))
    rows += [
        monthly_rows.calibrated("misses of the years before", "ours", expected, walked, "what is served: in volatilities"),
        monthly_rows.calibrated("the same around no change", "naive", np.zeros(len(walked)), walked),
    ]
    return Table("Intervals", monthly_rows.UNCERTAINTY, tuple(rows), "Calibrated ones from the second year on.")


def _later(found: Outcome) -> Table:
    later = found.later
    mean = np.full(len(later), found.known.changes.mean())
    expected = np.stack([one["expected"] for one in found.final])
    rows = (
        monthly_rows.row("no change", "naive", np.zeros((1, len(later))), later, mean),
        monthly_rows.row("mean of all stocks", "naive", mean[None], later, mean),
        monthly_rows.row("LSTM", "ours", expected, later, mean, "fitted once, on all months with news"),
    )
    first, last = later.until.min(), later.until.max()
    return Table(f"After the headlines end: {first} to {last}, without news", monthly_rows.ERRORS, rows)


def _about(found: Outcome, options: Options) -> str:
    walked, quick = found.walked, " QUICK: the figures mean nothing." if options.quick else ""
    return (
        f"{len(walked)} forecasts of {len(set(walked.symbols))} stocks for the months that end from {walked.until.min()} to"
        f" {walked.until.max()}, each by networks fitted on all months before its year; {options.seeds} seeds; headlines read by"
        f" {found.inputs.sentiment_model_id}.{quick}"
    )


def _verdicts(found: Outcome) -> tuple[str, ...]:
    zero = np.zeros(len(found.walked))
    test = monthly_rows.against(found.forecasts[MAIN].expected, zero, found.walked)
    mean = monthly_rows.against(found.forecasts[MAIN].expected, found.mean, found.walked)
    paired = monthly_rows.against(found.forecasts[MAIN].expected, found.forecasts[NEWS_REMOVED].expected, found.walked)
    return (
        f"LSTM against no change: {monthly_rows.judged(test, mean)} (Diebold-Mariano p = {test.p_value:.2g}, {test.n} months).",
        f"Against the mean return of all months before it is {mean.compared('that mean')} (p = {mean.p_value:.2g}).",
        f"With news it is {paired.compared('without')} (p = {paired.p_value:.2g}).",
    )


def _facts(found: Outcome) -> dict[str, Any]:
    walked = found.walked
    return {
        "sentiment_model_id": found.inputs.sentiment_model_id,
        "forecasts": len(walked),
        "months": len(np.unique(walked.until)),
        "padded": int((walked.matrices[:, 0, 0] == 0).sum()),
        "quiet_months": float((walked.matrices[:, :, 1] == 0).mean()),
        "headlines": int(found.known.headlines.sum()),
        "epochs": float(np.median(found.forecasts[MAIN].epochs)),
        "seconds": round(found.seconds, 1),
    }
