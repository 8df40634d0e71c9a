"""A tape through the whole chain: real broker, real Spark, real transformer, real LSTM, against an independent computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest

from deploy.verify import truth
from streams.clock import MINUTE_US
from streams.messages import DeadLetter, Features, Forecast, Score, Sentiment
from streams.settings import Settings, load
from tests.pipeline import messages, run_tape
from tests.streams import batch, tapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HORIZONS_MIN = (1, 5, 15)
WINDOW = 50


class Run(NamedTuple):
    settings: Settings
    tape: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def run(broker: str, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the real market day of 2012-06-21 once, from a cold start: the first LSTM is trained on the way."""
    home = tmp_path_factory.mktemp("tape")
    config = msgspec.structs.replace(load({}), home=home / "home", broker=broker, topic_prefix="tape.", offline=True)
    tape = shared_data / "tape-2012-06-21"
    return Run(config, tape, run_tape(config, tape, home / "report.json"))


def test_the_report_counts_everything(run: Run) -> None:
    report = run.report
    assert report["ticks_in"] == 46_409
    assert report["headlines_in"] == 53
    assert report["feature_rows_final"] == {"AAPL": 390, "AMZN": 390}
    assert report["forecasts"] == {"baseline": 2 * 390 * 3, "champion": 2 * (390 - WINDOW + 1) * 3}
    assert report["scores"] == report["forecasts_matured"] > 0
    assert report["dead_letters"] == 0


def test_every_final_row_equals_an_independent_computation(run: Run) -> None:
    ticks = pl.read_csv(run.tape / "ticks.csv.gz", schema_overrides={"size": pl.Float64}).with_row_index("seq")
    span = (ticks["event_ts_us"].min(), ticks["event_ts_us"].max())
    sessions = pl.DataFrame([("AAPL", *span), ("AMZN", *span)], schema=tapes.SESSIONS, orient="row")
    said = [(item.symbol, item.event_ts_us, item.score) for item in scored(run)]
    moods = pl.DataFrame(said, schema={"symbol": pl.String, "event_ts_us": pl.Int64, "score": pl.Float64}, orient="row")
    expected = truth.minutes(ticks.select("symbol", "event_ts_us", "seq", "price", "size"), moods, sessions)
    found = pl.DataFrame([msgspec.structs.asdict(row) for row in messages(run.settings, "features", Features) if row.final])
    assert found.height == 780
    assert found.filter("flat")["symbol"].to_list() == ["AMZN"] * 3
    assert found["sent_n"].sum() > 0
    batch.assert_true(found, expected)


def scored(run: Run) -> list[Sentiment]:
    return [message for message in messages(run.settings, "sentiment", Sentiment) if not message.closes]


def test_each_headline_has_a_sentiment_for_each_of_its_symbols(run: Run) -> None:
    rows = pl.read_csv(run.tape / "headlines.csv.gz").select("symbols").to_series().to_list()
    expected = sum(len(set(symbols.split(";"))) for symbols in rows)
    found = scored(run)
    assert len({(message.headline_id, message.symbol) for message in found}) == expected
    assert all(message.score == pytest.approx(message.p_positive - message.p_negative, abs=1e-5) for message in found)


def test_each_final_row_has_one_forecast_per_model_and_horizon(run: Run) -> None:
    finals = [forecast for forecast in messages(run.settings, "forecasts", Forecast) if not forecast.provisional]
    made = {(forecast.role, forecast.symbol, forecast.as_of_ts_us, forecast.horizon_min) for forecast in finals}
    assert len(made) == len(finals)
    rows = sorted((row.symbol, row.minute_ts_us) for row in messages(run.settings, "features", Features) if row.final)
    full = [place for symbol in ("AAPL", "AMZN") for place in [row for row in rows if row[0] == symbol][WINDOW - 1 :]]
    for role, places in (("baseline", rows), ("champion", full)):
        expected = {(role, symbol, minute + MINUTE_US, horizon) for symbol, minute in places for horizon in HORIZONS_MIN}
        assert {forecast for forecast in made if forecast[0] == role} == expected


def test_forecasts_are_probabilistic_and_in_order(run: Run) -> None:
    for forecast in messages(run.settings, "forecasts", Forecast):
        prices = [forecast.quantiles[level] for level in sorted(forecast.quantiles, key=float)]
        assert prices == sorted(prices)
        assert forecast.target_ts_us - forecast.as_of_ts_us == forecast.horizon_min * MINUTE_US


def test_every_matured_forecast_is_scored_once_and_rightly(run: Run) -> None:
    closes = {(row.symbol, row.minute_ts_us): row.close for row in messages(run.settings, "features", Features) if row.final}
    forecasts = {item.forecast_id: item for item in messages(run.settings, "forecasts", Forecast) if not item.provisional}
    scores = list(messages(run.settings, "scores", Score))
    matured = {id_ for id_, item in forecasts.items() if (item.symbol, item.target_ts_us - MINUTE_US) in closes}
    assert {score.forecast_id for score in scores} == matured
    assert len(scores) == len(matured)
    assert all(score.realised_price == closes[score.symbol, score.target_ts_us - MINUTE_US] for score in scores)


def test_nothing_is_dead(run: Run) -> None:
    assert list(messages(run.settings, "dead_letters", DeadLetter)) == []
