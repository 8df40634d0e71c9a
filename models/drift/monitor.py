"""Drift of one symbol: of what models see, of how they do beside the random walk, and of what their intervals hold.

Each number is watched by ADWIN (Bifet and Gavalda, 2007; library `river`), which keeps a window as long as its mean is the same
and says so when it is not. ADWIN wants numbers in [0, 1] that do not depend on each other: so each is squashed, and of the
horizons only the one minute is watched, whose forecasts do not overlap.

    volatility  |return| / (|return| + 5 basis points)
    volume      log(1 + volume) / 20
    sentiment   (1 + mean score) / 2, where there is news; once an hour, because it is a mean over an hour
    residual    |error| / (|error| + |error of the random walk|), by model: above 1/2 is worse than naive
    coverage    whether the 80 % interval held, by model, before calibration, which would mend it
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from river.drift import ADWIN

from models.forecaster.windows import PRIOR_SIGMA
from streams.clock import MINUTE_US
from streams.messages import Features, Score

HORIZON_MIN = 1
CHANCE = 2e-3  # ADWIN's delta, the library's own; 180,000 values without any drift gave no alarm
LARGEST_LOG_VOLUME = 20.0
HOUR_US = 60 * MINUTE_US  # what a row's mean score is of


class Drift(NamedTuple):
    """The mean of `subject` was `before` and is `after`, of the last `n` values; all squashed as in the module's docstring."""

    subject: str
    before: float
    after: float
    n: int

    def __str__(self) -> str:
        return f"{self.subject} went from {self.before:.3f} to {self.after:.3f}"


class DriftMonitor:
    """Watches one symbol; equal numbers in equal order give equal drifts."""

    def __init__(self) -> None:
        self._detectors: defaultdict[str, ADWIN] = defaultdict(lambda: ADWIN(delta=CHANCE))

    def see(self, row: Features) -> list[Drift]:
        """Take a final row; return the drifts that it shows."""
        return [drift for subject, value in _of_features(row) if (drift := self._watch(subject, value))]

    def judge(self, score: Score) -> list[Drift]:
        """Take a score; return the drifts that it shows."""
        return [drift for subject, value in _of_score(score) if (drift := self._watch(subject, value))]

    def _watch(self, subject: str, value: float) -> Drift | None:
        detector = self._detectors[subject]
        before = float(detector.estimation)
        detector.update(value)
        if not detector.drift_detected:
            return None
        return Drift(subject, before, float(detector.estimation), int(detector.width))


def _of_features(row: Features) -> Iterator[tuple[str, float]]:
    if row.ret is not None:
        yield "volatility", abs(row.ret) / (abs(row.ret) + PRIOR_SIGMA)
    yield "volume", min(math.log1p(row.volume) / LARGEST_LOG_VOLUME, 1.0)
    if row.sent_mean is not None and row.minute_ts_us % HOUR_US == 0:
        yield "sentiment", (1 + row.sent_mean) / 2


def _of_score(score: Score) -> Iterator[tuple[str, float]]:
    if score.horizon_min != HORIZON_MIN:
        return
    total = abs(score.error) + abs(score.naive_error)
    if total > 0:
        yield f"residual of {score.model_id}", abs(score.error) / total
    yield f"coverage of {score.model_id}", float((score.raw_covered or score.covered)["80"])
