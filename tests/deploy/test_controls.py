"""The honesty check: it holds on markets made for it, and a window that knows the future makes it fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.verify import controls
from deploy.verify.controls import HORIZON_MIN, QUICK, Plan
from models.evaluation.significance import diebold_mariano
from streams import settings
from streams.settings import Settings
from tests.deploy.conftest import Rows

NEWS = "news1"
SMALL = replace(QUICK, seeds=2, epochs=2)


@pytest.fixture
def rows(made: Rows) -> Rows:
    assert made
    return controls.rows(settings.load({}), QUICK)


def leaking(rows: Rows) -> Rows:
    """Return the rows with means that know the close five minutes later."""
    ahead = pl.col("close").shift(-HORIZON_MIN).over("symbol", order_by="minute_ts_us").fill_null(pl.col("ma7")).alias("ma7")
    return {name: market.with_columns(ahead) for name, market in rows.items()}


@pytest.mark.slow
def test_the_markets_are_what_the_claims_are_about(rows: Rows) -> None:
    assert set(rows) == {"walk1", "walk2", "walk3", NEWS}
    for name, market in rows.items():
        symbols, minutes = (controls.NEWS_SYMBOLS, QUICK.news_min) if name == NEWS else (controls.SYMBOLS, QUICK.walk_min)
        assert market.height == pytest.approx(len(symbols) * minutes, abs=30)  # first trades come late
        assert market["symbol"].unique().sort().to_list() == sorted(symbols)
        assert market["sent_n"].max() > 0  # type: ignore[operator]
    returns = rows["walk1"].filter(pl.col("symbol") == "AAPL")["ret"].drop_nulls().to_numpy()
    assert np.std(returns) == pytest.approx(7e-4, rel=0.1)
    assert not rows["walk1"]["close"].head(50).equals(rows["walk2"]["close"].head(50))


@pytest.mark.slow
@pytest.mark.usefixtures("made")
def test_no_skill_on_random_walks_and_some_where_news_move_the_price(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "controls", "--quick", "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["random_walk"]["significant"].keys() == set(controls.MODELS)
    assert (figures["random_walk"]["holds"], figures["news"]["holds"]) == (True, True)
    assert result.exit_code == 0


@pytest.mark.slow
def test_a_window_that_knows_the_future_is_caught(rows: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def leaked(_settings: Settings, _plan: Plan) -> Rows:
        return leaking(rows | {NEWS: rows["walk1"]})  # the claim about news is not what this is about

    monkeypatch.setattr(controls, "rows", leaked)
    monkeypatch.setattr(controls, "QUICK", SMALL)
    result = CliRunner().invoke(app, ["verify", "controls", "--quick", "--json", str(tmp_path / "figures.json")])
    walks = json.loads((tmp_path / "figures.json").read_text())["random_walk"]
    assert (result.exit_code, walks["holds"], walks["significant"]["linear"]) == (1, False, SMALL.seeds)


@pytest.mark.slow
def test_a_market_whose_news_mean_nothing_has_nothing_to_find(rows: Rows) -> None:
    figures = controls.judged(rows | {NEWS: rows["walk1"]}, replace(SMALL, seeds=1), lambda _what: None)
    assert (figures["news"]["holds"], figures["holds"]) == (False, False)


def test_the_level_of_the_test_is_what_it_says() -> None:
    """A forecast that is as good as the naive one is found better in 5 % of the cases, and a better one is found."""
    chance = np.random.default_rng(1)
    losses, others = chance.chisquare(1, (2, 400, 300))
    found = [controls.better(diebold_mariano(ours, theirs, HORIZON_MIN)) for ours, theirs in zip(losses, others, strict=True)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert controls.better(diebold_mariano(0.5 * losses[0], others[0], HORIZON_MIN)) < 0.001
