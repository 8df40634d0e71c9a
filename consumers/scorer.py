"""The scorer: every forecast against what came, beside a random walk, as soon as its target minute is final.

A plain `Handler`, run by `worker.py`. What a score is worth is computed in `models/evaluation/scoring.py`.
"""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from consumers.base import LARGEST_BATCH
from consumers.memory import is_provisional
from models.drift.monitor import Drift, DriftMonitor
from models.evaluation import scoring
from models.evaluation.rolling import RollingErrors
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US
from streams.errors import BadMessage
from streams.messages import Event, Features, Forecast, Score

log = logging.getLogger(__name__)

GIVE_UP_US = 120 * MINUTE_US  # a target row that is this far behind the newest one does not come any more
# Closes and ids are kept for longer: after an outage or in a replay the two topics are read at different paces.
KEEP_US = 1440 * MINUTE_US

Series = tuple[int, str]
"""Horizon in minutes and model id: with the symbol, what a rolling skill is about."""


Waiting = list[tuple[int, str, Forecast]]
"""A heap of forecasts by as_of_ts_us; ids break ties, so that forecasts are never compared."""


class _Found(NamedTuple):
    """A drift, and the end of the minute that showed it."""

    symbol: str
    event_ts_us: int
    drift: Drift


@dataclass(slots=True)
class _Symbol:
    """What is known of one symbol. Minutes are starts of minutes, microseconds UTC."""

    newest: int = 0
    closes: dict[int, float] = field(default_factory=dict)
    # by target minute: forecast id to whether it is scored
    ids: dict[int, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))
    waiting: dict[Series, Waiting] = field(default_factory=lambda: defaultdict(list))
    errors: dict[Series, RollingErrors] = field(default_factory=lambda: defaultdict(RollingErrors))
    monitor: DriftMonitor = field(default_factory=DriftMonitor)


class ScoreHandler:
    """Scores each non-provisional forecast once, against the close of the minute that ends at its target time.

    A series (symbol, horizon, model) is scored in the order of `as_of_ts_us`: a forecast waits for those before it. One
    whose target row is missing when the newest final row is two hours past it is given up and counted in `unscorable`.
    The first final revision of the target row counts; a later one changes no score. The same forecast again, and one
    whose score is on `scores` already, is ignored. The rolling skill, its tests and the verdict are over the last 500 scores
    of the series, this one included; for a baseline that expects the last price the skill is 0 by construction.

    Drift (`models/drift`) of a symbol's final rows and scores goes to `events`. Its windows are no part of what is restored
    exactly: a start knows the rows of the last hours and the scores that are kept.
    """

    name = "score"
    inputs: tuple[str, ...] = ("forecasts", "features")
    memory: tuple[str, ...] = ("forecasts", "features", "scores")
    # a forecast that has no target row for two hours is given up; of scores 500 a series count, which may be days
    lookback_min: Mapping[str, int] = MappingProxyType({"features": 180, "forecasts": 180})
    max_batch = LARGEST_BATCH
    company_s = 0.05  # a score is of minutes; small batches cost more than the scores in them
    due_s = None

    def __init__(self) -> None:
        self.unscorable = 0
        self.drifts = 0
        self._symbols: dict[str, _Symbol] = defaultdict(_Symbol)
        self._found: list[_Found] = []

    def describe(self) -> str:
        """Return how many drifts were seen, once there is one."""
        return f"{self.drifts} drifts seen" if self.drifts else ""

    def forget(self) -> None:
        """Drop all state."""
        self._symbols.clear()

    def restore(self, record: Record) -> None:
        """Take a past forecast, feature row or score into the state, without output."""
        with suppress(BadMessage):  # whoever met it first wrote its dead letter
            if record.topic == "scores":
                self._remember(codec.decode(Score, record.value))
            elif not is_provisional(record):
                self._take(record)
        self._found.clear()

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return the scores that `records` make possible, and dead letters for what cannot be read."""
        before = self.unscorable
        answers = [answer for record in records for answer in self._answers(record)]
        if self.unscorable > before:
            log.warning("%d forecasts given up: their target minutes have no final row", self.unscorable - before)
        return answers

    def _answers(self, record: Record) -> Iterator[Outgoing]:
        try:
            symbol = self._take(record)
        except BadMessage as error:
            yield bus.dead_letter(record, self.name, error)
            return
        if symbol is not None:
            yield from (bus.outgoing("scores", symbol, score) for score in self._matured(self._symbols[symbol]))
        yield from (self._told(found, record) for found in self._found)
        self._found.clear()

    def _told(self, found: _Found, record: Record) -> Outgoing:
        """Return the event that tells of a drift; all of it but the wall clock comes from event data."""
        self.drifts += 1
        log.info("%s: %s", found.symbol, found.drift)
        event = Event(
            kind="drift",
            role=self.name,
            wall_ts_us=max(0, record.timestamp_ms) * 1_000,
            detail=f"{found.symbol}: {found.drift}",
            counts={"event_ts_us": found.event_ts_us, "n": found.drift.n},
        )
        return bus.outgoing("events", "drift", event)

    def _watch(self, symbol: str, event_ts_us: int, drifts: Sequence[Drift]) -> None:
        self._found += [_Found(symbol, event_ts_us, drift) for drift in drifts]

    def _take(self, record: Record) -> str | None:
        """Take a record in; return its symbol where that may have made a forecast scorable."""
        if record.topic == "forecasts":
            return self._take_forecast(codec.decode(Forecast, record.value))
        return self._take_row(codec.decode(Features, record.value))

    def _take_forecast(self, forecast: Forecast) -> str | None:
        if forecast.provisional:
            return None
        _check(forecast)
        known, minute = self._symbols[forecast.symbol], _minute(forecast)
        if forecast.forecast_id in known.ids[minute]:
            return None
        known.ids[minute][forecast.forecast_id] = False
        turn = (forecast.as_of_ts_us, forecast.forecast_id, forecast)
        heapq.heappush(known.waiting[_series(forecast)], turn)
        return forecast.symbol

    def _take_row(self, row: Features) -> str | None:
        known = self._symbols[row.symbol]
        if not row.final or row.minute_ts_us in known.closes:
            return None
        known.closes[row.minute_ts_us] = row.close
        if row.minute_ts_us > known.newest:
            known.newest = row.minute_ts_us
            _evict(known)
        self._watch(row.symbol, row.minute_ts_us + MINUTE_US, known.monitor.see(row))
        return row.symbol

    def _remember(self, score: Score) -> None:
        known, ids = self._symbols[score.symbol], self._symbols[score.symbol].ids[score.target_ts_us - MINUTE_US]
        if ids.get(score.forecast_id):
            return  # a batch was repeated after a crash
        ids[score.forecast_id] = True
        known.errors[_series(score)].append(score.error, score.naive_error)
        known.monitor.judge(score)
        waiting = known.waiting[_series(score)]
        while waiting and (_is_scored(known, waiting[0][2]) or _is_hopeless(known, waiting[0][2])):
            heapq.heappop(waiting)

    def _matured(self, known: _Symbol) -> Iterator[Score]:
        for waiting in known.waiting.values():
            self._give_up(known, waiting)
            while waiting and (close := known.closes.get(_minute(waiting[0][2]))) is not None:
                forecast = heapq.heappop(waiting)[2]
                if not _is_scored(known, forecast):
                    score = _score(known, forecast, close)
                    self._watch(score.symbol, score.target_ts_us, known.monitor.judge(score))
                    yield score
                self._give_up(known, waiting)

    def _give_up(self, known: _Symbol, waiting: Waiting) -> None:
        while waiting and _is_hopeless(known, waiting[0][2]):
            heapq.heappop(waiting)
            self.unscorable += 1


def _series(message: Forecast | Score) -> Series:
    return message.horizon_min, message.model_id


def _minute(forecast: Forecast) -> int:
    return forecast.target_ts_us - MINUTE_US


def _check(forecast: Forecast) -> None:
    if forecast.target_ts_us % MINUTE_US or forecast.target_ts_us <= forecast.as_of_ts_us:
        raise BadMessage("the target is not a minute's end behind as_of_ts_us", "contract")
    try:
        scoring.check_quantiles(forecast.quantiles)
        if forecast.raw_quantiles:
            scoring.check_quantiles(forecast.raw_quantiles)
    except ValueError as error:
        raise BadMessage(str(error), "contract") from error


def _is_scored(known: _Symbol, forecast: Forecast) -> bool:
    return known.ids[_minute(forecast)].get(forecast.forecast_id, False)


def _is_hopeless(known: _Symbol, forecast: Forecast) -> bool:
    return _minute(forecast) not in known.closes and _minute(forecast) < known.newest - GIVE_UP_US


def _evict(known: _Symbol) -> None:
    oldest = known.newest - KEEP_US
    for minute in [minute for minute in known.closes if minute < oldest]:
        del known.closes[minute]
    for minute in [minute for minute in known.ids if minute < oldest]:
        del known.ids[minute]


def _score(known: _Symbol, forecast: Forecast, realised: float) -> Score:
    """Return the score of `forecast` where the price `realised` came, and note it in `known`."""
    known.ids[_minute(forecast)][forecast.forecast_id] = True
    error = scoring.log_error(forecast.mean, realised)
    naive_error = scoring.log_error(forecast.last_price, realised)
    errors = known.errors[_series(forecast)]
    errors.append(error, naive_error)
    standing = errors.standing(forecast.horizon_min)
    pinball = scoring.mean_pinball(forecast.quantiles, realised)
    return Score(
        forecast_id=forecast.forecast_id,
        symbol=forecast.symbol,
        model_id=forecast.model_id,
        role=forecast.role,
        horizon_min=forecast.horizon_min,
        as_of_ts_us=forecast.as_of_ts_us,
        target_ts_us=forecast.target_ts_us,
        realised_price=realised,
        error=error,
        naive_error=naive_error,
        pinball=pinball,
        crps=scoring.crps(pinball),
        covered=scoring.covered(forecast.quantiles, realised),
        raw_covered=scoring.covered(forecast.raw_quantiles, realised) if forecast.raw_quantiles else {},
        rolling_skill=standing.skill,
        rolling_n=standing.n,
        dm_p_value=standing.dm_p_value,
        pt_p_value=standing.pt_p_value,
        verdict=standing.verdict,
    )
