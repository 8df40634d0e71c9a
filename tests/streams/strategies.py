"""Messages for the tests of the contract: one sample of each type, and hypothesis strategies derived from the structs."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from streams import messages
from streams.messages import Message

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
INT64 = 2**63 - 1

SAMPLES: dict[type[Message], Message] = {
    type(sample): sample
    for sample in (
        messages.Tick(event_ts_us=T0 + 5, clock_ts_us=T0 + 6, symbol="AAPL", price=585.33, size=100.0, source="tape", seq=7),
        messages.Headline(event_ts_us=T0, clock_ts_us=T0, id="h1", symbols=["AAPL"], text="Apple rises", source="tape"),
        messages.Sentiment(
            event_ts_us=T0,
            clock_ts_us=T0,
            headline_id="h1",
            symbol="AAPL",
            model_id="finbert-1",
            p_positive=0.7,
            p_negative=0.1,
            p_neutral=0.2,
            score=0.6,
        ),
        messages.Features(
            minute_ts_us=T0,
            symbol="AAPL",
            open=585.0,
            high=586.5,
            low=584.5,
            close=586.0,
            volume=1200.0,
            n_ticks=12,
            ma7=585.5,
            ma21=585.25,
            bars7=7,
            bars21=21,
            last_event_ts_us=T0 + 59_000_000,
            revision=3,
            final=True,
            flat=False,
            ret=0.001,
            sent_mean=0.25,
            sent_n=4,
        ),
        messages.Forecast(
            forecast_id="AAPL|1340285460000000|5|lstm-1",
            symbol="AAPL",
            as_of_ts_us=T0 + 60_000_000,
            horizon_min=5,
            target_ts_us=T0 + 360_000_000,
            last_price=586.0,
            mean=586.25,
            quantiles={"0.025": 584.0, "0.5": 586.25, "0.975": 588.5},
            prob_up=0.54,
            model_id="lstm-1",
            role="champion",
            provisional=False,
            features_hash="abc",
        ),
        messages.Score(
            forecast_id="AAPL|1340285460000000|5|lstm-1",
            symbol="AAPL",
            model_id="lstm-1",
            role="champion",
            horizon_min=5,
            as_of_ts_us=T0 + 60_000_000,
            target_ts_us=T0 + 360_000_000,
            realised_price=587.0,
            error=-0.00128,
            naive_error=-0.0017,
            pinball=0.0004,
            crps=0.0008,
            covered={"50": True, "80": True, "95": True},
            rolling_skill=0.01,
            rolling_n=100,
        ),
        messages.ModelAnnouncement(
            name="forecaster",
            model_id="lstm-1",
            uri="models/lstm-1",
            sha256="0" * 64,
            promoted=True,
            reason="beat the champion",
            metrics={"mae": 0.5},
        ),
        messages.DeadLetter(
            topic="ticks", partition=1, offset=42, stage="stream", error_class="not_json", message="no", value_base64="/w=="
        ),
        messages.Calibration(symbol="AAPL", horizon_min=5, model_id="lstm-1", as_of_ts_us=T0, widening={"80": 1.1}, n=60),
        messages.Event(kind="status", role="forecast", wall_ts_us=T0, state="ready", counts={"pid": 7}),
        messages.Control(command_id="c1", kind="retrain", asked_by="console", wall_ts_us=T0, arguments={"reason": "drift"}),
    )
}


def message_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Return a strategy of valid messages of `kind`: every field anywhere within its declared bounds."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    fields = {field.name: _values(field.type) for field in described.fields}
    if kind is messages.Sentiment:
        return st.one_of(_closings(fields), _scored(fields))
    return st.builds(kind, **fields)


def _closings(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Message]:
    """Return closings of a partition that exists; its probabilities do not count."""
    places = st.integers(0, 61).flatmap(lambda place: st.tuples(st.just(place), st.integers(place + 1, 62)))
    rest = st.fixed_dictionaries(fields | {"closes": st.just(True)})
    return st.builds(
        lambda values, place: messages.Sentiment(**values | {"partition": place[0], "partitions": place[1]}), rest, places
    )


def _scored(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Message]:
    """Return sentiments whose three probabilities add up to 1, and whose score follows from them."""
    cuts = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
    rest = st.fixed_dictionaries(fields | {"closes": st.just(False)})
    return st.builds(
        lambda values, cut: messages.Sentiment(
            **values
            | {"p_positive": cut[0], "p_negative": cut[1] - cut[0], "p_neutral": 1 - cut[1], "score": 2 * cut[0] - cut[1]}
        ),
        rest,
        cuts,
    )


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.Metadata(type=inner):
            return _values(inner)
        case inspect.UnionType(types=types):
            return st.one_of(*(_values(part) for part in types))
        case inspect.ListType(item_type=item):
            return st.lists(_values(item), max_size=5)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=5)
    return _scalars(kind)


def _scalars(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.IntType(ge=low, le=high):
            return st.integers(-INT64 if low is None else low, INT64 if high is None else high)
        case inspect.FloatType():
            return _floats(kind)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True)
        case inspect.StrType(min_length=shortest, max_length=longest):
            return st.text(min_size=shortest or 0, max_size=longest)
    return {inspect.BoolType: st.booleans(), inspect.NoneType: st.none()}[type(kind)]


def _floats(kind: inspect.FloatType) -> st.SearchStrategy[float]:
    low = kind.ge if kind.gt is None else math.nextafter(kind.gt, math.inf)
    high = kind.le if kind.lt is None else math.nextafter(kind.lt, -math.inf)
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def as_json(kind: type[Message]) -> dict[str, object]:
    """Return the sample of `kind` as the fields of its JSON object."""
    fields: dict[str, object] = msgspec.to_builtins(SAMPLES[kind])
    return fields
