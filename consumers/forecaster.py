"""Feature rows to forecasts with calibrated quantiles: the random walk from the first bar on, the LSTM where a window is full.

Neither Kafka (see `worker.py`) nor TensorFlow (see `models/forecaster/onnx_model.py`) is touched by the handler.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from consumers.history import SymbolHistory
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
from streams.messages import MAX_TS_US, Calibration, Features, Forecast
from streams.settings import Settings

log = logging.getLogger(__name__)

ROLE = "forecast"
MODEL = "forecaster"
ROUND = 48  # windows of provisional forecasts at once: two runs of the network, so that a final row waits 20 ms at most
# Of all symbols together: each costs the broker, the scorer and the page more than it costs to make.
PROVISIONAL_PER_S = 150.0
CREDIT_S = 0.3  # of rest that a quiet time saves up, so that few symbols never rest
FLEETING_S = 0.25  # wall clock: a minute that passes faster (a tape at full speed, a backlog) is over before anybody reads of it
# Records: a minute ends for all symbols at once, and their first forecasts shall not wait for the last.
MOST_AT_ONCE = 100
COMPANY_S = 0.01  # that a final row may wait; under load a batch for each row costs more than the forecasts in it
FEATURED_HEADER = "featured_ts_us"  # when the engine's row reached the broker, wall clock, decimal text


class _Arrival(NamedTuple):
    """A row to forecast, and the record that brought it."""

    row: Features
    record: Record


class _Asked(NamedTuple):
    """A row to forecast, and the packed minutes that end with it."""

    arrival: _Arrival
    window: list[bytes]


class ForecastHandler:
    """Makes one forecast per final row, horizon and model, and provisional ones from rows that are not final.

    Final rows are forecast in minute order per symbol and one by one, so that a replay repeats their bytes; a late
    revision is not forecast again. Provisional forecasts are the champion's, or the baseline's where it has no answer. They
    are made of each symbol's newest row only, at most :data:`ROUND` at once and :data:`PROVISIONAL_PER_S`, the symbols that
    wait longest first: what is outdated costs nothing, and final rows never wait for many of them. Of minutes that pass in less
    than :data:`FLEETING_S` there are none.

    Quantiles are calibrated (`models/calibration`): before a final row is forecast, its close decides the forecasts of its
    minute, and their series learn from them. A row that is read again after a crash repeats what is not yet on
    `forecasts`, byte by byte: the states on `calibration` were sent behind the forecasts that they belong to.

    A model that raises, or says what is no number, makes no forecast of that row, whose record becomes a dead letter; the
    baseline goes on.

    Parameters
    ----------
    champion : Callable[[int], Forecaster | None]
        Asked for the model of minutes that end at a time, microseconds UTC; None while there is none.
    challenger : Callable[[], Forecaster | None]
        Asked likewise for a model that forecasts final rows beside the champion, whose forecasts nobody should act on.
    clock : Callable[[], float]
        Seconds, for the pace of provisional forecasts.
    """

    name = ROLE
    inputs: tuple[str, ...] = ("features",)
    memory: tuple[str, ...] = ("features", "forecasts", "calibration")
    # a window and room for late revisions; the longest horizon and what was not committed
    lookback_min: Mapping[str, int] = MappingProxyType({"features": 180, "forecasts": 60})
    max_batch = MOST_AT_ONCE

    def __init__(
        self,
        champion: Callable[[int], Forecaster | None],
        clock: Callable[[], float] = time.monotonic,
        challenger: Callable[[], Forecaster | None] = lambda: None,
    ) -> None:
        self._champion = champion
        self._challenger = challenger
        self._clock = clock
        self._baseline = RandomWalk()
        self.forget()

    def forget(self) -> None:
        """Drop all state."""
        self._histories: defaultdict[str, SymbolHistory] = defaultdict(SymbolHistory)
        self._calibrator = Calibrator()
        self._drafts: dict[str, _Arrival] = {}  # newest rows that are not final, by symbol, the longest waiting first
        self._rest_until_s = 0.0
        # the newest minute, how long the one before it took, and when it began
        self._minute_us, self._minute_s, self._since_s = 0, math.inf, -math.inf
        # by symbol and minute: ids on `forecasts` whose rows may come again
        self._issued: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))

    def restore(self, record: Record) -> None:
        """Take one past record of `features`, `forecasts` or `calibration`; what is unreadable was reported when it was new."""
        with suppress(BadMessage):
            if record.topic == "features":
                self._restore_row(codec.decode(Features, record.value))
            elif record.topic == "forecasts":
                if not is_provisional(record):
                    self._restore_forecast(codec.decode(Forecast, record.value))
            else:
                self._calibrator.restore(codec.decode(Calibration, record.value))

    def _restore_row(self, row: Features) -> None:
        if row.final and self._histories[row.symbol].put(row):
            self._issued[row.symbol].pop(row.minute_ts_us, None)

    def _restore_forecast(self, forecast: Forecast) -> None:
        self._calibrator.remember(forecast)
        minute = forecast.as_of_ts_us - MINUTE_US
        if not self._histories[forecast.symbol].is_done(minute):
            self._issued[forecast.symbol][minute].add(forecast.forecast_id)

    def describe(self) -> str:
        """Return the id of the champion that serves."""
        champion = self._champion(MAX_TS_US)
        return "" if champion is None else champion.model_id

    @property
    def due_s(self) -> float | None:
        """In how many seconds provisional forecasts may go on; None where no row waits."""
        return max(0.0, self._rest_until_s - self._clock()) if self._drafts else None

    @property
    def company_s(self) -> float:
        """How long a batch may wait: of what comes while provisional forecasts rest, only final rows could be answered."""
        return min(max(0.0, self._rest_until_s - self._clock()), COMPANY_S)

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return the forecasts of `records`, final ones first, dead letters, and the states of calibration that changed."""
        sent: list[Outgoing] = []
        states: dict[bytes, Outgoing] = {}
        for record in records:
            try:
                row = codec.decode(Features, record.value)
            except BadMessage as error:
                sent.append(bus.dead_letter(record, self.name, error))
                continue
            self._note_minute(row.minute_ts_us)
            history, arrival = self._histories[row.symbol], _Arrival(row, record)
            if row.final:
                if history.put(row):
                    states |= {state.key: state for state in self._matured(arrival)}
                    sent += self._final(arrival)
            elif history.draft(row):
                self._drafts[row.symbol] = arrival
        return [*sent, *self._provisional(), *states.values()]

    def _note_minute(self, minute_us: int) -> None:
        if minute_us > self._minute_us:
            now_s = self._clock()
            self._minute_us, self._minute_s, self._since_s = minute_us, now_s - self._since_s, now_s

    def _matured(self, arrival: _Arrival) -> Iterator[Outgoing]:
        for state in self._calibrator.mature(arrival.row):
            key = f"{state.symbol}:{state.horizon_min}:{state.model_id}"
            # the partition of the symbol, so that whoever is assigned its features restores it
            yield bus.outgoing("calibration", key, state)._replace(partition=arrival.record.partition)

    def _final(self, arrival: _Arrival) -> Iterator[Outgoing]:
        champion = self._champion(_end_us(arrival))
        issued = self._issued[arrival.row.symbol].pop(arrival.row.minute_ts_us, set())
        asked = _Asked(arrival, self._histories[arrival.row.symbol].window(arrival.row.minute_ts_us))
        bars = len(asked.window)
        for forecast, _ in _forecasts([asked], self._makers(bars, champion, provisional=False) + self._shadow(bars, champion)):
            if isinstance(forecast, ModelError):
                yield _refused(arrival.record, forecast)
            elif forecast.forecast_id not in issued:
                published = self._calibrator.calibrated(forecast)
                self._calibrator.remember(published)
                yield bus.outgoing("forecasts", published.symbol, published, _headers(arrival.record))

    def _provisional(self) -> Iterator[Outgoing]:
        champions: dict[str, Forecaster | None] = {}
        groups: defaultdict[tuple[int, str], list[_Asked]] = defaultdict(list)
        for draft in self._round():
            window = self._histories[draft.row.symbol].window(draft.row.minute_ts_us, drafts=True)
            champion = self._champion(_end_us(draft))
            model_id = "" if champion is None else champion.model_id
            champions[model_id] = champion
            groups[len(window), model_id].append(_Asked(draft, window))
        for (bars, model_id), group in groups.items():
            *_, leading = self._makers(bars, champions[model_id], provisional=True)
            refused: list[_Asked] = []
            for forecast, asked in _forecasts(group, [leading]):
                if isinstance(forecast, ModelError):  # of which the final row tells
                    refused.append(asked)
                else:
                    yield self._drafted(forecast, asked)
            fallen_back = _forecasts(refused, self._makers(bars, None, provisional=True)) if refused else ()
            yield from (self._drafted(forecast, asked) for forecast, asked in fallen_back if isinstance(forecast, Forecast))

    def _round(self) -> list[_Arrival]:
        """Return the drafts whose turn it is."""
        now_s = self._clock()
        if not self._drafts or now_s < self._rest_until_s:
            return []
        if max(self._minute_s, now_s - self._since_s) < FLEETING_S:
            self._rest_until_s = self._since_s + FLEETING_S
            return []
        chosen = [self._drafts.pop(symbol) for symbol in list(islice(self._drafts, ROUND))]
        ahead = [draft for draft in chosen if self._histories[draft.row.symbol].is_ahead(draft.row)]
        self._rest_until_s = max(self._rest_until_s, now_s - CREDIT_S) + len(ahead) / PROVISIONAL_PER_S
        return ahead

    def _drafted(self, forecast: Forecast, asked: _Asked) -> Outgoing:
        published = msgspec.structs.replace(self._calibrator.calibrated(forecast), raw_quantiles={})
        return bus.outgoing("forecasts", published.symbol, published, _headers(asked.arrival.record))

    def _makers(self, bars: int, champion: Forecaster | None, *, provisional: bool) -> list[Maker]:
        makers = [Maker(self._baseline, "baseline", provisional)]
        if champion is not None and bars >= champion.minimum_bars:
            makers.append(Maker(champion, "champion", provisional))
        return makers

    def _shadow(self, bars: int, champion: Forecaster | None) -> list[Maker]:
        """Return the challenger where there is one that is not the champion: no model forecasts a row twice."""
        challenger = self._challenger()
        if challenger is None or bars < challenger.minimum_bars:
            return []
        if champion is not None and challenger.model_id == champion.model_id:
            return []
        return [Maker(challenger, "challenger", provisional=False)]


def _end_us(arrival: _Arrival) -> int:
    return arrival.row.minute_ts_us + MINUTE_US


def _forecasts(asked: Sequence[_Asked], makers: Sequence[Maker]) -> Iterator[tuple[Forecast | ModelError, _Asked]]:
    """Yield what `makers` say of windows that have the same number of bars, not calibrated yet."""
    windows = Windows.unpack([one.window for one in asked])
    hashes = windows.hashes()
    for maker in makers:
        for place, answer in enumerate(_answers(maker.forecaster, windows)):
            one = asked[place]
            if isinstance(answer, ModelError):
                yield answer, one
            else:
                messages = to_messages(one.arrival.row, answer, place, maker, hashes[place])
                yield from ((message, one) for message in messages)


def _answers(forecaster: Forecaster, windows: Windows) -> list[Predictions | ModelError]:
    """Return for each window the predictions of all windows, or why this one has none."""
    try:
        predictions = forecaster.forecast(windows)
    except Exception as error:  # the edge to the models' runtimes, whose errors share no base class
        return [ModelError(f"model {forecaster.model_id} failed: {error!r}")] * len(windows)
    unusable = ModelError(f"model {forecaster.model_id} answers with what is no number, or with quantiles out of order")
    return [predictions if usable else unusable for usable in _usable(predictions)]


def _usable(predictions: Predictions) -> list[bool]:
    numbers = np.concatenate([predictions.quantiles, predictions.mean[..., None], predictions.prob_up[..., None]], axis=2)
    finite = np.isfinite(numbers).all(axis=(1, 2))
    ordered = (predictions.quantiles[..., 1:] >= predictions.quantiles[..., :-1]).all(axis=(1, 2))
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
    return ForecastHandler(follower.current, challenger=follower.challenger)
