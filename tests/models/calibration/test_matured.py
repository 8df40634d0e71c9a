"""Which forecast is learned from, when, and how often."""

from __future__ import annotations

from msgspec.structs import replace

from models.calibration.matured import Calibrator
from streams.clock import MINUTE_US
from streams.messages import Features
from tests.models.calibration.test_adaptive import START_US, forecast
from tests.models.forecaster.samples import rows


def row(number: int, close: float = 100.0) -> Features:
    """Return the final row of the minute that ends at the `number`th minute."""
    return replace(rows(1)[0], minute_ts_us=START_US + (number - 1) * MINUTE_US, close=close)


def test_a_forecast_is_learned_from_when_its_target_minute_comes_and_once() -> None:
    one = Calibrator()
    one.remember(forecast(0, horizon_min=5))
    assert [one.mature(row(number)) for number in range(1, 5)] == [[]] * 4
    (state,) = one.mature(row(5, 200.0))
    assert (state.symbol, state.horizon_min, state.model_id, state.n) == ("AAPL", 5, "model", 1)
    assert state.as_of_ts_us == forecast(0, horizon_min=5).target_ts_us
    assert one.mature(row(5, 200.0)) == []


def test_what_a_series_has_learned_is_in_its_next_forecast_and_in_no_other_series() -> None:
    one = Calibrator()
    one.remember(forecast(0))
    one.mature(row(1, 200.0))
    wider = one.calibrated(forecast(1))
    assert wider.quantiles["0.9"] > forecast(1).quantiles["0.9"]
    for other in (forecast(1, horizon_min=5), replace(forecast(1), symbol="MSFT"), replace(forecast(1), model_id="other")):
        assert one.calibrated(other).quantiles["0.9"] == Calibrator().calibrated(other).quantiles["0.9"]


def test_a_series_never_learns_backwards() -> None:
    one = Calibrator()
    for number in range(3):
        one.remember(forecast(number))
    (newest,) = one.mature(row(3))
    assert one.mature(row(1, 200.0)) == one.mature(row(2, 200.0)) == []
    restored = Calibrator()
    restored.restore(newest)
    restored.remember(forecast(0))
    assert restored.mature(row(1, 200.0)) == []


def test_a_restored_state_goes_on_where_it_was() -> None:
    whole, second = Calibrator(), Calibrator()
    for number in range(50):
        whole.remember(forecast(number))
        (state,) = whole.mature(row(number + 1, 100.0 + number % 3))
    second.restore(replace(state, n=1))
    second.restore(state)
    assert second.calibrated(forecast(50)) == whole.calibrated(forecast(50)) != Calibrator().calibrated(forecast(50))


def test_a_gap_is_not_waited_for() -> None:
    one = Calibrator()
    one.remember(forecast(0))
    one.remember(forecast(150))
    assert one.mature(row(140)) == []
    assert one.mature(row(1)) == [], "rows that come so late are not forecast either"
    assert len(one.mature(row(151))) == 1


def test_what_cannot_be_ours_is_passed_over() -> None:
    one = Calibrator()
    one.remember(replace(forecast(0), quantiles={"0.5": 100.0}))
    assert one.mature(row(1)) == []
    one.remember(forecast(1))
    (state,) = one.mature(row(2))
    one.restore(replace(state, widening={"0.5": 1.0}, model_id="stranger"))
    assert one.calibrated(replace(forecast(2), model_id="stranger")).quantiles["0.9"] > 100
