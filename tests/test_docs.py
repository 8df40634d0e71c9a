"""The README's code runs as it stands."""

from __future__ import annotations

import msgspec
import pytest
from pytest_examples import CodeExample, EvalExample, find_examples

from streams import bus
from streams.messages import Forecast
from streams.settings import Settings


@pytest.fixture
def forecasts(config: Settings) -> str:
    """Return the address of a broker whose `forecasts` hold a forecast, without a namespace, as a reader expects it."""
    plain = msgspec.structs.replace(config, topic_prefix="")
    bus.ensure_topics(plain)
    forecast = Forecast(
        forecast_id="AAPL:0:1:m",
        symbol="AAPL",
        as_of_ts_us=0,
        horizon_min=1,
        target_ts_us=60_000_000,
        last_price=100,
        mean=100,
        quantiles={"0.1": 99, "0.9": 101},
        prob_up=0.5,
        model_id="m",
        role="baseline",
        provisional=False,
        features_hash="",
    )
    with bus.producing(plain) as client:
        bus.send_all(client, plain, [bus.outgoing("forecasts", "AAPL", forecast)])
    return plain.broker


@pytest.mark.parametrize("example", list(find_examples("README.md")), ids=str)
def test_the_readme_runs(
    example: CodeExample, eval_example: EvalExample, forecasts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKCAST_BROKER", forecasts)
    eval_example.run(example)
