"""How the machinery is: processes, rates, latencies, dead letters. Pure and bounded; `views.py` feeds it.

"Now" is an argument everywhere, so that a test decides what time it is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Literal

import msgspec
import numpy as np

from streams.bus import INGEST_HEADER, Record
from streams.clock import SECOND_US
from streams.messages import DeadLetter, Event, Features

SILENT_US = 10 * SECOND_US
BUSY_US = 90 * SECOND_US  # Spark and TensorFlow say nothing while they start
RATE_US = 10 * SECOND_US
LATENCY_US = 60 * SECOND_US
MAX_SAMPLES = 5_000
MAX_ROLES = 50
MAX_LETTERS = 20
MAX_ALERTS = 20
MAX_MINUTES = 5_000  # (symbol, minute) pairs whose tick count is remembered, to tell how many are new

Mode = Literal["", "SIMULATED", "REPLAY", "LIVE"]


class RoleRow(msgspec.Struct, frozen=True):
    """One process: what it said last; `silent` when that was too long ago and it had not finished."""

    role: str
    state: str
    silent: bool
    detail: str
    wall_ts_us: int
    counts: dict[str, int]


class Percentiles(msgspec.Struct, frozen=True):
    """Latency in milliseconds over `n` samples of the last minute."""

    p50_ms: float
    p99_ms: float
    n: int


class LetterRow(msgspec.Struct, frozen=True):
    """One dead letter, without its bytes; `number` is its offset on `dead_letters`."""

    topic: str
    partition: int
    offset: int
    stage: str
    error_class: str
    message: str
    timestamp_us: int
    number: int = 0


class HealthRow(msgspec.Struct, frozen=True):
    """The whole health of the pipeline at one moment."""

    roles: list[RoleRow]
    ticks_per_s: float
    tick_to_feature: Percentiles | None
    tick_to_forecast: Percentiles | None
    dead_letters: int
    letters: list[LetterRow]
    alerts: list[Event]
    malformed: int
    symbols_left_out: int
    drifts: dict[str, int] = {}


class Latency:
    """Samples of the time from a tick's arrival at the broker to a record made from it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, float]] = deque(maxlen=MAX_SAMPLES)

    def add(self, record: Record) -> None:
        """Take the latency of `record`, where it says when its tick came."""
        ingest = record.header(INGEST_HEADER)
        if ingest is None or not ingest.isdecimal():
            return
        at_us = record.timestamp_ms * 1_000
        self._samples.append((at_us, max(0.0, (at_us - int(ingest)) / 1_000)))

    def percentiles(self, now_us: int) -> Percentiles | None:
        """Return p50 and p99 of the last minute before `now_us`, or None without samples."""
        recent = [latency_ms for at_us, latency_ms in self._samples if now_us - at_us <= LATENCY_US]
        if not recent:
            return None
        p50, p99 = np.percentile(recent, [50, 99])
        return Percentiles(round(float(p50), 2), round(float(p99), 2), len(recent))


class TickRate:
    """Ticks per second, from how the bars' tick counts grow: the ticks themselves are not read here."""

    def __init__(self) -> None:
        self._counted: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._growth: deque[tuple[int, int]] = deque(maxlen=MAX_SAMPLES)

    def add(self, row: Features, at_us: int) -> None:
        """Take one row that the broker got at `at_us`, wall clock."""
        key = (row.symbol, row.minute_ts_us)
        new = row.n_ticks - self._counted.get(key, 0)
        if new <= 0:
            return
        self._counted[key] = row.n_ticks
        self._growth.append((at_us, new))
        if len(self._counted) > MAX_MINUTES:
            self._counted.popitem(last=False)

    def per_s(self, now_us: int) -> float:
        """Return the mean rate of the last 10 s before `now_us`."""
        return sum(new for at_us, new in self._growth if now_us - at_us <= RATE_US) * SECOND_US / RATE_US


class HealthView:
    """Processes, rates, latencies, dead letters and the mode of the source."""

    def __init__(self) -> None:
        self.tick_to_feature = Latency()
        self.tick_to_forecast = Latency()
        self.tick_rate = TickRate()
        self._roles: OrderedDict[str, Event] = OrderedDict()
        self._alerts: deque[Event] = deque(maxlen=MAX_ALERTS)
        self._letters: OrderedDict[tuple[str, int, int, str], LetterRow] = OrderedDict()
        self._letter_count = 0
        self._drifts: Counter[str] = Counter()
        self.source = ""

    @property
    def mode(self) -> Mode:
        """What kind of source feeds the pipeline; empty until a source has said so."""
        words = self.source.lower()
        if not words:
            return ""
        return "SIMULATED" if "simulated" in words else "REPLAY" if "replay" in words else "LIVE"

    def add_event(self, event: Event) -> None:
        """Take a status, an alert, or word of the tape."""
        if event.kind == "status":
            self._roles[event.role] = event
            if len(self._roles) > MAX_ROLES:
                self._roles.popitem(last=False)
        elif event.kind == "alert":
            self._alerts.append(event)
        elif event.kind == "drift":
            symbol, _, _ = event.detail.partition(":")
            self._drifts[symbol] += 1
        if event.detail and (event.kind == "tape" or event.role == "produce"):
            self.source = event.detail

    def add_letter(self, letter: DeadLetter, number: int) -> None:
        """Take one dead letter; the same one again among the last few changes nothing."""
        identity = (letter.topic, letter.partition, letter.offset, letter.stage)
        if identity in self._letters:
            return
        self._letter_count += 1
        self._letters[identity] = LetterRow(
            letter.topic,
            letter.partition,
            letter.offset,
            letter.stage,
            letter.error_class,
            letter.message[:500],
            letter.timestamp_us,
            number,
        )
        if len(self._letters) > MAX_LETTERS:
            self._letters.popitem(last=False)

    def _role(self, event: Event, now_us: int) -> RoleRow:
        patience_us = BUSY_US if event.state in {"starting", "training"} else SILENT_US
        silent = event.state != "done" and now_us - event.wall_ts_us > patience_us
        counts = {name: count for name, count in event.counts.items() if name != "pid"}
        return RoleRow(event.role, event.state, silent, event.detail, event.wall_ts_us, counts)

    def snapshot(self, now_us: int, malformed: int, symbols_left_out: int) -> HealthRow:
        """Return how everything is at `now_us`, wall clock."""
        return HealthRow(
            roles=[self._role(self._roles[role], now_us) for role in sorted(self._roles)],
            ticks_per_s=round(self.tick_rate.per_s(now_us), 1),
            tick_to_feature=self.tick_to_feature.percentiles(now_us),
            tick_to_forecast=self.tick_to_forecast.percentiles(now_us),
            dead_letters=self._letter_count,
            letters=list(self._letters.values()),
            alerts=list(self._alerts),
            malformed=malformed,
            symbols_left_out=symbols_left_out,
            drifts=dict(self._drifts),
        )
