"""Messages as the pipeline writes them, for the tests of the console."""

from __future__ import annotations

import math
from statistics import fmean

from streams import bus
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US, wall_ts_us
from streams.messages import Event, Features, Forecast, Headline, Message, Role, Score, Sentiment, State

START_US = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
SPREADS = {"0.025": -1.96, "0.1": -1.2816, "0.25": -0.6745, "0.5": 0.0, "0.75": 0.6745, "0.9": 1.2816, "0.975": 1.96}


def walk(minute: int, base: float = 580.0) -> float:
    """Return the close of `minute`: smooth, but not a line."""
    return base * (1 + 0.002 * math.sin(minute / 9) + 0.0006 * math.sin(minute * 1.7))


def bar(
    minute: int, close: float | None = None, *, symbol: str = "AAPL", revision: int = 9, final: bool = True, n_ticks: int = 9
) -> Features:
    """Return the bar `minute` minutes after :data:`START_US`."""
    opening = walk(minute - 1)
    closing = walk(minute) if close is None else close
    return Features(
        minute_ts_us=START_US + minute * MINUTE_US,
        symbol=symbol,
        open=opening,
        high=max(opening, closing) * 1.0002,
        low=min(opening, closing) * 0.9998,
        close=closing,
        volume=1_000.0 + 200 * (minute % 7),
        n_ticks=n_ticks,
        ma7=fmean(walk(minute - back) for back in range(7)),
        ma21=fmean(walk(minute - back) for back in range(21)),
        bars7=7,
        bars21=21,
        last_event_ts_us=START_US + minute * MINUTE_US + 59_000_000,
        revision=revision,
        final=final,
        flat=False,
    )


def forecast(
    minute: int,
    horizon_min: int = 5,
    *,
    symbol: str = "AAPL",
    role: Role = "champion",
    provisional: bool = False,
    model_id: str = "lstm-1",
) -> Forecast:
    """Return the forecast made when the bar `minute` ended."""
    last = walk(minute)
    spread = 0.0006 * math.sqrt(horizon_min)
    as_of_ts_us = START_US + (minute + 1) * MINUTE_US
    return Forecast(
        forecast_id=f"{symbol}-{as_of_ts_us}-{horizon_min}-{model_id}-{provisional}",
        symbol=symbol,
        as_of_ts_us=as_of_ts_us,
        horizon_min=horizon_min,
        target_ts_us=as_of_ts_us + horizon_min * MINUTE_US,
        last_price=last,
        mean=last * (1 + 0.00008 * horizon_min),
        quantiles={level: last * (1 + 0.00008 * horizon_min + z * spread) for level, z in SPREADS.items()},
        prob_up=0.54,
        model_id=model_id,
        role=role,
        provisional=provisional,
        features_hash="f",
    )


def score(minute: int, *, symbol: str = "AAPL", held: bool = True, rolling_skill: float = 0.003, rolling_n: int = 240) -> Score:
    """Return the score of the five-minute forecast of `minute`."""
    made = forecast(minute, symbol=symbol)
    return Score(
        forecast_id=made.forecast_id,
        symbol=symbol,
        model_id=made.model_id,
        role=made.role,
        horizon_min=5,
        as_of_ts_us=made.as_of_ts_us,
        target_ts_us=made.target_ts_us,
        realised_price=walk(minute + 5),
        error=0.001,
        naive_error=0.001,
        pinball=0.0003,
        crps=0.0006,
        covered={"50": held and minute % 2 == 0, "80": held, "95": True},
        rolling_skill=rolling_skill,
        rolling_n=rolling_n,
        dm_p_value=0.31,
        verdict="no demonstrated edge",
    )


def headline(number: int, text: str = "Apple raises its outlook", *, symbol: str = "AAPL", url: str = "") -> Headline:
    """Return the headline `number` minutes after the start."""
    at_us = START_US + number * MINUTE_US
    return Headline(
        event_ts_us=at_us, clock_ts_us=at_us, id=f"h{number}", symbols=[symbol], text=text, source="test wire", url=url
    )


def sentiment(number: int, value: float = 0.62, *, symbol: str = "AAPL") -> Sentiment:
    """Return what the model made of headline `number`."""
    positive, negative = max(0.0, value), max(0.0, -value)
    return Sentiment(
        event_ts_us=START_US,
        clock_ts_us=START_US,
        headline_id=f"h{number}",
        symbol=symbol,
        model_id="minilm-head-1",
        p_positive=positive,
        p_negative=negative,
        p_neutral=1 - positive - negative,
        score=value,
    )


def status(role: str, state: State = "ready", detail: str = "", wall_us: int | None = None, **counts: int) -> Event:
    """Return the status of `role`, said now unless `wall_us` says when."""
    at_us = wall_ts_us() if wall_us is None else wall_us
    return Event(kind="status", role=role, wall_ts_us=at_us, state=state, detail=detail, counts=counts)


TOPIC: dict[type[Message], str] = {
    Features: "features",
    Forecast: "forecasts",
    Score: "scores",
    Headline: "headlines",
    Sentiment: "sentiment",
    Event: "events",
}


def sent(message: Message, ingest_us: int | None = None) -> Outgoing:
    """Return the record that carries `message`, its tick having come at `ingest_us`, wall clock."""
    headers = [] if ingest_us is None else [(bus.INGEST_HEADER, str(ingest_us).encode())]
    return bus.outgoing(TOPIC[type(message)], getattr(message, "symbol", "key"), message, headers)


def received(message: Message, timestamp_ms: int = 0, ingest_us: int | None = None) -> Record:
    """Return `message` as a reader gets it."""
    record = sent(message, ingest_us)
    return Record(record.topic, 0, 0, record.key, record.value, timestamp_ms, record.headers)
