"""How long one forecast call takes: the served LSTM against Keras, all in one run on one machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from models.forecaster import recurrent_graph
from models.forecaster.recurrent_recipe import card_of, served
from models.forecaster.windows import FEATURES, RAW, WINDOW, Windows

LARGE = 2_048  # rows and columns of a product whose memory costs next to nothing beside its arithmetic
SCALER = dict.fromkeys(FEATURES, (0.0, 1.0))


def run(windows: int = 1_000) -> dict[str, float]:
    """Return medians in milliseconds, and how many times slower Keras is; the weights do not matter and are random.

    `served_ms` is the network alone on one window, as the Keras figures are; `batch_forecast_ms` is a whole forecast of the
    batch, from raw bars to returns. `batch_bound_ms` is what the layer's products of the batch would take at the speed of one
    large product, `peak_gflops` of all cores together: no float32 kernel is faster on this machine.
    """
    from models.forecaster import recurrent  # noqa: PLC0415 - seconds of TensorFlow

    recurrent.prepare()
    network = recurrent.build(SCALER)
    model = served(recurrent_graph.build([recurrent.weights(network, SCALER)]), card_of(0, 1, SCALER), "bench")
    batch = _market(windows)
    one = batch.features[:1]
    figures = {
        "served_ms": _median_ms(lambda: model.run(one), 500),
        "eager_ms": _median_ms(lambda: network(one, training=False), 30),
        "predict_ms": _median_ms(lambda: network.predict(one, verbose=0), 30),
        "batch_windows": float(windows),
        "batch_ms": _median_ms(lambda: model.run(batch.features), 30),
        "batch_least_ms": _median_ms(lambda: model.run(batch.features), 30, statistic=min),
        "batch_forecast_ms": _median_ms(lambda: model.forecast(Windows(batch.rows)), 10),
    }
    peak = _peak_gflops()
    figures |= {"peak_gflops": peak, "batch_bound_ms": windows * _giga_operations(recurrent.UNITS) / peak * 1e3}
    return figures | {f"{name}_times": figures[f"{name}_ms"] / figures["served_ms"] for name in ("eager", "predict")}


def _giga_operations(units: int) -> float:
    """Return how many billion operations the layer's products take for one window: four gates from state and features."""
    return 2e-9 * WINDOW * 4 * units * (units + len(FEATURES))


def _peak_gflops() -> float:
    """Return how many billion operations a second a product of large float32 matrices reaches, on all cores."""
    left, right = np.random.default_rng(1).random((2, LARGE, LARGE), dtype=np.float32)
    into = np.empty_like(left)
    least_ms = _median_ms(lambda: np.matmul(left, right, out=into), 20, statistic=min)
    return 2 * LARGE**3 / least_ms / 1e6


def _median_ms(call: Callable[[], object], times: int, statistic: Callable[[list[float]], float] = statistics.median) -> float:
    call()
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        spans.append(1e3 * (time.perf_counter() - begin))
    return statistic(spans)


def _market(count: int) -> Windows:
    """Return windows of random walks."""
    chance = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 5e-4, (count, WINDOW)), axis=1))
    columns = dict.fromkeys(("open", "high", "low", "close", "ma7", "ma21"), close)
    columns |= {"volume": chance.uniform(1, 1_000, close.shape)}
    return Windows(np.stack([columns.get(name, np.zeros_like(close)) for name in RAW], axis=2))
