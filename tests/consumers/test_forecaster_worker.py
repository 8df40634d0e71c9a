"""The forecaster as it runs, killed on the way: what is on the topics in the end is what one uninterrupted run makes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumers.forecaster import ForecastHandler
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.messages import Features, Forecast
from streams.settings import Settings
from streams.testing import eventually
from tests.models.forecaster.samples import rows

SYMBOLS = ("AAPL", "MSFT", "TSLA", "META")
MINUTES = 240


@contextmanager
def worker(config: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as errors:
        command = [sys.executable, "-m", "deploy", "forecast"]
        process = subprocess.Popen(command, env=os.environ | config.environment(), stdout=errors, stderr=errors)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def market() -> list[Features]:
    by_symbol = [rows(MINUTES, symbol, seed) for seed, symbol in enumerate(SYMBOLS)]
    return [row for minute in zip(*by_symbol, strict=True) for row in minute]


def published(config: Settings) -> list[Record]:
    return list(bus.read_all(config, "forecasts"))


@pytest.mark.slow
def test_a_forecaster_that_is_killed_twice_leaves_what_an_uninterrupted_one_makes(config: Settings, tmp_path: Path) -> None:
    said = [bus.outgoing("features", row.symbol, row) for row in market()]
    expected = ForecastHandler(lambda _at: None).handle([_record(at, one) for at, one in enumerate(said)])
    thirds = [said[at : at + len(said) // 3] for at in range(0, len(said), len(said) // 3)]
    for number, third in enumerate(thirds):
        with bus.producing(config) as client, worker(config, tmp_path / "log"):
            bus.send_all(client, config, third[: len(third) // 2])
            wanted = number * len(third) * 3 + 60  # it is killed in the middle of the work
            eventually(lambda wanted=wanted: len(published(config)) >= wanted, 90, 0.02)  # type: ignore[misc]
            bus.send_all(client, config, third[len(third) // 2 :])
            if number == len(thirds) - 1:
                eventually(lambda: len(published(config)) >= len(said) * 3, 90)
                eventually(lambda: newest_states(config) == _newest(expected), 30)
    found = published(config)
    ids = Counter(codec.decode(Forecast, record.value).forecast_id for record in found)
    assert max(ids.values()) == 1
    assert sorted(record.value or b"" for record in found) == sorted(out.value for out in expected if out.topic == "forecasts")


def _record(at: int, out: Outgoing) -> Record:
    return Record(out.topic, 0, at, out.key, out.value, 0)


def _newest(sent: list[Outgoing]) -> dict[bytes, bytes]:
    return {out.key: out.value for out in sent if out.topic == "calibration"}


def newest_states(config: Settings) -> dict[bytes, bytes]:
    return {record.key or b"": record.value or b"" for record in bus.read_all(config, "calibration")}
