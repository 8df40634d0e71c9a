"""The calibration of one series: its promise on coverage, and what it leaves as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from models.calibration import adaptive
from models.forecaster.base import LARGEST_PRICE, QUANTILES
from models.forecaster.random_walk import Z
from streams import codec
from streams.clock import MINUTE_US
from streams.messages import Calibration, Forecast

START_US = 1_760_000_040_000_000
SERIES = ("AAPL", 1, "model")
GAUSSIAN = list(zip(QUANTILES, Z.tolist(), strict=True))


def forecast(number: int = 0, sigma: float = 1e-3, price: float = 100.0, horizon_min: int = 1) -> Forecast:
    """Return what a model says of minute `number` whose Gaussian quantiles have the standard deviation `sigma`."""
    as_of_ts_us = START_US + number * MINUTE_US
    return Forecast(
        forecast_id=f"AAPL:{number}:{horizon_min}",
        symbol="AAPL",
        as_of_ts_us=as_of_ts_us,
        horizon_min=horizon_min,
        target_ts_us=as_of_ts_us + horizon_min * MINUTE_US,
        last_price=price,
        mean=price,
        quantiles={level: price * math.exp(z * sigma) for level, z in GAUSSIAN},
        prob_up=0.5,
        model_id="model",
        role="baseline",
        provisional=False,
        features_hash="h",
    )


def state(**factors: float) -> Calibration:
    fresh = adaptive.begin(*SERIES)
    return replace(fresh, widening=fresh.widening | {level.replace("p", "0."): factor for level, factor in factors.items()})


def test_what_has_learned_nothing_changes_nothing_and_keeps_the_raw_quantiles() -> None:
    made = forecast()
    raw = {level: float(f"{price:.10g}") for level, price in made.quantiles.items()}
    found = adaptive.calibrated(replace(made, quantiles=raw), adaptive.begin(*SERIES))
    assert found == replace(made, quantiles=raw, raw_quantiles=raw)


def test_a_factor_stretches_the_log_distance_from_the_median() -> None:
    found = adaptive.calibrated(forecast(sigma=0.01), state(p975=2.0, p1=0.5)).quantiles
    assert math.log(found["0.975"] / 100) == pytest.approx(2 * 0.01 * Z[6], rel=1e-7)
    assert math.log(found["0.1"] / 100) == pytest.approx(math.log(found["0.25"] / 100)), "0.1 may not be inside of 0.25"
    assert found["0.5"] == 100
    assert found["0.9"] == pytest.approx(forecast(sigma=0.01).quantiles["0.9"])


@given(
    factors=st.lists(st.floats(adaptive.NARROWEST, adaptive.WIDEST), min_size=6, max_size=6),
    sigma=st.floats(0, 400),
    price=st.floats(1e-9, 9e11),
)
def test_quantiles_stay_in_order_and_prices_stay_prices(factors: list[float], sigma: float, price: float) -> None:
    moves = {level: min(max(z * sigma, -50), 50) for level, z in GAUSSIAN}
    raw = {level: min(float(f"{price * math.exp(move):.10g}"), LARGEST_PRICE) for level, move in moves.items()}  # as to_messages
    levels = [level for level in QUANTILES if level != "0.5"]
    own = replace(adaptive.begin(*SERIES), widening=dict(zip(levels, factors, strict=True)))
    assert adaptive.fits(own)
    found = adaptive.calibrated(replace(forecast(), quantiles=raw), own)
    prices = [found.quantiles[level] for level in QUANTILES]
    assert prices == sorted(prices)
    assert tuple(found.quantiles) == QUANTILES
    assert codec.decode(Forecast, codec.encode(found)) == found


@pytest.mark.parametrize("wrong", [{"0.1": 2.0}, adaptive.begin(*SERIES).widening | {"0.1": 99.0}])
def test_a_state_that_is_not_ours_does_not_fit(wrong: dict[str, float]) -> None:
    assert not adaptive.fits(replace(adaptive.begin(*SERIES), widening=wrong))


def coverage(sigmas: list[float], returns: list[float], horizon_min: int = 1) -> dict[str, float]:
    """Return how often the 80 % and the 95 % interval held, forecasts of `sigmas` meeting `returns` as they mature."""
    own = adaptive.begin("AAPL", horizon_min, "model")
    published: list[Forecast] = []
    for number, sigma in enumerate(sigmas):
        published.append(adaptive.calibrated(forecast(number, sigma, horizon_min=horizon_min), own))
        if number >= horizon_min:
            due = number - horizon_min
            own = adaptive.learned(own, published[due], 100 * math.exp(returns[due]))
    held = {"0.1": 0, "0.025": 0}
    for one, move in zip(published, returns, strict=True):
        for low, high in (("0.1", "0.9"), ("0.025", "0.975")):
            held[low] += one.quantiles[low] <= 100 * math.exp(move) <= one.quantiles[high]
    return {low: count / len(returns) for low, count in held.items()}


@pytest.mark.parametrize("horizon_min", [1, 5, 15])
@pytest.mark.parametrize("wrongness", [0.4, 1.0, 2.5])
def test_intervals_of_a_model_that_is_wrong_by_a_factor_hold_what_they_promise(wrongness: float, horizon_min: int) -> None:
    chance = np.random.default_rng(1)
    returns = np.convolve(chance.standard_t(4, 12_000 + horizon_min), np.ones(horizon_min), "valid")[:12_000] * 1e-3
    found = coverage([1e-3 * math.sqrt(horizon_min) * wrongness] * 12_000, returns.tolist(), horizon_min)
    assert found["0.1"] == pytest.approx(0.80, abs=0.02)
    assert found["0.025"] == pytest.approx(0.95, abs=0.01)


def test_the_misses_of_any_sequence_are_bounded_as_promised() -> None:
    chance = np.random.default_rng(2)
    returns = (chance.normal(0, 1e-3, 6_000) * np.repeat([1, 3, 0.5, 2], 1_500)).tolist()
    own = adaptive.begin(*SERIES)
    missed = 0
    for number, move in enumerate(returns):
        published = adaptive.calibrated(forecast(number), own)
        missed += 100 * math.exp(move) > published.quantiles["0.9"]
        own = adaptive.learned(own, published, 100 * math.exp(move))
        assert adaptive.NARROWEST < own.widening["0.9"] < adaptive.WIDEST
    bound = math.log(adaptive.WIDEST / adaptive.NARROWEST) / (adaptive.step("0.9", 10**9, 1) * len(returns))
    assert abs(missed / len(returns) - 0.1) <= bound


def test_a_factor_never_leaves_its_bounds() -> None:
    wide = narrow = adaptive.begin(*SERIES)
    for number in range(2_000):
        wide = adaptive.learned(wide, adaptive.calibrated(forecast(number), wide), 200.0)
        narrow = adaptive.learned(narrow, adaptive.calibrated(forecast(number), narrow), 100.0)
    assert (wide.widening["0.9"], narrow.widening["0.9"]) == (adaptive.WIDEST, adaptive.NARROWEST)
    assert wide.n == narrow.n == 2_000
    assert wide.as_of_ts_us == forecast(1_999).target_ts_us


@pytest.mark.parametrize(("level", "density"), [("0.9", 0.17550), ("0.025", 0.05845)])
def test_the_step_falls_to_its_floor(level: str, density: float) -> None:
    steps = [adaptive.step(level, n, 4) for n in range(1_000)]
    steepness = density * {"0.9": 1.28155, "0.025": 1.95996}[level]  # from a table of the Gaussian
    assert steps[0] == pytest.approx(1.3 / 100 / steepness, rel=1e-4)
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == pytest.approx(0.0045 / 2 / steepness, rel=1e-4)
