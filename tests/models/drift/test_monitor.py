"""Drift: what changes is found soon, what stays the same is left in peace."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from models.drift.monitor import Drift, DriftMonitor
from streams.clock import MINUTE_US
from streams.messages import Features, Score
from tests.models.forecaster.samples import rows

BASE = Score(
    forecast_id="f",
    symbol="AAPL",
    model_id="lstm-1",
    role="champion",
    horizon_min=1,
    as_of_ts_us=0,
    target_ts_us=0,
    realised_price=100.0,
    error=1e-3,
    naive_error=1e-3,
    pinball=0.0,
    crps=0.0,
    covered={"50": True, "80": True, "95": True},
)


def seen(market: list[Features]) -> list[tuple[int, Drift]]:
    monitor = DriftMonitor()
    return [(at, drift) for at, row in enumerate(market) for drift in monitor.see(row)]


def judged(scores: list[Score]) -> list[tuple[int, Drift]]:
    monitor = DriftMonitor()
    return [(at, drift) for at, score in enumerate(scores) for drift in monitor.judge(score)]


def returns(sigmas: list[float], seed: int = 1) -> list[Features]:
    moves = np.random.default_rng(seed).normal(0, sigmas)
    first = replace(rows(1)[0], volume=100.0, sent_mean=None)
    return [replace(first, ret=float(move), minute_ts_us=number * MINUTE_US) for number, move in enumerate(moves)]


def covered(chances: list[float], raw: bool = True) -> list[Score]:
    held = np.random.default_rng(2).random(len(chances)) < chances
    intervals = [{"50": True, "80": bool(one), "95": True} for one in held]
    return [replace(BASE, raw_covered=one) if raw else replace(BASE, covered=one) for one in intervals]


@pytest.mark.parametrize("seed", range(5))
def test_a_constant_market_does_not_drift(seed: int) -> None:
    assert seen(returns([1e-3] * 4_000, seed)) == []


def test_a_jump_of_the_volatility_is_found_soon() -> None:
    found = seen(returns([5e-4] * 600 + [2e-3] * 400))
    at, drift = found[0]
    assert 600 <= at < 700
    assert drift.subject == "volatility"
    assert drift.before < drift.after


def test_volume_and_sentiment_are_watched_too() -> None:
    whole = returns([1e-3] * 6_000)
    calm, busy = whole[:3_000], whole[3_000:]
    louder = [replace(row, volume=30_000.0, sent_mean=-0.5) for row in busy]
    market = [replace(row, sent_mean=0.5) for row in calm] + louder
    assert {drift.subject for _, drift in seen(market)} == {"volume", "sentiment"}


def test_the_mean_of_an_hour_that_moves_as_such_means_do_is_no_drift() -> None:
    news = np.random.default_rng(4).choice([-0.8, 0.1, 0.8], 6_000)
    means = np.convolve(news, np.ones(6) / 6, "valid").repeat(10)  # six headlines an hour, a new one every ten minutes
    market = [replace(row, sent_mean=float(mean)) for row, mean in zip(returns([1e-3] * len(means)), means, strict=True)]
    assert seen(market) == []


def test_a_model_that_gets_worse_than_naive_drifts_by_its_residual() -> None:
    chance = np.random.default_rng(3)
    naive = np.abs(chance.normal(0, 1e-3, 1_000))
    errors = naive * np.where(np.arange(1_000) < 500, 0.8, 1.6) * chance.uniform(0.8, 1.2, 1_000)
    found = judged([replace(BASE, error=float(e), naive_error=float(n)) for e, n in zip(errors, naive, strict=True)])
    assert {drift.subject for _, drift in found} == {"residual of lstm-1"}
    assert 500 <= found[0][0] < 600


@pytest.mark.parametrize("raw", [True, False])
def test_intervals_that_no_longer_hold_drift_by_their_coverage(raw: bool) -> None:
    found = judged(covered([0.8] * 1_000 + [0.4] * 500, raw))
    at, drift = found[0]
    assert 1_000 <= at < 1_150
    assert str(drift) == f"coverage of lstm-1 went from {drift.before:.3f} to {drift.after:.3f}"
    assert judged(covered([0.8] * 3_000, raw)) == []


def test_horizons_whose_forecasts_overlap_are_left_out() -> None:
    assert judged([replace(score, horizon_min=5) for score in covered([0.9] * 500 + [0.1] * 500)]) == []
