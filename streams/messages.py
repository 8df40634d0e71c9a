"""What flows: every message of every topic, as frozen structs. This file is the public contract.

JSON on the wire (see `codec.py`), topics in `topics.py`, JSON Schemas generated from here in `docs/schemas/`.

* Unknown fields are ignored, a new field has a default, a field never changes its type; `v` is the schema version.
* Values depend on event data only. Processing times travel in Kafka headers, so a replay repeats the same bytes.
  Only `events` and `control`, which tell of processes and people, carry the wall clock.
* `*_ts_us` is microseconds since 1970 UTC. A bar is stamped at its START.
* A *closing* (`closes`) ends a minute: its `clock_ts_us` is the boundary, and the minute that it ends is the one before.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_TS_US = 253_402_300_799_999_999  # the last microsecond of the year 9999
SUM_TOLERANCE = 1e-3  # how far three probabilities may be from adding up to 1: models round them

TimestampUs = Annotated[int, Meta(ge=0, le=MAX_TS_US, description="microseconds since 1970-01-01 UTC")]
Symbol = Annotated[str, Meta(min_length=1, max_length=32)]
Price = Annotated[float, Meta(gt=0, lt=1e12, description="in the symbol's currency")]
Size = Annotated[float, Meta(ge=0, lt=1e9, description="shares, contracts or coins")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Role = Literal["champion", "challenger", "baseline"]
EventKind = Literal["status", "alert", "drift", "audit", "tape"]
State = Literal["starting", "ready", "training", "done", "failed", ""]
Verdict = Literal["edge", "no demonstrated edge", "worse than naive", ""]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all messages: version 1 of the contract."""

    v: Literal[1] = 1


class Tick(Message, frozen=True, kw_only=True):
    """One trade, or the closing of a minute. Key: symbol. Order within a symbol is (event_ts_us, seq).

    A closing repeats the last price of its minute with that price's own event time and seq; where the minute had no
    trade it carries the price over. `late` is set by a producer that had closed the tick's minute already. The same
    (source, symbol, seq) again is a repeat, which changes nothing. A print with a reason in `excluded` is kept in the lake
    and makes no bar; `cancels SEQ` and `corrects SEQ` tell that its vendor took back, or reports anew, the earlier trade SEQ
    of the same source and symbol, which stays as it was said.
    """

    event_ts_us: TimestampUs
    clock_ts_us: TimestampUs
    symbol: Symbol
    price: Price
    size: Size
    source: Identifier
    seq: Count
    closes: bool = False
    late: bool = False
    excluded: Annotated[str, Meta(max_length=64, description="why bars leave this print out; empty: they take it")] = ""


class Headline(Message, frozen=True, kw_only=True):
    """One headline, or a closing (sent to every partition, naming the symbols whose minute it ends). Key: id."""

    event_ts_us: TimestampUs
    clock_ts_us: TimestampUs
    id: Identifier
    symbols: list[Symbol]
    text: str
    source: Identifier
    url: str = ""
    closes: bool = False
    partitions: Annotated[int, Meta(ge=0, le=62, description="closings: how many partitions `headlines` has")] = 0


class Sentiment(Message, frozen=True, kw_only=True):
    """What one headline means for one symbol, or a forwarded closing of one `headlines` partition. Key: symbol."""

    event_ts_us: TimestampUs
    clock_ts_us: TimestampUs
    headline_id: Identifier
    symbol: Symbol
    model_id: Identifier
    p_positive: Probability = 0.0
    p_negative: Probability = 0.0
    p_neutral: Probability = 0.0
    score: Annotated[float, Meta(ge=-1, le=1, description="p_positive - p_negative")] = 0.0
    closes: bool = False
    partition: Annotated[int, Meta(ge=0, le=61, description="closings: the partition of `headlines`")] = 0
    partitions: Annotated[int, Meta(ge=0, le=62, description="closings: how many partitions `headlines` has")] = 0

    def __post_init__(self) -> None:
        """Refuse what would be silently neutral: probabilities that do not add up, and a closing that closes nothing."""
        total = self.p_positive + self.p_negative + self.p_neutral
        if not self.closes and abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(f"p_positive, p_negative and p_neutral add up to {total}, not 1")
        if not self.closes and abs(self.score - (self.p_positive - self.p_negative)) > SUM_TOLERANCE:
            raise ValueError(f"score is {self.score}, not p_positive - p_negative")
        if self.closes and self.partition >= self.partitions:
            raise ValueError(f"a closing of partition {self.partition} of {self.partitions} does not exist")


class Features(Message, frozen=True, kw_only=True):
    """A minute bar with its rolling features. Key: symbol. The highest `revision` of (symbol, minute) is the truth."""

    minute_ts_us: TimestampUs
    symbol: Symbol
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Annotated[float, Meta(ge=0)]
    n_ticks: Count
    ma7: Price
    ma21: Price
    bars7: Annotated[int, Meta(ge=1, le=7, description="bars that ma7 had")]
    bars21: Annotated[int, Meta(ge=1, le=21, description="bars that ma21 had")]
    last_event_ts_us: TimestampUs
    revision: Count
    final: bool
    flat: bool
    ret: Annotated[float, Meta(description="close over the previous minute's close, minus 1")] | None = None
    sent_mean: Annotated[float, Meta(ge=-1, le=1, description="mean score of the last 60 minutes")] | None = None
    sent_n: Count = 0
    sentiment_complete: bool = True


class Forecast(Message, frozen=True, kw_only=True):
    """One model's forecast of one symbol's price at one horizon. Key: symbol. Prices, not returns.

    `as_of_ts_us` is the end of the newest minute that the model saw; the target is the close of the minute that ends at
    `target_ts_us`. `forecast_id` is deterministic: the same forecast made twice has the same id.
    """

    forecast_id: Identifier
    symbol: Symbol
    as_of_ts_us: TimestampUs
    horizon_min: Annotated[int, Meta(ge=1)]
    target_ts_us: TimestampUs
    last_price: Price
    mean: Price
    quantiles: Annotated[dict[str, Price], Meta(description="probability level, as in '0.025', to price")]
    prob_up: Probability
    model_id: Identifier
    role: Role
    provisional: bool
    features_hash: str
    data_cutoff_ts_us: TimestampUs = 0
    raw_quantiles: Annotated[
        dict[str, Price], Meta(description="before calibration, as the model gave them; empty in provisional forecasts")
    ] = {}


class Score(Message, frozen=True, kw_only=True):
    """How a matured forecast did, beside a random walk. Key: symbol. Errors are in log-return units."""

    forecast_id: Identifier
    symbol: Symbol
    model_id: Identifier
    role: Role
    horizon_min: Annotated[int, Meta(ge=1)]
    as_of_ts_us: TimestampUs
    target_ts_us: TimestampUs
    realised_price: Price
    error: Annotated[float, Meta(description="ln(mean) - ln(realised)")]
    naive_error: Annotated[float, Meta(description="ln(last price) - ln(realised)")]
    pinball: Annotated[float, Meta(ge=0, description="mean pinball loss over the quantiles, log-return units")]
    crps: Annotated[float, Meta(ge=0, description="twice the mean pinball loss: the quantile form of the CRPS")]
    covered: Annotated[dict[str, bool], Meta(description="interval, as in '80', to whether it held the price")]
    rolling_skill: (
        Annotated[float, Meta(description="1 - MSE / MSE of the random walk, over the last rolling_n scores")] | None
    ) = None
    rolling_n: Count = 0
    raw_covered: Annotated[dict[str, bool], Meta(description="as `covered`, of the quantiles before calibration")] = {}
    dm_p_value: (
        Annotated[float, Meta(ge=0, le=1, description="Diebold-Mariano, squared errors against the random walk's, two-sided")]
        | None
    ) = None
    pt_p_value: (
        Annotated[float, Meta(ge=0, le=1, description="Pesaran-Timmermann: directions are guessed by chance, one-sided")] | None
    ) = None
    verdict: Annotated[Verdict, Meta(description="of Diebold-Mariano at 5 % over the last rolling_n scores")] = ""


class ModelAnnouncement(Message, frozen=True, kw_only=True):
    """What was decided of a model. Compacted. Key: its name, of whoever serves; NAME:challenger, of the newest challenger."""

    name: Identifier
    model_id: Identifier
    uri: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    promoted: bool
    reason: str
    metrics: dict[str, float] = {}
    data_cutoff_ts_us: TimestampUs = 0
    effective_from_ts_us: TimestampUs = 0
    shadow: Annotated[bool, Meta(description="not promoted, but it forecasts beside the champion, as challenger")] = False


class DeadLetter(Message, frozen=True, kw_only=True):
    """A message that a stage could not use, whole. Key: its topic. Identity: (topic, partition, offset, stage)."""

    topic: Identifier
    partition: int
    offset: int
    stage: Identifier
    error_class: Identifier
    message: str
    value_base64: str
    key_base64: str | None = None
    headers: dict[str, str] = {}
    timestamp_us: TimestampUs = 0


class Calibration(Message, frozen=True, kw_only=True):
    """State of one model's interval calibration for one symbol and horizon. Key: symbol, horizon and model. Compacted.

    It lies in the partition of its symbol, and never runs ahead of the forecasts that were made with it.
    """

    symbol: Symbol
    horizon_min: Annotated[int, Meta(ge=1)]
    model_id: Identifier
    as_of_ts_us: Annotated[TimestampUs, Meta(description="the newest target time that it has learned from")]
    widening: Annotated[dict[str, float], Meta(description="level to the factor of its log distance from the median")]
    n: Annotated[Count, Meta(description="matured forecasts that it has learned from")]


class Event(Message, frozen=True, kw_only=True):
    """Something about the machinery: a process's status, an alert, drift, an audit count. Key: kind."""

    kind: EventKind
    role: Identifier
    wall_ts_us: TimestampUs
    state: State = ""
    detail: str = ""
    counts: dict[str, int] = {}


class Control(Message, frozen=True, kw_only=True):
    """An order from a person or a program. Key: command id."""

    command_id: Identifier
    kind: Literal["replay", "retrain", "promote", "rollback", "redrive"]
    asked_by: Identifier
    wall_ts_us: TimestampUs
    arguments: dict[str, str] = {}
