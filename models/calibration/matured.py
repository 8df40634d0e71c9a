"""Which published forecasts a minute's close decides, and what is learned from them, in the order of event time.

A series learns from each of its final forecasts once, when the final row of the target minute has its turn (minute order, see
`consumers/history.py`), and never from one whose target is not behind the newest that it learned from. So whichever rows are
read again, nothing is learned twice, and a restart goes on from the states and the published forecasts.
"""

from __future__ import annotations

from collections import defaultdict

from models.calibration import adaptive
from models.forecaster.base import QUANTILES
from streams.clock import MINUTE_US
from streams.messages import Calibration, Features, Forecast

Series = tuple[str, int, str]
"""Symbol, horizon in minutes, model id."""

KEPT_US = 100 * MINUTE_US  # a row that comes later than this behind the newest is not forecast, and decides nothing


class Calibrator:
    """The calibration of all series of one process."""

    def __init__(self) -> None:
        self._states: dict[Series, Calibration] = {}
        # by symbol and target minute
        self._pending: defaultdict[str, dict[int, list[Forecast]]] = defaultdict(dict)

    def restore(self, state: Calibration) -> None:
        """Take a state of the past; the last one of a series counts. One that cannot be ours is passed over."""
        if adaptive.fits(state):
            self._states[state.symbol, state.horizon_min, state.model_id] = state

    def remember(self, forecast: Forecast) -> None:
        """Take a final forecast as it was published: it will be learned from. One with other quantiles is passed over."""
        if forecast.quantiles.keys() != set(QUANTILES):
            return
        minute = forecast.target_ts_us - MINUTE_US
        self._pending[forecast.symbol].setdefault(minute, []).append(forecast)

    def calibrated(self, forecast: Forecast) -> Forecast:
        """Return `forecast`, as a model made it, with its series' quantiles."""
        return adaptive.calibrated(forecast, self._state(forecast))

    def mature(self, row: Features) -> list[Calibration]:
        """Learn from what the close of `row` decides; return the states that changed."""
        pending = self._pending[row.symbol]
        for minute in [minute for minute in pending if minute < row.minute_ts_us - KEPT_US]:
            del pending[minute]
        due = (forecast for forecast in pending.pop(row.minute_ts_us, ()) if self._is_news(forecast))
        states = [adaptive.learned(self._state(forecast), forecast, row.close) for forecast in due]
        for state in states:
            self.restore(state)
        return states

    def _is_news(self, forecast: Forecast) -> bool:
        return forecast.target_ts_us > self._state(forecast).as_of_ts_us

    def _state(self, forecast: Forecast) -> Calibration:
        series = (forecast.symbol, forecast.horizon_min, forecast.model_id)
        return self._states.get(series) or adaptive.begin(*series)
