"""`tickcast retrain --model monthly`: the networks of the outlook fitted again to the files as they are now, and judged.

The newest :data:`UNSEEN_MONTHS` months are kept from the fit. On those of them that what serves has not seen either, squared
errors, stocks of a month averaged, are held against each other by the rule of `models/training/promotion.py`; "no change" is the
naive forecast. Walk-forward over the years before says what the new file tells of itself, and how wide its intervals are.

The same files, seed and machine give the same networks: a training that was killed goes on with those that are missing.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models import registry, tracking
from models.evaluation import metrics
from models.evaluation.significance import LEAST
from models.outlook import months, pretrained
from models.outlook.estimator import INTERVALS
from models.outlook.months import Array
from models.outlook.pretrained import NAME, Held
from models.registry import ModelCard, StoredModel
from models.sentiment.reading import reader
from models.studies import monthly, monthly_data, monthly_file, monthly_rows
from models.studies.base import Options
from models.studies.monthly import EPOCHS, MAIN, YEARS, Outcome
from models.studies.monthly_data import Inputs, Samples
from models.studies.monthly_trial import Plan, Trainings, Variant, weights_of
from models.studies.resume import Parts, key_of
from models.tensor_file import SERVED
from models.training import promotion, session
from models.training.session import Decision
from streams.errors import SourceError
from streams.messages import ModelAnnouncement

UNSEEN_MONTHS = 24


def refit(options: Options, *, seed: int, epochs: int = EPOCHS) -> ModelAnnouncement:
    """Fit, compare, store and record, announce where a broker is set; return that.

    Parameters
    ----------
    options : Options
        As of the study: the files, and how many networks the ensemble has, of `seed` and those that follow it.

    Raises
    ------
    SourceError
        Files are missing or damaged, or too short.
    EnvironmentFault
        Another training runs, the disk is full, or the models' record is down; what serves goes on.
    """
    settings = options.settings
    with session.alone(settings), session.reporting(settings) as (client, say):
        say("training", "monthly, reading the files", {"epochs": epochs})
        read = monthly_data.read(
            options.data, reader(settings), lambda done, total: options.tell("headlines", done, total), quick=options.quick
        )
        plan = Plan(_years(read), tuple(range(seed, seed + options.seeds)), epochs)
        parts = Parts(settings.home / "training" / NAME / key_of(monthly.VERSION, read.digest(), str(epochs)))
        found = _fitted(read, plan, parts, options)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / SERVED
            pretrained.write(path, [weights_of(one) for one in found.final], monthly_file.about(found))
            challenger = pretrained.read(path)
            decision = _decided(options, challenger, found.later)
            model = registry.save(settings, _card(challenger, seed, decision), "outlook", path.parent)
        announcement = session.told(model, decision, _recorded(options, model, decision, found, plan))
        session.carry_out(settings, model, announcement, client)
        shutil.rmtree(parts.folder.parent)  # and what a killed training on other files left
        say("done", f"{announcement.model_id}: {announcement.reason}", {"epochs": epochs})
    return announcement


def _unseen_from(read: Inputs) -> date:
    """Return the day at whose close the first forecast that judges is made."""
    return months.back(monthly_data.newest_end(read), UNSEEN_MONTHS - 1)


def _years(read: Inputs) -> tuple[int, ...]:
    """Return the years of the walk-forward: those of the study, and what has come since, without the months that judge."""
    last = _unseen_from(read).year
    if last < YEARS[0]:
        raise SourceError(
            f"the files end too early, with {monthly_data.newest_end(read)}: {UNSEEN_MONTHS} months judge, and those before"
            f" have to reach {YEARS[0]}; pass --data DIR with files that go on for longer"
        )
    return tuple(range(YEARS[0], last + 1))


def _fitted(read: Inputs, plan: Plan, parts: Parts, options: Options) -> Outcome:
    samples = monthly_data.samples(read, last=monthly_data.newest_end(read))
    unseen = samples.as_of >= np.datetime64(_unseen_from(read))
    trainings = Trainings(plan, parts, monthly.counter(options, len(plan.seeds) * (1 + len(plan.years))))
    return monthly.fitted(read, [Variant(MAIN, samples.where(~unseen))], samples.where(unseen), trainings)


def _card(challenger: Held, seed: int, decision: Decision) -> ModelCard:
    return ModelCard(
        name=NAME,
        seed=seed,
        features=("return", "sentiment"),
        window=months.MONTHS,
        data_cutoff_ts_us=months.close_us(date.fromisoformat(challenger.about.trained_until)),
        metrics=decision.metrics,
        served=SERVED,
    )


def _decided(options: Options, challenger: Held, later: Samples) -> Decision:
    stored = registry.promoted(options.settings, NAME)
    if (known := session.already(options.settings, stored, challenger.model_id)) is not None:
        return known
    return decide(challenger, pretrained.read() if stored is None else pretrained.read(stored.served), later)


class _Said(NamedTuple):
    """What a model expects, [n] returns, and what share of those that came its 80 % intervals held."""

    expected: Array
    covered: float


def decide(challenger: Held, champion: Held, unseen: Samples) -> Decision:
    """Return whether `challenger` takes over, by those of the months `unseen` by it that the champion has not seen either."""
    both = unseen.where(unseen.as_of >= np.datetime64(champion.about.trained_until))
    count = len(np.unique(both.until))
    if count < LEAST:
        return promotion.too_few(f"{count} months that neither model has seen")
    ours, theirs = _said(challenger, both), _said(champion, both)
    zero, mean = np.zeros(len(both)), np.full(len(both), challenger.about.usual_return)
    against, naive, average = (monthly_rows.against(ours.expected, one, both) for one in (theirs.expected, zero, mean))
    forecasts = {"": ours.expected, "champion_": theirs.expected, "naive_": zero, "mean_": mean}
    figures = {
        "unseen_months": float(count),
        "unseen_forecasts": float(len(both)),
        **{f"{name}rmse": metrics.rmse(expected - both.changes) for name, expected in forecasts.items()},
        "dm_p_vs_champion": against.p_value,
        "dm_p_vs_naive": naive.p_value,
        "dm_p_vs_mean": average.p_value,
        "covered_80": ours.covered,
        "champion_covered_80": theirs.covered,
    }
    found = (
        f"on {count} unseen months it is {against.compared('the champion')}"
        f" (RMSE {figures['rmse']:.4f} to {figures['champion_rmse']:.4f}, p = {against.p_value:.2g})"
    )
    beside = (
        f"{naive.compared('no change')} ({figures['naive_rmse']:.4f}, p = {naive.p_value:.2g}) and {average.compared('the mean')}"
        f" ({figures['mean_rmse']:.4f}, p = {average.p_value:.2g}): {monthly_rows.judged(naive, average)}"
    )
    return promotion.ruled(against, naive, figures, found, beside)


def _said(held: Held, samples: Samples) -> _Said:
    from models.outlook import network  # noqa: PLC0415 - torch takes seconds to import

    about = held.about
    expected = about.scaler.changes(network.answers(held.weights, about.scaler.inputs(samples.matrices))).mean(axis=0)
    own = monthly_rows.volatility(samples, about.usual_volatility)
    low, high = (expected + own * about.residuals[level] for level in INTERVALS["80"])
    return _Said(expected, float(((low <= samples.changes) & (samples.changes <= high)).mean()))


def _recorded(options: Options, model: StoredModel, decision: Decision, found: Outcome, plan: Plan) -> str:
    digest = found.inputs.digest()
    facts = tracking.Facts(
        training_id=f"{digest}-{model.card.model_id}",
        params={"epochs": plan.epochs, "networks": len(plan.seeds), "forecasts": len(found.known), "inputs": digest},
        curves=dict(zip(("train_loss", "validation_loss"), found.final[0]["losses"].T.tolist(), strict=True)),
        files={"decision.json": tracking.as_json(decision), "about.json": tracking.as_json(pretrained.read(model.served).about)},
        metrics=decision.metrics,
        promoted=decision.promoted,
        reason=decision.reason,
    )
    return tracking.record(options.settings, model, facts)
