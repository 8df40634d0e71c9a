"""What several tests of `deploy` share, because it takes a Spark session and a minute to make."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from deploy.verify import controls, lookahead, markets
from producers.base import Event
from streams import settings
from streams.clock import MINUTE_US
from streams.settings import Settings
from tests.pipeline import logs, tickcast

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
MINUTES = 30
SYMBOLS = ("AAPL", "AMZN")
TEXTS = ("Apple profit rises as sales beat estimates", "Amazon warns of weak demand", "Apple and Amazon shares climb")

Rows = dict[str, pl.DataFrame]
LOOKAHEAD_SEED = 1


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Return the feature rows of the markets of both honesty checks, in their quick form, made in one batch of Spark."""
    own = settings.load({}, home=tmp_path_factory.mktemp("simulated"), sentiment="minilm", offline=True)
    return markets.rows(own, controls.happenings(controls.QUICK) | lookahead.happenings(lookahead.QUICK, LOOKAHEAD_SEED))


@pytest.fixture
def made(simulated: Rows, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Have the checks take the rows of `simulated` where they would make them again; return those."""

    def taken(_settings: Settings, happenings: Mapping[str, Iterable[Event]]) -> Rows:
        return {name: simulated[name] for name in happenings}

    monkeypatch.setattr(markets, "rows", taken)
    return simulated


def rows(chance: random.Random) -> list[tuple[int, str, float | None, float]]:
    """Return the trades of half an hour in order, behind them one without a price and one of 20 minutes ago."""
    moments = sorted(T0 + chance.randrange(MINUTES * MINUTE_US) for _ in range(MINUTES * 12))
    made: list[tuple[int, str, float | None, float]] = [
        (at_us, SYMBOLS[number % 2], 100 + chance.randrange(-50, 50) / 100, 1.0 + number % 7)
        for number, at_us in enumerate(moments)
    ]
    end_us = T0 + MINUTES * MINUTE_US
    return [
        *made,
        (end_us - 2, "AAPL", None, 1.0),
        (end_us - 20 * MINUTE_US, "AMZN", 100.0, 1.0),
        (end_us - 1, "AAPL", 100.0, 1.0),
    ]


@pytest.fixture(scope="session")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tape")
    schema = {"event_ts_us": pl.Int64, "symbol": pl.String, "price": pl.Float64, "size": pl.Float64}
    pl.DataFrame(rows(random.Random(3)), schema=schema, orient="row").write_parquet(folder / "ticks.parquet")  # noqa: S311
    news = [(T0 + (3 + 7 * at) * MINUTE_US, "AAPL;AMZN" if at == 2 else SYMBOLS[at % 2], text) for at, text in enumerate(TEXTS)]
    pl.DataFrame(news, schema=["event_ts_us", "symbols", "text"], orient="row").write_csv(folder / "headlines.csv")
    return folder


class Ran:
    """A tape that was replayed once, and recorded."""

    def __init__(self, own: Settings, report: dict[str, Any], folder: Path, written: set[str]) -> None:
        self.own = own
        self.report = report
        self.folder = folder
        self.written = written
        self.namespaced = msgspec.structs.replace(own, topic_prefix=report["namespace"])


@pytest.fixture(scope="session")
def ran(broker: str, tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = tmp_path_factory.mktemp("replay")
    own = msgspec.structs.replace(settings.load({}), home=home / "home", broker=broker, sentiment="minilm", offline=True)
    done = tickcast(own, "replay", str(tape), "--json", str(home / "replay.json"))
    assert done.returncode == 0, done.stdout + done.stderr + "".join(logs_of(own))
    report = json.loads((home / "replay.json").read_text())
    folders = {str(path.relative_to(own.home)) for path in (*own.home.glob("*"), *own.home.glob("*/*"))}
    done = tickcast(own, "record", "--namespace", report["namespace"], "--out", str(home / "recording"))
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(own, report, home / "recording", folders)


def logs_of(own: Settings) -> list[str]:
    prefixes = [folder.name + "." for folder in (own.home / "runs").glob("*")]
    return [logs(msgspec.structs.replace(own, topic_prefix=prefix)) for prefix in prefixes]
