"""Whether a new model takes over: the challenger against the champion and the random walk on minutes that training has not seen.

One test, fixed beforehand: pinball losses of the 5-minute forecasts, symbols of a minute averaged, Diebold-Mariano at 5 %. The
challenger is promoted where it is significantly better than the champion, is not significantly worse than the random walk,
and its 80 % intervals fall short of 80 % by at most 2 points more than the champion's (too wide ones cost pinball loss). Where
there is no champion it serves whatever it is worth: somebody must, and live scores judge it.

An edge over the random walk is not demanded: a champion that has become worse than that must not stay because its successor
is merely as good. The random walk is published beside either, and every reason says which edge was shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from models.evaluation import metrics
from models.evaluation.significance import Test, diebold_mariano
from models.forecaster.base import HORIZONS_MIN, LEVELS, QUANTILES, Forecaster
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Array
from models.training import dataset
from models.training.dataset import Part
from models.training.session import Decision

HORIZON_MIN = 5
AT = HORIZONS_MIN.index(HORIZON_MIN)
NOMINAL = 0.8
SLACK = 0.02  # by how much more than the champion's its intervals may fall short
LEAST_MINUTES = 60  # unseen minutes; of fewer no test is made
TOO_FEW = "are too few for a test; no demonstrated edge"


@dataclass(frozen=True)
class Block:
    """Windows that training has not seen, with what came; by symbol and minute."""

    part: Part
    minutes: Array

    @property
    def n_minutes(self) -> int:
        """How many different minutes the windows end in: the number of observations."""
        return len(np.unique(self.minutes))


def block(rows: pl.DataFrame, begin_ts_us: int, end_ts_us: int) -> Block:
    """Return the windows of final feature rows that end in minutes from `begin_ts_us` on and whose targets end by `end_ts_us`."""
    known = rows.filter(pl.col("minute_ts_us") < end_ts_us)
    ends = dataset.window_ends(known)
    minutes = known["minute_ts_us"].to_numpy()[ends]
    here = minutes >= begin_ts_us
    return Block(dataset.part(known, ends[here]), minutes[here])


def decide(challenger: Forecaster, champion: Forecaster | None, unseen: Block) -> Decision:
    """Return whether `challenger` takes over from `champion` (None: there is none)."""
    if unseen.n_minutes < LEAST_MINUTES:
        return _undecided(champion, unseen)
    naive = RandomWalk()
    ours, theirs = _losses(challenger, unseen), _losses(naive, unseen)
    against_naive = diebold_mariano(ours, theirs, HORIZON_MIN)
    covered = _covered(challenger, unseen.part)
    figures = {
        "unseen_minutes": float(unseen.n_minutes),
        "unseen_windows": float(len(unseen.minutes)),
        "skill_pinball_5m_vs_naive": metrics.skill(ours, theirs),
        "dm_p_vs_naive": against_naive.p_value,
        "covered_80": covered,
    }
    beside = _said(against_naive, figures["skill_pinball_5m_vs_naive"], "the random walk")
    if champion is None:
        return _first(figures, against_naive, beside)
    held = _losses(champion, unseen)
    against = diebold_mariano(ours, held, HORIZON_MIN)
    figures |= {
        "skill_pinball_5m_vs_champion": metrics.skill(ours, held),
        "dm_p_vs_champion": against.p_value,
        "champion_skill_pinball_5m": metrics.skill(held, theirs),
        "champion_covered_80": _covered(champion, unseen.part),
    }
    compared = _said(against, figures["skill_pinball_5m_vs_champion"], "the champion")
    return ruled(against, against_naive, figures, f"on {unseen.n_minutes} unseen minutes it is {compared}", beside)


def ruled(against: Test, against_naive: Test, figures: dict[str, float], found: str, beside: str) -> Decision:
    """Return the decision of the rule above, of a challenger that has a champion to beat.

    Parameters
    ----------
    against, against_naive : Test
        Of the challenger's losses against the champion's and the naive forecast's.
    figures : dict[str, float]
        With `covered_80` and `champion_covered_80`, the shares that the 80 % intervals held; without them where the models
        have no intervals, and the last clause of the rule has nothing to compare.
    found, beside : str
        What the two tests came to, in words.
    """
    covered, champion_covered = (figures.get(name, NOMINAL) for name in ("covered_80", "champion_covered_80"))
    if not against.better:
        return Decision(promoted=False, reason=f"not promoted: {found}, and {beside}", metrics=figures)
    if against_naive.worse:
        return Decision(promoted=False, reason=f"not promoted: {found}, but {beside}", metrics=figures)
    if _short(covered) > _short(champion_covered) + SLACK:
        missed = f"its 80 % intervals hold {covered:.1%}, the champion's {champion_covered:.1%}"
        return Decision(promoted=False, reason=f"not promoted: {found}, but {missed}", metrics=figures)
    return Decision(promoted=True, reason=f"promoted: {found}, and {beside}", metrics=figures)


class Ablation(NamedTuple):
    """What sentiment is worth: the pinball loss that it saves, as a share, and the p-value of that; in words too."""

    skill: float
    p_value: float
    said: str


def ablation(model: Forecaster, blind: Forecaster, unseen: Block) -> Ablation | None:
    """Compare a model with one that was trained without sentiment; None where there are too few minutes."""
    if unseen.n_minutes < LEAST_MINUTES:
        return None
    ours, theirs = _losses(model, unseen), _losses(blind, unseen)
    test, skill = diebold_mariano(ours, theirs, HORIZON_MIN), metrics.skill(ours, theirs)
    return Ablation(skill, test.p_value, f"with sentiment it is {_said(test, skill, 'without')}")


def _undecided(champion: Forecaster | None, unseen: Block) -> Decision:
    what = f"{unseen.n_minutes} unseen minutes"
    if champion is None:
        return Decision(promoted=True, reason=f"promoted unchallenged: {what} {TOO_FEW}", metrics={})
    return too_few(what)


def too_few(what: str) -> Decision:
    """Return the decision where `what`, so many observations in words, are too few for a test: the champion stays."""
    return Decision(promoted=False, reason=f"not promoted: {what} {TOO_FEW}", metrics={})


def unchallenged(figures: dict[str, float], found: str) -> Decision:
    """Return the decision on a model that has no champion to beat: it serves beside the baseline, whatever it is worth.

    Parameters
    ----------
    found : str
        What the test against the naive forecast came to, in words, and which edge that is.
    """
    return Decision(promoted=True, reason=f"promoted unchallenged: there was no champion; {found}", metrics=figures)


def _first(figures: dict[str, float], against_naive: Test, beside: str) -> Decision:
    edge = "" if against_naive.better else "; no demonstrated edge"
    return unchallenged(figures, f"on {figures['unseen_minutes']:.0f} unseen minutes it is {beside}{edge}")


def _short(covered: float) -> float:
    return max(0.0, NOMINAL - covered)


def _said(test: Test, skill: float, whom: str) -> str:
    return f"{test.compared(whom)} (pinball {skill:+.2%}, p = {test.p_value:.2g})"


def _losses(model: Forecaster, unseen: Block) -> Array:
    """Return the mean pinball loss of each minute at the tested horizon, in the order of time."""
    answer = model.forecast(unseen.part.windows)
    losses = metrics.pinball(LEVELS, answer.quantiles[:, AT], unseen.part.targets[:, AT]).mean(axis=1)
    return metrics.mean_by(unseen.minutes, losses)


def _covered(model: Forecaster, part: Part) -> float:
    quantiles = model.forecast(part.windows).quantiles[:, AT]
    low, high = quantiles[:, QUANTILES.index("0.1")], quantiles[:, QUANTILES.index("0.9")]
    came = part.targets[:, AT]
    return float(((low <= came) & (came <= high)).mean())
