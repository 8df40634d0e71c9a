"""The monthly networks fitted again: judged on what nobody has seen, stored, announced, and served without a restart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from deploy.local.broker import free_port
from models import registry
from models.outlook import pretrained
from models.outlook.pretrained import NAME, Held
from models.studies import monthly_data, monthly_refit
from models.studies.base import Options
from models.studies.monthly_data import STOCKS, Samples
from streams import bus, codec
from streams.errors import SourceError
from streams.messages import ModelAnnouncement
from streams.settings import Settings
from streams.testing import eventually
from tests.models.outlook.samples import about, model_file
from tests.models.studies import files
from tests.models.studies.test_monthly import inputs, made

DAYS = 4_700  # weekdays up to the end of 2024: from 2006 on


def rising(folder: Path, days: int = DAYS, before: timedelta = timedelta()) -> Path:
    """Write files of stocks that rise by 8 % a month, as those that are shipped have never seen, and end `before` 2025."""
    for seed, symbol in enumerate(STOCKS):
        bars = files.bars(days, seed)
        rise = np.exp(0.0037 * np.arange(len(bars)))
        rows = [
            (day - before, *(at * price for price in prices), volume)
            for at, (day, *prices, volume) in zip(rise, bars, strict=True)
        ]
        files.stock(folder, symbol, rows)
    files.headlines(folder)
    return folder


@pytest.fixture
def own(config: Settings, sentiment_cache: Path) -> Settings:
    return msgspec.structs.replace(config, cache=sentiment_cache, sentiment="minilm", console_port=free_port())


def command(own: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "deploy", *arguments], env=os.environ | own.environment())


def retrain(own: Settings, folder: Path) -> subprocess.Popen[bytes]:
    return command(own, "retrain", "--model", "monthly", "--data", str(folder), "--epochs", "1")


@contextmanager
def console(own: Settings, *arguments: str) -> Iterator[httpx.Client]:
    process = command(own, "console", *arguments)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{own.console_port}", timeout=60) as client:
            eventually(lambda: process.poll() is None and answers(client), 120, 0.5)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def asked(client: httpx.Client) -> str:
    """Return by which networks the outlook of a stock is made."""
    answer = client.post("/v1/outlook/AAPL")
    return str(answer.json()["model_id"]) if answer.status_code == 200 else ""


@pytest.mark.slow
def test_networks_that_know_a_rising_market_take_over_while_the_page_is_up(own: Settings, tmp_path: Path) -> None:
    folder = rising(tmp_path)
    shipped = pretrained.read().model_id
    with console(own, "--data", str(folder)) as client:
        assert eventually(lambda: asked(client), 120, 0.5) == shipped
        killed = retrain(own, folder)
        eventually(lambda: list(own.home.glob("training/monthly/*/*.npz")), 120, 0.1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert retrain(own, folder).wait(300) == 0
        *_, told = (codec.decode(ModelAnnouncement, record.value) for record in bus.read_all(own, "models"))
        assert (told.name, told.promoted, told.metrics["unseen_months"]) == (NAME, True, 24)
        assert told.metrics["rmse"] < told.metrics["champion_rmse"]
        assert told.reason.endswith("no demonstrated edge")  # what rises on average is no skill
        eventually(lambda: asked(client) == told.model_id, 60, 0.5)
    stored = registry.find(own, NAME, told.model_id)
    assert pretrained.read(stored.served).about.trained_until == "2022-12-31"
    assert len(pretrained.read(stored.served).weights) == 5
    assert not (own.home / "training" / "monthly").exists()
    again = monthly_refit.refit(Options(own, folder, seeds=5), seed=7, epochs=1)
    assert (again.model_id, again.promoted, again.reason) == (told.model_id, True, told.reason)
    assert registry.find(own, NAME, told.model_id).card == stored.card


def test_files_that_are_too_short_or_missing_leave_what_serves_as_it_is(own: Settings, tmp_path: Path) -> None:
    options = Options(own, tmp_path)
    with pytest.raises(SourceError, match="no daily prices of AAPL"):
        monthly_refit.refit(options, seed=1)
    rising(tmp_path, 900, timedelta(days=5_000))  # up to 2011
    with pytest.raises(SourceError, match="the files end too early"):
        monthly_refit.refit(options, seed=1)
    assert not registry.stored(own, NAME)


def says(folder: Path, expected: float, trained_until: str = "2016-08-31") -> Held:
    """Return networks that expect the same of every month."""
    folder.mkdir()
    held = pretrained.read(model_file(folder, networks=1))
    weights = [{name: np.zeros_like(values) for name, values in one.items()} for one in held.weights]
    told = about()
    scaler = told.scaler._replace(target_shift=expected)
    return Held(f"says-{expected}", msgspec.structs.replace(told, scaler=scaler, trained_until=trained_until), weights)


def unseen(rise: float, months: int = 30) -> Samples:
    """Return months after all that the networks have seen."""
    found = made(months, 0.0)
    later = np.timedelta64(10 * 365, "D")
    return replace(found, as_of=found.as_of + later, until=found.until + later, changes=found.changes + rise)


@pytest.mark.parametrize(
    ("challenger", "champion", "changes", "promoted", "said"),
    [
        (0.04, 0.0, {}, True, "better than the champion .* better than no change"),
        (0.0, 0.04, {}, False, "worse than the champion"),
        (0.04, 0.04, {}, False, "not demonstrably different from the champion"),
        (0.12, 0.2, {}, False, "better than the champion .*, but worse than no change"),
        (0.04, 0.0, {"residuals": dict.fromkeys(about().residuals, 0.0)}, False, "its 80 % intervals hold 0.0%"),
    ],
)
def test_the_rule_of_the_forecasters_decides(  # noqa: PLR0917 - one table
    tmp_path: Path, challenger: float, champion: float, changes: dict[str, Any], promoted: bool, said: str
) -> None:
    held = says(tmp_path / "challenger", challenger)
    held = msgspec.structs.replace(held, about=msgspec.structs.replace(held.about, **changes))
    decision = monthly_refit.decide(held, says(tmp_path / "champion", champion), unseen(0.04))
    assert decision.promoted == promoted
    assert re.search(said, decision.reason)


def test_months_that_the_champion_has_learnt_from_do_not_judge(tmp_path: Path) -> None:
    later = unseen(0.04)
    known = str(np.unique(later.until)[-11])
    decision = monthly_refit.decide(says(tmp_path / "a", 0.04), says(tmp_path / "b", 0.0, known), later)
    assert not decision.promoted
    assert decision.reason == "not promoted: 10 months that neither model has seen are too few for a test; no demonstrated edge"


def test_a_month_counts_once_all_stocks_have_it_whole() -> None:
    read = inputs()
    whole = monthly_data.newest_end(read)
    days = {symbol: prices.day(-1) for symbol, prices in read.prices.items()}
    assert {str(day) for day in days.values()} == {"2016-12-31"}
    assert str(whole) == "2016-11-30"
    short = read._replace(prices=read.prices | {"TSLA": read.prices["TSLA"].until(days["TSLA"] - timedelta(days=1))})
    assert str(monthly_data.newest_end(short)) == "2016-10-31"
