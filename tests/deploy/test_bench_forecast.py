"""The bench of forecasts: the past makes windows full at once, and the figures count what came in the measured time."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from kafka import OffsetAndMetadata
from msgspec.structs import replace

from consumers.history import SymbolHistory
from deploy import bench_forecast
from deploy.bench_forecast import Load
from models.forecaster.windows import WINDOW
from streams import bus, codec
from streams.bus import Record
from streams.clock import MINUTE_US, wall_ts_us
from streams.messages import Features
from streams.settings import Settings
from streams.testing import eventually
from tests.models.calibration.test_adaptive import forecast
from tests.models.forecaster.samples import START_US, rows

NOW_US = START_US + 1_000 * MINUTE_US


def test_a_window_is_full_with_the_first_live_minute(config: Settings) -> None:
    load = Load(("AAPL", "TSLA", "S0007"), 3.0)
    ends = bench_forecast.remember(config, load, NOW_US)
    assert sum(ends.values()) == len(load.symbols) * WINDOW
    assert not bench_forecast.has_read(config, ends)
    histories = {symbol: SymbolHistory() for symbol in load.symbols}
    for record in bus.read_all(config, "features"):
        row = codec.decode(Features, record.value)
        assert histories[row.symbol].put(row)
    for symbol, history in histories.items():
        first = replace(rows(1)[0], symbol=symbol, minute_ts_us=NOW_US, final=False)
        assert history.draft(first)
        assert len(history.window(NOW_US, drafts=True)) == WINDOW
        assert len(history.window(NOW_US - MINUTE_US)) == WINDOW


def test_the_past_is_read_once_the_forecaster_has_committed_it(config: Settings) -> None:
    ends = bench_forecast.remember(config, Load(("AAPL",), 1.0), NOW_US)
    with closing(bus.consumer(config, group_id=config.topic("forecast"))) as client:
        client.assign(list(ends))
        client.commit({place: OffsetAndMetadata(end, "", -1) for place, end in ends.items()})
    assert bench_forecast.has_read(config, ends)
    assert not bench_forecast.has_read(config, {place: end + 1 for place, end in ends.items()})


def record(at_us: int, latency_us: int, **changes: Any) -> Record:
    """Return a forecast that reached the broker at `at_us`, so long after its tick."""
    made = bus.outgoing("forecasts", "AAPL", replace(forecast(0), **changes))
    headers = [(bus.INGEST_HEADER, str(at_us - latency_us).encode())]
    return Record(made.topic, 0, 0, made.key, made.value, at_us // 1_000, headers)


def test_the_figures_are_of_each_role_and_of_each_fifth_of_the_time() -> None:
    champions = [record(NOW_US + n * 1_000_000, (n + 1) * 1_000, role="champion") for n in range(100)]
    naive = record(NOW_US, 7_000, role="baseline", provisional=True)
    past = record(NOW_US, 0, role="champion")._replace(headers=[])
    figures = bench_forecast.figures_of([past, naive, *champions[50:], *champions[:50]])
    assert figures["champion"] == figures["champion, final"]
    assert figures["champion"]["n"] == 100
    assert figures["champion"]["p50"] == pytest.approx(50.5, abs=0.1)
    assert figures["champion"]["p99"] == pytest.approx(99, abs=0.2)
    assert figures["champion"]["fifths_p50"] == pytest.approx([10.5, 30.5, 50.5, 70.5, 90.5], abs=0.6)
    assert figures["baseline"] == figures["baseline, provisional"]
    assert (figures["baseline"]["n"], figures["baseline"]["p50"]) == (1, 7.0)


def test_what_came_before_or_after_is_not_counted(config: Settings) -> None:
    times = []
    for number in range(3):
        with bus.producing(config) as client:
            bus.send_all(client, config, [bus.outgoing("forecasts", "AAPL", forecast(number))])
        before_ms = max(one.timestamp_ms for one in bus.read_all(config, "forecasts"))
        times.append(before_ms)
        eventually(lambda before_ms=before_ms: wall_ts_us() // 1_000 > before_ms, interval_s=0.001)  # type: ignore[misc]
    found = bench_forecast.between(config, times[1] * 1_000, times[2] * 1_000)
    assert [one.timestamp_ms for one in found] == [times[1]]


def load(champion: dict[str, Any], score: tuple[int, int] = (300, 200)) -> dict[str, Any]:
    """Return the figures of a load of 1,000 ticks a second."""
    return {"rate": 1_000.0, "lags": {"forecast": (400, 500), "score": score}, "forecasts": {"champion": champion}}


def test_without_forecasts_no_claim_holds() -> None:
    some = load({"n": 10, "p50": 9.0, "p90": 20.0, "p99": 60.0, "fifths_p50": [9.0, 12.0]})
    six = some["forecasts"]["champion"]
    none = load({"n": 0, "fifths_p50": []})
    claims = {
        "good": (some, some, True),
        "slow": (load(six | {"p50": 16.0}), some, False),
        "slow at times": (load(six | {"p99": 81.0}), some, False),
        "growing": (some, load(six | {"fifths_p50": [9.0, 14.0]}), False),
        "behind": (some, load(six | {"fifths_p50": [9_000.0, 9_900.0]}), False),
        "scores that come ever later": (some, load(six, (1_000, 6_001)), False),
        "nothing at all": (some, none, False),
        "nothing": (none, some, False),
    }
    for name, (first, second, holds) in claims.items():
        figures = bench_forecast.claims({bench_forecast.SIX: first, bench_forecast.MANY: second})
        assert (figures["holds"], bench_forecast.as_table(figures).row_count) == (holds, 2), name


def test_one_load_is_judged_by_its_own_claim() -> None:
    slow = load({"n": 10, "p50": 90.0, "p90": 200.0, "p99": 600.0, "fifths_p50": [90.0, 90.0]})
    assert bench_forecast.claims({bench_forecast.MANY: slow})["holds"]
    assert not bench_forecast.claims({bench_forecast.SIX: slow})["holds"]


def test_a_lag_is_what_a_consumer_has_not_committed(config: Settings) -> None:
    ends = bench_forecast.remember(config, Load(("AAPL", "TSLA"), 1.0), NOW_US)
    with closing(bus.consumer(config, group_id=config.topic("forecast"))) as client:
        client.assign(list(ends))
        client.commit({place: OffsetAndMetadata(end, "", -1) for place, end in ends.items()})
    assert bench_forecast.lags(config) == {"sentiment": 0, "forecast": 0, "score": sum(ends.values())}
