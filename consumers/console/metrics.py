"""`/metrics`: the state of the machinery in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from consumers.console.flowing import Flow
from consumers.console.health import HealthRow

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Mapping[str, str], float]]


class Metric(NamedTuple):
    """One metric with its samples: labels and value."""

    name: str
    kind: str
    help: str
    samples: Samples


def text(health: HealthRow, flow: Flow, browsers: int, ready: bool) -> str:
    """Return all metrics."""
    return "".join(line + "\n" for metric in _metrics(health, flow, browsers, ready) for line in _lines(metric))


def _metrics(health: HealthRow, flow: Flow, browsers: int, ready: bool) -> Iterator[Metric]:
    roles = [(row.role, row) for row in health.roles]
    up = [({"role": role}, float(not row.silent and row.state != "failed")) for role, row in roles]
    lags = [({"group": lag.group, "topic": lag.topic, "partition": str(lag.partition)}, lag.lag) for lag in flow.lags]
    latencies = {"feature": health.tick_to_feature, "forecast": health.tick_to_forecast}
    seconds = [
        ({"stage": stage, "quantile": quantile}, value / 1_000)
        for stage, found in latencies.items()
        if found is not None
        for quantile, value in (("0.5", found.p50_ms), ("0.99", found.p99_ms))
    ]
    yield Metric("tickcast_ready", "gauge", "1 once the console has read what the topics held.", [({}, float(ready))])
    yield Metric("tickcast_role_up", "gauge", "1 while a role reports that it is well.", up)
    yield Metric("tickcast_ticks_per_second", "gauge", "Trades that reached the bars, last 10 s.", [({}, health.ticks_per_s)])
    yield Metric("tickcast_tick_latency_seconds", "gauge", "From a tick's arrival at the broker, last minute.", seconds)
    records = [({"topic": row.topic}, float(row.records)) for row in flow.topics]
    yield Metric("tickcast_topic_records_total", "counter", "Records ever written to a topic.", records)
    yield Metric("tickcast_consumer_lag_records", "gauge", "Records that a consumer group is behind.", lags)
    yield Metric("tickcast_dead_letters_total", "counter", "Dead letters read since the start.", [({}, health.dead_letters)])
    drifts = [({"symbol": symbol}, count) for symbol, count in sorted(health.drifts.items())]
    yield Metric("tickcast_drifts_total", "counter", "Drifts of features, errors or coverage read since the start.", drifts)
    yield Metric("tickcast_console_malformed_total", "counter", "Records the console could not read.", [({}, health.malformed)])
    yield Metric("tickcast_console_browsers", "gauge", "Open streams of pages.", [({}, browsers)])


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in metric.samples:
        told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{metric.name}{{{told}}} {value!r}" if told else f"{metric.name} {value!r}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
