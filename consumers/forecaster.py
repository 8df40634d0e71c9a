"""Feature rows to forecasts with calibrated quantiles: the random walk from the first bar on, the LSTM where a window is full.

Neither Kafka (see `worker.py`) nor TensorFlow (see `models/forecaster/onnx_model.py`) is touched by the handler.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import msgspec
import numpy as np

from consumers.base import LARGEST_BATCH
from consumers.history import Arrival, SymbolHistory
from consumers.memory import is_provisional
from models.calibration.matured import Calibrator
from models.follower import ModelFollower
from models.forecaster import onnx_model
from models.forecaster.base import Forecaster, Maker, Predictions, to_messages
from models.forecaster.random_walk import RandomWalk
from models.forecaster.windows import Windows
from streams import bus, codec
from streams.bus import INGEST_HEADER, Outgoing, Record
from streams.clock import MINUTE_US
from streams.errors import BadMessage, ModelError
from streams.messages import Calibration, Features, Forecast
from streams.settings import Settings

log = logging.getLogger(__name__)

ROLE = "forecast"
MODEL = "forecaster"
FEATURED_HEADER = "featured_ts_us"  # when the engine's row reached the broker, wall clock, decimal text


class ForecastHandler:
    """Makes one forecast per final row, horizon and model, and provisional ones from rows that are not final.

    Final rows are forecast in minute order per symbol and one by one, so that a replay repeats their bytes; a late
    revision is not forecast again. Provisional forecasts are made only for each symbol's newest row of those that came
    together, for all symbols at once: when the handler is behind, what is outdated costs nothing.

    Quantiles are calibrated (`models/calibration`): before a final row is forecast, its close decides the forecasts of its
    minute, and their series learn from them. A row that is read again after a crash repeats what is not yet on
    `forecasts`, byte by byte: the states on `calibration` were sent behind the forecasts that they belong to.

    A model that raises, or says what is no number, makes no forecast of that row, whose record becomes a dead letter; the
    baseline goes on.

    Parameters
    ----------
    champion : Callable[[], Forecaster | None]
        Asked once per batch for the model to use; None while there is none.
    """

    name = ROLE
    inputs: tuple[str, ...] = ("features",)
    memory: tuple[str, ...] = ("features", "forecasts", "calibration")
    # a window and room for late revisions; the longest horizon and what was not committed
    lookback_min: Mapping[str, int] = MappingProxyType({"features": 180, "forecasts": 60})
    max_batch = LARGEST_BATCH

    def __init__(self, champion: Callable[[], Forecaster | None]) -> None:
        self._champion = champion
        self._baseline = RandomWalk()
        self.forget()

    def forget(self) -> None:
        """Drop all state."""
        self._histories: defaultdict[str, SymbolHistory] = defaultdict(SymbolHistory)
        self._calibrator = Calibrator()
        # by symbol and minute: ids on `forecasts` whose rows may come again
        self._issued: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))

    def restore(self, record: Record) -> None:
        """Take one past record of `features`, `forecasts` or `calibration`; what is unreadable was reported when it was new."""
        with suppress(BadMessage):
            if record.topic == "features":
                self._restore_row(codec.decode(Features, record.value), record)
            elif record.topic == "forecasts":
                if not is_provisional(record):
                    self._restore_forecast(codec.decode(Forecast, record.value))
            else:
                self._calibrator.restore(codec.decode(Calibration, record.value))

    def _restore_row(self, row: Features, record: Record) -> None:
        if row.final:
            for arrival in self._histories[row.symbol].put(row, record):
                self._issued[row.symbol].pop(arrival.row.minute_ts_us, None)

    def _restore_forecast(self, forecast: Forecast) -> None:
        self._calibrator.remember(forecast)
        minute = forecast.as_of_ts_us - MINUTE_US
        if not self._histories[forecast.symbol].is_done(minute):
            self._issued[forecast.symbol][minute].add(forecast.forecast_id)

    def describe(self) -> str:
        """Return the id of the champion that serves."""
        champion = self._champion()
        return "" if champion is None else champion.model_id

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return the forecasts of `records`, final ones first, dead letters, and the states of calibration that changed."""
        champion = self._champion()
        sent: list[Outgoing] = []
        drafts: dict[str, Arrival] = {}
        states: dict[bytes, Outgoing] = {}
        for record in records:
            try:
                row = codec.decode(Features, record.value)
            except BadMessage as error:
                sent.append(bus.dead_letter(record, self.name, error))
                continue
            history = self._histories[row.symbol]
            if row.final:
                for arrival in history.put(row, record):
                    states |= {state.key: state for state in self._matured(arrival)}
                    sent += self._final(arrival, champion)
            elif history.draft(row):
                drafts[row.symbol] = Arrival(row, record)
        return [*sent, *self._provisional(drafts.values(), champion), *states.values()]

    def _matured(self, arrival: Arrival) -> Iterator[Outgoing]:
        for state in self._calibrator.mature(arrival.row):
            key = f"{state.symbol}:{state.horizon_min}:{state.model_id}"
            # the partition of the symbol, so that whoever is assigned its features restores it
            yield bus.outgoing("calibration", key, state)._replace(partition=arrival.record.partition)

    def _final(self, arrival: Arrival, champion: Forecaster | None) -> Iterator[Outgoing]:
        issued = self._issued[arrival.row.symbol].pop(arrival.row.minute_ts_us, set())
        for forecast, _ in self._forecasts([arrival], champion, provisional=False):
            if isinstance(forecast, ModelError):
                yield _refused(arrival.record, forecast)
            elif forecast.forecast_id not in issued:
                published = self._calibrator.calibrated(forecast)
                self._calibrator.remember(published)
                yield bus.outgoing("forecasts", published.symbol, published, _headers(arrival.record))

    def _provisional(self, drafts: Iterable[Arrival], champion: Forecaster | None) -> Iterator[Outgoing]:
        by_bars: defaultdict[int, list[Arrival]] = defaultdict(list)
        for draft in drafts:
            if self._histories[draft.row.symbol].is_ahead(draft.row):
                by_bars[len(self._window(draft, provisional=True))].append(draft)
        for group in by_bars.values():
            for forecast, arrival in self._forecasts(group, champion, provisional=True):
                if isinstance(forecast, Forecast):  # of what a model cannot answer, the final row tells
                    published = msgspec.structs.replace(self._calibrator.calibrated(forecast), raw_quantiles={})
                    yield bus.outgoing("forecasts", published.symbol, published, _headers(arrival.record))

    def _window(self, arrival: Arrival, *, provisional: bool) -> list[tuple[float, ...]]:
        return self._histories[arrival.row.symbol].window(arrival.row.minute_ts_us, drafts=provisional)

    def _forecasts(
        self, arrivals: Sequence[Arrival], champion: Forecaster | None, *, provisional: bool
    ) -> Iterator[tuple[Forecast | ModelError, Arrival]]:
        """Yield what the models say of `arrivals`, whose windows have the same number of bars, not calibrated yet."""
        windows = Windows.stack([self._window(arrival, provisional=provisional) for arrival in arrivals])
        hashes = windows.hashes()
        for maker in self._makers(windows.bars, champion, provisional=provisional):
            for place, answer in enumerate(_answers(maker.forecaster, windows)):
                arrival = arrivals[place]
                if isinstance(answer, ModelError):
                    yield answer, arrival
                else:
                    messages = to_messages(arrival.row, answer, place, maker, hashes[place])
                    yield from ((message, arrival) for message in messages)

    def _makers(self, bars: int, champion: Forecaster | None, *, provisional: bool) -> list[Maker]:
        makers = [Maker(self._baseline, "baseline", provisional)]
        if champion is not None and bars >= champion.minimum_bars:
            makers.append(Maker(champion, "champion", provisional))
        return makers


def _answers(forecaster: Forecaster, windows: Windows) -> list[Predictions | ModelError]:
    """Return for each window the predictions of all windows, or why this one has none."""
    try:
        predictions = forecaster.forecast(windows)
    except Exception as error:  # the edge to the models' runtimes, whose errors share no base class
        return [ModelError(f"model {forecaster.model_id} failed: {error!r}")] * len(windows)
    unusable = ModelError(f"model {forecaster.model_id} answers with what is no number, or with quantiles out of order")
    return [predictions if usable else unusable for usable in _usable(predictions)]


def _usable(predictions: Predictions) -> list[bool]:
    numbers = [predictions.mean, predictions.prob_up, predictions.quantiles.min(axis=2), predictions.quantiles.max(axis=2)]
    finite = np.isfinite(np.stack(numbers)).all(axis=(0, 2))
    ordered = (np.diff(predictions.quantiles, axis=2) >= 0).all(axis=(1, 2))
    usable: list[bool] = (finite & ordered).tolist()
    return usable


def _refused(record: Record, error: ModelError) -> Outgoing:
    log.warning("no forecast of %s offset %d: %s", record.topic, record.offset, error)
    return bus.dead_letter(record, ROLE, error)


def _headers(record: Record) -> list[tuple[str, bytes]]:
    kept = [(name, value) for name, value in record.headers if name == INGEST_HEADER]
    return [*kept, (FEATURED_HEADER, str(record.timestamp_ms * 1_000).encode())]


def make_follower() -> ModelFollower[Forecaster]:
    """Return a follower of the forecaster's announcements, not started."""
    return ModelFollower(MODEL, onnx_model.load)


def make_handler(settings: Settings, follower: ModelFollower[Forecaster] | None = None) -> ForecastHandler:
    """Return the handler that serves the newest promoted model, those already announced included.

    Parameters
    ----------
    follower : ModelFollower[Forecaster] | None
        One that the caller stops, not started yet; by default one that follows until the process ends.

    Raises
    ------
    EnvironmentFault
        No broker answers.
    """
    bus.ensure_topics(settings)
    follower = follower or make_follower()
    follower.start(settings)
    return ForecastHandler(follower.current)
