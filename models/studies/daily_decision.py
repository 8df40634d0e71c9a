"""Whether a new network of the daily study takes over: the challenger against the champion and persistence.

Squared errors in per cent of the newest close, on days that neither has learnt from and symbols of a day averaged, decide by
the rule of `models/training/promotion.py`. The network has no intervals, so what that rule says of them has nothing to compare.
"""

from __future__ import annotations

import numpy as np

from models.evaluation import metrics
from models.evaluation.significance import LEAST, diebold_mariano, verdict
from models.studies import daily_model
from models.studies.daily_model import Held
from models.studies.daily_windows import Windows
from models.training import promotion
from models.training.session import Decision


def decide(challenger: Held, champion: Held | None, windows: Windows) -> Decision:
    """Return whether `challenger` takes over, by those of `windows` whose days neither model has seen.

    Parameters
    ----------
    champion : Held | None
        None: there is none to beat.

    Raises
    ------
    ModelError
        A symbol is unknown to one of the two.
    """
    until = max(one.about.trained_until for one in (challenger, champion) if one is not None)
    both = windows.take(windows.day > np.datetime64(until, "D").astype(int))
    count = len(np.unique(both.day))
    if count < LEAST:
        return promotion.too_few(f"{count} days that neither model has seen")
    said = {"": daily_model.forecasts(challenger, both), "naive_": both.last}
    if champion is not None:
        said["champion_"] = daily_model.forecasts(champion, both)
    errors = {name: 100 * (one - both.next_close) / both.last for name, one in said.items()}
    losses = {name: metrics.mean_by(both.day, missed**2) for name, missed in errors.items()}
    naive = diebold_mariano(losses[""], losses["naive_"])
    figures = {
        "unseen_days": float(count),
        "unseen_forecasts": float(len(both.day)),
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
