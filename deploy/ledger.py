"""What came out of what went in: counts every id on every topic, and knows when a tape has drained.

This is the report of `tickcast up --report`: everything in it is counted from the topics, nothing is told by a role.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from models.forecaster.base import HORIZONS_MIN
from models.forecaster.windows import WINDOW
from streams import bus, codec
from streams.bus import Record
from streams.clock import MINUTE_US, closed_minute_us
from streams.errors import BadMessage
from streams.messages import DeadLetter, Event, Features, Forecast, Headline, Message, Score, Sentiment, Tick
from streams.settings import Settings

ARCHIVED = ("ticks", "headlines", "sentiment", "features")
TOPICS = ("ticks", "headlines", "sentiment", "features", "forecasts", "scores", "dead_letters", "events")


class Ledger:
    """Everything that a namespace's topics hold, as sets of identities."""

    def __init__(self) -> None:
        self.ticks: set[tuple[str, str, int]] = set()
        self.excluded: dict[tuple[str, str, int], str] = {}
        self.headlines: set[str] = set()
        self.closings: set[tuple[str, int]] = set()
        self.pairs: set[tuple[str, str]] = set()
        self.sentiments: set[tuple[str, str]] = set()
        self.finals: dict[str, set[int]] = defaultdict(set)
        self.forecasts: dict[str, set[str]] = defaultdict(set)
        self.provisional = 0
        self.targets: dict[str, tuple[str, int]] = {}
        self.scores: set[str] = set()
        self.dead: dict[tuple[str, int, int, str], str] = {}
        self.ends: Counter[str] = Counter()
        self.archived: dict[str, int] = {}
        self.tape: dict[str, int] | None = None
        self._latencies: dict[str, list[float]] = {"features": [], "forecasts": []}
        self._takers: dict[str, tuple[type[Message], Callable[[Any], None]]] = {
            "ticks": (Tick, self._tick),
            "headlines": (Headline, self._headline),
            "sentiment": (Sentiment, self._sentiment),
            "features": (Features, self._features),
            "forecasts": (Forecast, self._forecast),
            "scores": (Score, self._score),
            "dead_letters": (DeadLetter, self._dead_letter),
            "events": (Event, self._event),
        }

    def take(self, records: Iterable[Record]) -> None:
        """Enter `records`; what does not decode is its stage's to dead-letter, not ours to count."""
        for record in records:
            self.ends[record.topic] += 1
            kind, taker = self._takers[record.topic]
            try:
                message = codec.decode(kind, record.value)
            except BadMessage:
                continue
            taker(message)
            self._time(record)

    def _time(self, record: Record) -> None:
        if record.topic in self._latencies and (ingest := record.header(bus.INGEST_HEADER)):
            self._latencies[record.topic].append(record.timestamp_ms - int(ingest) / 1_000)

    def _tick(self, tick: Tick) -> None:
        if tick.closes:
            self.closings.add((tick.symbol, closed_minute_us(tick.clock_ts_us)))
        else:
            identity = (tick.source, tick.symbol, tick.seq)
            self.ticks.add(identity)
            if tick.excluded:
                self.excluded[identity] = tick.excluded.partition(" ")[0]

    def _headline(self, headline: Headline) -> None:
        if not headline.closes:
            self.headlines.add(headline.id)
            self.pairs |= {(headline.id, symbol) for symbol in headline.symbols}

    def _sentiment(self, sentiment: Sentiment) -> None:
        if not sentiment.closes:
            self.sentiments.add((sentiment.headline_id, sentiment.symbol))

    def _features(self, row: Features) -> None:
        if row.final:
            self.finals[row.symbol].add(row.minute_ts_us)

    def _forecast(self, forecast: Forecast) -> None:
        if forecast.provisional:
            self.provisional += 1
            return
        self.forecasts[forecast.role].add(forecast.forecast_id)
        self.targets[forecast.forecast_id] = (forecast.symbol, closed_minute_us(forecast.target_ts_us))

    def _score(self, score: Score) -> None:
        self.scores.add(score.forecast_id)

    def _dead_letter(self, letter: DeadLetter) -> None:
        self.dead[letter.topic, letter.partition, letter.offset, letter.stage] = letter.error_class

    def _event(self, event: Event) -> None:
        if event.kind == "tape":
            self.tape = event.counts
        elif event.role == "archive":
            self.archived = event.counts

    def matured(self) -> set[str]:
        """Return the ids of the forecasts whose target minute is final."""
        return {id_ for id_, (symbol, minute) in self.targets.items() if minute in self.finals[symbol]}

    def full_windows(self) -> int:
        """Return how many final rows stand at the end of a full window of consecutive final rows."""
        return sum(_full(minutes) for minutes in self.finals.values())

    def missing(self) -> list[str]:
        """Return, in words, what a finished tape has not caused yet; empty: it has drained."""
        if self.tape is None:
            return ["the tape has not ended"]
        rows = sum(len(minutes) for minutes in self.finals.values())
        dead = Counter(topic for topic, *_ in self.dead)
        checks = {
            "ticks": self.tape.get("ticks", 0) - len(self.ticks) - dead["ticks"],
            "sentiments": len(self.pairs - self.sentiments) - dead["headlines"],
            "final rows": len(self.closings) - rows,
            "baseline forecasts": rows * len(HORIZONS_MIN) - len(self.forecasts["baseline"]),
            "champion forecasts": self.full_windows() * len(HORIZONS_MIN) - len(self.forecasts["champion"]),
            "scores": len(self.matured() - self.scores),
            **{f"archived {name}": self.ends[name] - self.archived.get(name, 0) for name in ARCHIVED},
        }
        return [f"{count:,} {name}" for name, count in checks.items() if count > 0]

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Return p50 and p99 of tick→feature and tick→forecast, from the broker's own clock, in milliseconds."""
        names = {"features": "tick_to_feature", "forecasts": "tick_to_forecast"}
        return {names[topic]: _percentiles(values) for topic, values in self._latencies.items() if values}

    def report(self, seconds: float) -> dict[str, Any]:
        """Return the figures for programs; `seconds` is how long the run took."""
        return {
            "ticks_in": len(self.ticks),
            "ticks_excluded_by_reason": dict(Counter(self.excluded.values())),
            "headlines_in": len(self.headlines),
            "sentiments": len(self.sentiments),
            "feature_rows_final": {symbol: len(minutes) for symbol, minutes in sorted(self.finals.items())},
            "forecasts": {role: len(ids) for role, ids in sorted(self.forecasts.items())},
            "forecasts_provisional": self.provisional,
            "scores": len(self.scores),
            "forecasts_matured": len(self.matured()),
            "dead_letters": len(self.dead),
            "dead_letters_by_reason": dict(Counter(self.dead.values())),
            "seconds": round(seconds, 1),
            "latency_ms": self.latency_ms(),
        }


def _full(minutes: set[int]) -> int:
    run = full = 0
    previous = None
    for minute in sorted(minutes):
        run = run + 1 if previous is not None and minute - previous == MINUTE_US else 1
        full += run >= WINDOW
        previous = minute
    return full


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {"p50": round(float(p50), 1), "p90": round(float(p90), 1), "p99": round(float(p99), 1), "n": len(values)}


class Reader:
    """Fills a ledger from the topics on a thread of its own, from their beginning or from now on."""

    def __init__(self, settings: Settings, *, from_end: bool = False) -> None:
        self._settings = settings
        self._from_end = from_end
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="ledger")
        self._thread.start()

    def missing(self) -> list[str]:
        """Return what the ledger misses, see :meth:`Ledger.missing`."""
        with self._lock:
            return self._ledger.missing()

    def finish(self, seconds: float) -> dict[str, Any]:
        """Stop reading and return the report."""
        self._stop.set()
        self._thread.join(timeout=10)
        return self._ledger.report(seconds)

    def _follow(self) -> None:
        for records in bus.follow(self._settings, *TOPICS, stop=self._stop.is_set, from_end=self._from_end):
            with self._lock:
                self._ledger.take(records)
