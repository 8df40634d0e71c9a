"""The table of a walk-forward trial: for each model and horizon all metrics, the tests against the random walk, the verdict.

Symbols move together, so one minute is one observation: losses of a minute are averaged over symbols before they are
tested. Directions cannot be averaged: each symbol is tested, and the least p-value counts, times the number of symbols
(Bonferroni).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models.evaluation import metrics
from models.evaluation.metrics import Array
from models.evaluation.scoring import INTERVALS
from models.evaluation.significance import Test, diebold_mariano, pesaran_timmermann, verdict
from models.evaluation.walk_forward import Trial
from models.forecaster.base import HORIZONS_MIN, LEVELS, QUANTILES

Figures = dict[str, Any]
WIDEST = 2 * 1.2815515655446004  # standard deviations between a Gaussian's quantiles 0.1 and 0.9


def summary(trial: Trial, naive: str) -> Figures:
    """Return the figures by model and horizon (in minutes, as text); NaN is None. `naive` names what skill is against.

    Errors and losses are in log-return units; `skill` is of squared errors, `skill_pinball` of the quantiles' pinball losses.
    """
    models = {
        name: {str(horizon): _row(trial, name, naive, at) for at, horizon in enumerate(HORIZONS_MIN)} for name in trial.answers
    }
    return {
        "windows": len(trial.minutes),
        "symbols": sorted(set(trial.symbols.tolist())),
        "from_ts_us": int(trial.minutes.min()),
        "to_ts_us": int(trial.minutes.max()),
        "borders_ts_us": trial.borders,
        "naive": naive,
        "model_ids": trial.model_ids,
        "failed": trial.failed,
        "models": _jsonable(models),
    }


def _row(trial: Trial, name: str, naive: str, at: int) -> Figures:
    answer, horizon = trial.answers[name], HORIZONS_MIN[at]
    came, mean, quantiles = trial.targets[:, at], answer.mean[:, at], answer.quantiles[:, at]
    squares, losses = losses_of(trial, name, at)
    naive_squares, naive_losses = losses_of(trial, naive, at)
    point = diebold_mariano(by_minute(trial, squares), by_minute(trial, naive_squares), horizon)
    interval = diebold_mariano(by_minute(trial, losses), by_minute(trial, naive_losses), horizon)
    return {
        "n": len(came),
        "mae": metrics.mae(mean - came),
        "rmse": metrics.rmse(mean - came),
        "r2": metrics.r2(mean, came),
        "r": metrics.correlation(mean, came),
        "mase": metrics.mae((mean - came) / trial.usual[:, at]),
        "skill": metrics.skill(squares, naive_squares),
        "skill_pinball": metrics.skill(losses, naive_losses),
        "crps": 2.0 * float(losses.mean()),
        "qlike": float(metrics.qlike(variances(quantiles), came**2).mean()),
        "coverage": {share: _coverage(quantiles, came, share, horizon) for share in INTERVALS},
        "direction": metrics.direction(mean, came),
        "dm": _test(point),
        "dm_pinball": _test(interval),
        "pt": _directions(trial, mean, came, horizon),
        "verdict": "baseline" if name == naive else verdict(point),
        "interval_verdict": "baseline" if name == naive else verdict(interval),
        "by_symbol": _by_symbol(trial, squares, naive_squares),
        "pit": metrics.histogram(metrics.pit(LEVELS, quantiles, came)).tolist(),
        "reliability": metrics.reliability(answer.prob_up[:, at], came > 0),
    }


def losses_of(trial: Trial, name: str, at: int) -> tuple[Array, Array]:
    """Return the squared errors and the mean pinball losses, [n] each, of model `name` at horizon number `at`."""
    answer, came = trial.answers[name], trial.targets[:, at]
    squares: Array = (answer.mean[:, at] - came) ** 2
    losses: Array = metrics.pinball(LEVELS, answer.quantiles[:, at], came).mean(axis=1)
    return squares, losses


def by_minute(trial: Trial, values: Array) -> Array:
    """Return the means of `values` over the symbols of each minute, in the order of time."""
    return metrics.mean_by(trial.minutes, values)


def variances(quantiles: Array) -> Array:
    """Return the variance, [n], of a Gaussian with the quantiles 0.1 and 0.9 of [n, Q]."""
    width = quantiles[:, QUANTILES.index("0.9")] - quantiles[:, QUANTILES.index("0.1")]
    spread: Array = (width / WIDEST) ** 2
    return spread


def _coverage(quantiles: Array, came: Array, share: str, horizon: int) -> Figures:
    low, high = (quantiles[:, QUANTILES.index(level)] for level in INTERVALS[share])
    found = metrics.coverage(low, high, came, float(share) / 100, overlap=horizon)
    return {**found._asdict(), "kept": found.kept}


def _directions(trial: Trial, mean: Array, came: Array, horizon: int) -> Figures:
    symbols = sorted(set(trial.symbols.tolist()))
    tests = []
    for symbol in symbols:
        own = np.flatnonzero(trial.symbols == symbol)
        own = own[np.argsort(trial.minutes[own], kind="stable")]
        tests.append(pesaran_timmermann(mean[own] > 0, came[own] > 0, horizon))
    least = min(tests, key=lambda test: test.p_value)
    return _test(Test(least.statistic, min(1.0, len(symbols) * least.p_value), len(came)))


def _by_symbol(trial: Trial, squares: Array, naive_squares: Array) -> dict[str, float]:
    symbols = sorted(set(trial.symbols.tolist()))
    return {symbol: metrics.skill(squares[trial.symbols == symbol], naive_squares[trial.symbols == symbol]) for symbol in symbols}


def _test(test: Test) -> Figures:
    return {"statistic": test.statistic, "p_value": test.p_value, "n": test.n}


def _jsonable(value: Any) -> Any:
    """Return `value` with None for NaN and plain lists for tuples: NaN is no JSON."""
    if isinstance(value, dict):
        return {key: _jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
