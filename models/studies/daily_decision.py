"""Whether a new network of the daily study takes over: the challenger against the champion and persistence.

Squared errors in per cent of the newest close, on days that neither has learnt from and symbols of a day averaged, decide by
the rule of `models/training/promotion.py`. The network has no intervals, so what that rule says of them has nothing to compare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation import metrics
from models.evaluation.metrics import Array
from models.evaluation.significance import LEAST, diebold_mariano, verdict
from models.training import promotion
from models.training.session import Decision


class Answers(NamedTuple):
    """What a network says of n windows: closes, those that came and the newest before them, [n], and the days since 1970, [n].

    `trained_until` is the last day, ISO, that it has seen.
    """

    said: Array
    came: Array
    naive: Array
    day: NDArray[Any]
    trained_until: str


def decide(challenger: Answers, champion: Answers | None) -> Decision:
    """Return whether `challenger` takes over from `champion` (None: there is none); both answer for the same windows."""
    until = max(one.trained_until for one in (challenger, champion) if one is not None)
    both = challenger.day > np.datetime64(until, "D").astype(int)
    came, last, day = (values[both] for values in (challenger.came, challenger.naive, challenger.day))
    count = len(np.unique(day))
    if count < LEAST:
        return promotion.too_few(f"{count} days that neither model has seen")
    said = {"": challenger.said[both], "naive_": last}
    if champion is not None:
        said["champion_"] = champion.said[both]
    errors = {name: 100 * (one - came) / last for name, one in said.items()}
    losses = {name: metrics.mean_by(day, missed**2) for name, missed in errors.items()}
    naive = diebold_mariano(losses[""], losses["naive_"])
    figures = {
        "unseen_days": float(count),
        "unseen_forecasts": float(len(day)),
        **{f"{name}rmse_per_cent": metrics.rmse(missed) for name, missed in errors.items()},
        "dm_p_vs_naive": naive.p_value,
    }
    ours, persistence = (f"{figures[f'{name}rmse_per_cent']:.3f} %" for name in ("", "naive_"))
    beside = f"{naive.compared('persistence')} ({persistence}, p = {naive.p_value:.2g}): {verdict(naive)}"
    if champion is None:
        return promotion.unchallenged(figures, f"on {count} unseen days its RMSE is {ours}, {beside}")
    against = diebold_mariano(losses[""], losses["champion_"])
    figures["dm_p_vs_champion"] = against.p_value
    theirs = f"{figures['champion_rmse_per_cent']:.3f} %"
    found = (
        f"on {count} unseen days it is {against.compared('the champion')} (RMSE {ours} to {theirs}, p = {against.p_value:.2g})"
    )
    return promotion.ruled(against, naive, figures, found, beside)
