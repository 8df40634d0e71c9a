"""Many headlines to one number. No news is 0 as neutral news is: the count beside it tells them apart.

Only the mean streams: `sent_mean` and `sent_n` of `features` (`streams/features.py`) are the mean score of the last 60 minutes
and its count, from sums that Spark can add to. There `sent_mean` is null, not 0, where `sent_n` is 0.
Median, trimmed and decayed mean need the scores themselves; they are for studies on what the lake keeps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Aggregate(NamedTuple):
    """A summary of scores, and of how many; `n` = 0 means that there was no news."""

    value: float
    n: int


NO_NEWS = Aggregate(0.0, 0)


def mean(scores: Floats) -> Aggregate:
    """Return the mean of `scores` [n], each from -1 to 1.

    >>> mean(np.array([0.5, -0.1]))
    Aggregate(value=0.2, n=2)
    """
    return Aggregate(float(np.mean(scores)), len(scores)) if len(scores) else NO_NEWS


def median(scores: Floats) -> Aggregate:
    """Return the median of `scores` [n]: one shrill headline does not move it."""
    return Aggregate(float(np.median(scores)), len(scores)) if len(scores) else NO_NEWS


def trimmed_mean(scores: Floats, share: float = 0.1) -> Aggregate:
    """Return the mean of `scores` [n] without the lowest and the highest `share` (0 to 0.5) of them.

    >>> trimmed_mean(np.array([-1.0, 0.25, 0.25, 0.25, 1.0]), 0.2)
    Aggregate(value=0.25, n=5)
    """
    if not 0 <= share < 0.5:
        raise ValueError(f"a share of {share} leaves nothing to average")
    cut = int(len(scores) * share)
    kept = np.sort(scores)[cut : len(scores) - cut]
    return Aggregate(float(np.mean(kept)), len(scores)) if len(scores) else NO_NEWS


def decayed_mean(scores: Floats, event_ts_us: NDArray[np.int64], as_of_ts_us: int, half_life_us: int) -> Aggregate:
    r"""Return the mean of `scores` [n], a headline's weight halving with every `half_life_us` of its age.

    .. math:: \sum_i s_i 2^{-(T - t_i) / h} / \sum_i 2^{-(T - t_i) / h}

    Headlines after `as_of_ts_us` are not counted: they had not been published.
    """
    published = event_ts_us <= as_of_ts_us
    if not published.any():
        return NO_NEWS
    ages = (as_of_ts_us - event_ts_us[published]) / half_life_us
    weights = np.exp2(ages.min() - ages)  # relative to the newest, so that old news does not underflow to 0 / 0
    return Aggregate(float(np.average(scores[published], weights=weights)), int(published.sum()))
