"""`tickcast bench forecast`: ticks to forecasts of the LSTM, every process of `tickcast up` running, the page included.

A latency is the time from when the producer handed the newest tick behind a forecast to Kafka's client until the broker had the
forecast, which here stamps it itself: a record's own time is that of its making, before it was sent. Latencies are read from
the topic afterwards, so that measuring costs the run nothing. An LSTM answers windows of 50 minutes
only, so just before the market begins the 50 minutes before it are put onto `features`, of a market of the same laws; what
is timed are live ticks alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import polars as pl
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from consumers.base import Handler
from consumers.forecaster import ForecastHandler
from consumers.scorer import ScoreHandler
from consumers.sentiment import SentimentHandler
from deploy import up
from deploy.local import supervisor
from deploy.local.supervisor import Supervisor
from deploy.verify import coverage
from models.forecaster.windows import WINDOW
from producers.catalog import Choice
from producers.market import Market, minutes
from streams import bus
from streams.bus import Record
from streams.clock import MINUTE_US, SECOND_US, minute_start_us, wall_ts_us
from streams.settings import Settings

Column = np.ndarray[Any, np.dtype[Any]]

P50_MS, P99_MS = 15.0, 80.0
GROWTH = 1.5  # what the median of the last fifth may be of the first one's; minutes begin and end in all of them
BEHIND_MS = 1_000.0  # a median above that is a backlog from the warm-up, whose ratios hide that it grows
BEHIND_S = 5.0  # a consumer's lag grows where it is more at the end than at the begin by what comes in such a time
WARM_UP_S = 60.0  # after the forecaster has read the past: the plan of Spark is compiled, the past scored
PAST_TIMEOUT_S = 240.0  # for the forecaster to read the past; after that it is measured as it is
START_WITHIN_S = 8  # of a minute, so that the first tick comes in the minute behind the past
PAST_TRADES_PER_MIN = 6.0  # for each symbol
LEVELS = (50, 90, 99)
FIFTHS = 5
SIX, MANY = "6 symbols", "500 symbols"


@dataclass(frozen=True)
class Load:
    """What the system gets: `rate` ticks a second over `symbols`."""

    symbols: tuple[str, ...]
    rate: float


LOADS = {SIX: Load(Settings().symbol_list, 60.0), MANY: Load(tuple(f"S{number:04d}" for number in range(500)), 1_000.0)}


def run(settings: Settings, seconds: float, console: Console, names: Iterable[str] = (SIX, MANY)) -> dict[str, Any]:
    """Return the figures of the loads `names`, one after the other; `holds` says whether the claims on them do."""
    with supervisor.with_broker(settings) as named:
        loads = {name: _measured(named, LOADS[name], seconds, console) for name in names}
    return claims(loads)


def claims(loads: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with what holds of the claims on these loads."""
    judges = {SIX: ("quick", _is_quick), MANY: ("steady", _is_steady)}
    found = {claim: judge(loads[name]) for name, (claim, judge) in judges.items() if name in loads}
    return {"loads": loads} | found | {"holds": all(found.values())}


def _is_quick(load: dict[str, Any]) -> bool:
    champion = load["forecasts"]["champion"]
    return bool(champion["n"] and champion["p50"] <= P50_MS and champion["p99"] <= P99_MS)


def _is_steady(load: dict[str, Any]) -> bool:
    first, *_, last = load["forecasts"]["champion"]["fifths_p50"] or (math.inf, math.inf)
    keeping_up = all(at_end <= at_begin + BEHIND_S * load["rate"] for at_begin, at_end in load["lags"].values())
    return bool(last <= min(GROWTH * first, BEHIND_MS) and keeping_up)


def lags(settings: Settings) -> dict[str, int]:
    """Return how many records each consumer has not committed yet."""
    return {kind.name: _lag(settings, kind) for kind in (SentimentHandler, ForecastHandler, ScoreHandler)}


def _lag(settings: Settings, kind: type[Handler]) -> int:
    with closing(bus.consumer(settings, group_id=settings.topic(kind.name))) as client:
        ends = client.end_offsets(bus.partitions_of(client, settings, *kind.inputs))
        return sum(end - (client.committed(place) or 0) for place, end in ends.items())


def _measured(settings: Settings, load: Load, seconds: float, console: Console) -> dict[str, Any]:
    prefix = f"bench-{datetime.now(UTC):%Y%m%d-%H%M%S}-{len(load.symbols)}."
    own = msgspec.structs.replace(settings, topic_prefix=prefix, symbols=",".join(load.symbols), console_port=0)
    running = _Running(own, load, seconds, console)
    begin_us, end_us = running.run()
    return {"rate": load.rate, "lags": running.lags(), "forecasts": figures_of(between(own, begin_us, end_us))}


class _Running:
    """Everything, from its start to the end of the measurement."""

    def __init__(self, settings: Settings, load: Load, seconds: float, console: Console) -> None:
        market = Choice(("simulated", ""), ("simulated", ""), rate=load.rate)
        arguments = ("--source", "simulated", "--rate", str(load.rate))
        options = up.Options(market, arguments, duration_s=seconds)
        self._settings, self._load, self._seconds, self._console = settings, load, seconds, console
        self._supervisor = Supervisor(settings, up.plan(settings, options), console)
        bus.let_broker_stamp(settings, "features", "forecasts")
        self._released_us = self._begin_us = 0
        self._past: dict[TopicPartition, int] = {}
        self._lags: list[dict[str, int]] = []

    def lags(self) -> dict[str, tuple[int, int]]:
        """Return of each consumer how many records it was behind when the measurement began, and when it ended, if it did."""
        first, last = (self._lags[0], self._lags[-1]) if self._lags else ({}, {})
        return {name: (first[name], last[name]) for name in first}

    def run(self) -> tuple[int, int]:
        """Return between which times of the wall clock was measured, microseconds."""
        self._supervisor.install_signals()
        self._supervisor.run(self._each)
        return self._begin_us, self._begin_us + round(self._seconds * SECOND_US)

    def _each(self) -> None:
        now_us = wall_ts_us()
        if self._begin_us:
            if now_us > self._begin_us + self._seconds * SECOND_US:
                self._lags.append(lags(self._settings))
                self._supervisor.stop()
            elif now_us > self._begin_us and not self._lags:
                self._lags.append(lags(self._settings))
        elif self._released_us:
            if has_read(self._settings, self._past) or now_us > self._released_us + PAST_TIMEOUT_S * SECOND_US:
                self._begin_us = now_us + round(WARM_UP_S * SECOND_US)
        elif self._is_ready() and now_us % MINUTE_US < START_WITHIN_S * SECOND_US:
            self._release()

    def _is_ready(self) -> bool:
        forecaster = self._supervisor.statuses.of("forecast")
        return forecaster is not None and bool(forecaster.detail) and self._supervisor.all_ready()

    def _release(self) -> None:
        """Begin the market, and put the past before its first minute."""
        self._supervisor.release()
        self._past = remember(self._settings, self._load, minute_start_us(wall_ts_us()))
        self._released_us = wall_ts_us()
        sentence = f"{self._load.rate:,.0f} ticks/s of {len(self._load.symbols)} symbols: warming up,"
        self._console.print(f"{sentence} then {self._seconds:.0f} s that count", highlight=False)


def remember(settings: Settings, load: Load, now_us: int) -> dict[TopicPartition, int]:
    """Put the final rows of the 50 minutes before `now_us` onto `features`; return its ends behind them."""
    shift_us = now_us - WINDOW * MINUTE_US
    rows = coverage.rows(pl.concat(list(_past(load, shift_us))))
    with closing(bus.producer(settings)) as client:
        bus.send_all(client, settings, (bus.outgoing("features", row.symbol, row) for row in rows))
    with closing(bus.consumer(settings)) as reader:
        ends: dict[TopicPartition, int] = reader.end_offsets(bus.partitions_of(reader, settings, "features"))
    return ends


def has_read(settings: Settings, ends: dict[TopicPartition, int]) -> bool:
    """Return whether the forecaster has committed what is before `ends`."""
    with closing(bus.consumer(settings, group_id=settings.topic(ForecastHandler.name))) as client:
        return all((client.committed(place) or 0) >= end for place, end in ends.items())


def _past(load: Load, shift_us: int) -> Iterator[pl.DataFrame]:
    """Yield the trades of each minute; each symbol has one at the very beginning, so that no window lacks a minute."""
    market = Market(symbols=load.symbols, rate=PAST_TRADES_PER_MIN * len(load.symbols) / 60, path="history")
    first = np.exp(next(minutes(market)).open)
    yield _trades(load, np.arange(len(first)), np.full(len(first), shift_us), first)
    for minute in islice(minutes(market), WINDOW):
        trades = minute.trades()
        yield _trades(load, trades.who, trades.offset_us + shift_us, trades.price)


def _trades(load: Load, who: Column, at_us: Column, price: Column) -> pl.DataFrame:
    names = np.array(load.symbols)[who]
    return pl.DataFrame({"event_ts_us": at_us, "symbol": names, "price": price}).with_columns(size=pl.lit(100.0))


class _Forecast(msgspec.Struct):
    """As much of a forecast as is looked at."""

    role: str
    provisional: bool


@dataclass
class _Seen:
    """When forecasts of one role were there, and how long after their newest tick, milliseconds."""

    at_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return how many, percentiles, and the median of each fifth of the time; without any only that."""
        if not self.at_ms:
            return {"n": 0, "fifths_p50": []}
        order = np.argsort(self.at_ms, kind="stable")
        at_ms, latency_ms = np.array(self.at_ms)[order], np.array(self.latency_ms)[order]
        cuts = np.searchsorted(at_ms, np.linspace(at_ms[0], at_ms[-1], FIFTHS + 1)[1:-1])
        fifths = [round(float(np.median(part)), 1) for part in np.split(latency_ms, cuts) if len(part)]
        levels = {f"p{level}": round(float(np.percentile(latency_ms, level)), 1) for level in LEVELS}
        return {"n": len(at_ms)} | levels | {"fifths_p50": fifths}


def figures_of(records: Iterable[Record]) -> dict[str, Any]:
    """Return how long the forecasts `records` took, by role, and within each by whether they are provisional."""
    seen: defaultdict[str, _Seen] = defaultdict(_Seen)
    decoder = msgspec.json.Decoder(_Forecast)
    for record in records:
        if ingest := record.header(bus.INGEST_HEADER):
            forecast = decoder.decode(record.value or b"")
            kind = "provisional" if forecast.provisional else "final"
            for name in (forecast.role, f"{forecast.role}, {kind}"):
                seen[name].at_ms.append(record.timestamp_ms)
                seen[name].latency_ms.append(record.timestamp_ms - int(ingest) / 1_000)
    return {name: seen[name].figures() for name in sorted({"champion", *seen})}


def between(settings: Settings, begin_us: int, end_us: int) -> Iterator[Record]:
    """Yield what came to `forecasts` in a span of the broker's time."""
    with closing(bus.consumer(settings)) as client:
        places = bus.partitions_of(client, settings, "forecasts")
        start, end = (_offsets(client, places, at_us) for at_us in (begin_us, end_us))
        yield from bus.read_between(client, settings, start, end)


def _offsets(client: KafkaConsumer, places: list[TopicPartition], at_us: int) -> dict[TopicPartition, int]:
    """Return the first offset of each place from a time of the broker's clock on."""
    ends, found = client.end_offsets(places), client.offsets_for_times(dict.fromkeys(places, at_us // 1_000))
    return {place: found[place].offset if found.get(place) else ends[place] for place in places}


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("load", "forecasts of", "n", *(f"p{level} ms" for level in LEVELS), "p50 of each fifth")
    behind = []
    for load, found in figures["loads"].items():
        for kind, row in found["forecasts"].items():
            levels = [f"{row[f'p{level}']:.1f}" if row["n"] else "-" for level in LEVELS]
            shown.add_row(load, kind, f"{row['n']:,}", *levels, " ".join(map(str, row["fifths_p50"])))
        behind += [f"{load}: {name} was {first:,} records behind, then {last:,}" for name, (first, last) in found["lags"].items()]
    six = f"claims: 6 symbols: champion p50 <= {P50_MS:.0f}, p99 <= {P99_MS:.0f} ms"
    many = f"500: last fifth <= {GROWTH} of the first and 1 s, no lag grows by {BEHIND_S:.0f} s of ticks"
    shown.caption = "\n".join([*behind, f"{six}; {many}"])
    return shown
