"""The balance of the stages: of what each took in, what came out, was filtered, died, waits, and is missing.

Everything is counted from the topics, nothing is told by a role: a trade has come out where the row of its minute counts it
(`n_ticks`), a headline where `sentiment` has each of its symbols, a final row where the baseline has forecast it, a forecast
where it is scored. So it is a law for each line that

    in = out + filtered + dead + waiting + missing - doubled

and a system in balance has nothing missing and nothing doubled. Looked at is what came within the last minutes; a symbol's
minutes from its first closing therein on, so that every minute is seen whole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple, TypeVar

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from rich.table import Table

from deploy import drained
from models.forecaster.base import HORIZONS_MIN
from streams import bus, codec
from streams.bus import Record
from streams.clock import MINUTE_US, closed_minute_us, minute_start_us, wall_ts_us
from streams.errors import BadMessage, UserError
from streams.messages import DeadLetter, Event, Features, Forecast, Headline, Message, Score, Sentiment, Tick
from streams.settings import Settings

log = logging.getLogger(__name__)

MINUTES = 15.0
EVERY_S = 300.0  # `tickcast up` looks: a reading of the last minutes takes some seconds of a core
AGAIN = 3  # how often an imbalance is looked at before it is one: what is under way may look like it
PAUSE_S = 10.0
GIVE_UP_US = 120 * MINUTE_US  # as the scorer does
KINDS: Mapping[str, type[Message]] = {
    "ticks": Tick,
    "headlines": Headline,
    "sentiment": Sentiment,
    "features": Features,
    "forecasts": Forecast,
    "scores": Score,
    "dead_letters": DeadLetter,
}

KindT = TypeVar("KindT", bound=Message)
Place = tuple[str, int]
Minute = tuple[str, int]
"""A symbol, and the start of a minute."""


class Line(NamedTuple):
    """One stage, and how many of `what` went where."""

    stage: str
    what: str
    taken: int
    out: int
    filtered: int
    dead: int
    waiting: int
    missing: int = 0
    doubled: int = 0

    @property
    def balances(self) -> bool:
        """Whether nothing is missing and nothing doubled."""
        return not (self.missing or self.doubled)

    def counts(self) -> dict[str, int]:
        """Return the numbers by name, for an event."""
        return {"in" if name == "taken" else name: count for name, count in zip(self._fields[2:], self[2:], strict=True)}


class Cut(NamedTuple):
    """Where the look begins and ends: what came before `taken` should have come out by `ends` if its stage has finished it."""

    start: dict[Place, int]
    taken: dict[Place, int]
    done: dict[str, dict[str, dict[int, int]]]
    ends: dict[Place, int]

    def is_taken(self, record: Record) -> bool:
        """Return whether the record came before the stages' positions were asked for."""
        return record.offset < self.taken[record.topic, record.partition]

    def waits(self, record: Record, role: str) -> bool:
        """Return whether `role` has not finished the record yet."""
        return record.offset >= self.done[role].get(record.topic, {}).get(record.partition, 0)

    @property
    def is_whole(self) -> bool:
        """Whether nothing came before the look's beginning."""
        return not any(self.start.values())


def balance(settings: Settings, minutes: float = MINUTES) -> list[Line]:
    """Return the balance of what came within the last `minutes` of the broker's clock."""
    with closing(bus.consumer(settings)) as client:
        cut = _cut(client, settings, minutes)
        return _Audit(client, settings, cut).lines()


def settled(settings: Settings, minutes: float = MINUTES, pause_s: float = PAUSE_S) -> list[Line]:
    """Return the balance; an imbalance only where it stays one."""
    lines = balance(settings, minutes)
    for _ in range(AGAIN):
        if all(line.balances for line in lines):
            break
        time.sleep(pause_s)
        lines = balance(settings, minutes)
    return lines


def _cut(client: KafkaConsumer, settings: Settings, minutes: float) -> Cut:
    places = bus.partitions_of(client, settings, *KINDS)
    since_ms = wall_ts_us() // 1_000 - round(minutes * 60_000)
    found, taken = client.offsets_for_times(dict.fromkeys(places, since_ms)), client.end_offsets(places)
    done = {stage.role: drained.finished(settings, stage.role) for stage in drained.FLOW}
    start = {place: taken[place] if found[place] is None else found[place].offset for place in places}
    return Cut(_bare(settings, start), _bare(settings, taken), done, _bare(settings, client.end_offsets(places)))


def _bare(settings: Settings, offsets: Mapping[TopicPartition, int]) -> dict[Place, int]:
    return {(settings.bare_topic(place.topic), place.partition): offset for place, offset in offsets.items()}


class _Minute:
    """The trades of one minute: those before the positions were asked for, and all."""

    __slots__ = ("every", "taken")

    def __init__(self) -> None:
        self.taken: set[tuple[str, int]] = set()
        self.every: set[tuple[str, int]] = set()


class _Audit:
    def __init__(self, client: KafkaConsumer, settings: Settings, cut: Cut) -> None:
        self._client = client
        self._settings = settings
        self._cut = cut
        self._letters: set[tuple[str, int, int]] = set()  # of each dead record where it was
        self._begin: dict[str, int] = {}
        self._drafts: Counter[str] = Counter()

    def lines(self) -> list[Line]:
        for record, letter in self._read("dead_letters", DeadLetter):
            del record
            if letter is not None:
                self._letters.add((letter.topic, letter.partition, letter.offset))
        counted: dict[Minute, tuple[int, int]] = {}
        finals: dict[Minute, list[Record]] = defaultdict(list)
        self._rows(counted, finals)
        stream = self._stream(counted, finals)  # finds out from when on minutes are whole
        return [self._sentiment(), stream, *self._forecasts(finals)]

    def _rows(self, counted: dict[Minute, tuple[int, int]], finals: dict[Minute, list[Record]]) -> None:
        for record, row in self._read("features", Features, draft=b'"final":false'):
            if row is not None:
                minute = (row.symbol, row.minute_ts_us)
                counted[minute] = max(counted.get(minute, (0, 0)), (row.revision, row.n_ticks))
                finals[minute].append(record._replace(value=None, headers=()))

    def _stream(self, counted: dict[Minute, tuple[int, int]], finals: Mapping[Minute, object]) -> Line:
        minutes: defaultdict[Minute, _Minute] = defaultdict(_Minute)
        numbers: Counter[str] = Counter()
        for record, tick in self._read("ticks", Tick):
            if tick is not None and tick.closes:
                self._begin.setdefault(tick.symbol, tick.clock_ts_us)
                continue
            if (place := self._judged(record, tick, numbers)) is not None and tick is not None:
                identity = (tick.source, tick.seq)  # of one symbol: `place` says which
                numbers["repeats"] += self._cut.is_taken(record) and identity in minutes[place].taken
                minutes[place].every.add(identity)
                if self._cut.is_taken(record):
                    minutes[place].taken.add(identity)
        out = missing = doubled = 0
        for place, trades in minutes.items():
            if place not in finals:
                numbers["waiting"] += len(trades.taken)
                continue
            n_ticks = counted[place][1]
            missing += max(0, len(trades.taken) - n_ticks)
            doubled += max(0, n_ticks - len(trades.every))
            out += len(trades.taken) - max(0, len(trades.taken) - n_ticks) + max(0, n_ticks - len(trades.every))
        filtered = numbers["repeats"] + numbers["excluded"]
        missing += numbers["lost"]
        return Line("stream", "trades", numbers["in"], out, filtered, numbers["dead"], numbers["waiting"], missing, doubled)

    def _judged(self, record: Record, tick: Tick | None, numbers: Counter[str]) -> Minute | None:
        """Return the minute that a trade belongs to; None where it does not count for one, which is noted in `numbers`."""
        minute = None if tick is None else minute_start_us(tick.event_ts_us)
        if tick is not None and not self._is_seen_whole(tick.symbol, minute or 0):
            return None
        taken = self._cut.is_taken(record)
        numbers["in"] += taken
        if (record.topic, record.partition, record.offset) in self._letters:
            numbers["dead"] += taken
        elif tick is None:
            numbers["waiting" if self._cut.waits(record, "archive") else "lost"] += taken
        elif tick.excluded:
            numbers["excluded"] += taken
        elif self._cut.waits(record, "archive") and self._is_refused(tick):
            numbers["waiting"] += taken
        else:
            return tick.symbol, minute or 0
        return None

    def _is_refused(self, tick: Tick) -> bool:
        """Return whether the engine refuses a tick for its time; its letter may be on its way."""
        ahead = tick.event_ts_us - tick.clock_ts_us
        return ahead > self._settings.future_s * 1_000_000 or -ahead > self._settings.lateness_min * MINUTE_US

    def _is_seen_whole(self, symbol: str, minute_us: int) -> bool:
        return self._cut.is_whole or (symbol in self._begin and minute_us >= self._begin[symbol])

    def _sentiment(self) -> Line:
        told = {(mood.headline_id, mood.symbol) for _, mood in self._read("sentiment", Sentiment) if mood and not mood.closes}
        numbers: Counter[str] = Counter()
        for record, news in self._read("headlines", Headline):
            if self._cut.is_taken(record) and (news is None or not news.closes):
                numbers["in"] += 1
                numbers[self._fate(record, news, told)] += 1
        fates = [numbers[name] for name in ("out", "filtered", "dead", "waiting", "lost")]
        return Line("sentiment", "headlines", numbers["in"], *fates)

    def _fate(self, record: Record, news: Headline | None, told: set[tuple[str, str]]) -> str:
        if (record.topic, record.partition, record.offset) in self._letters:
            return "dead"
        if news is not None and not news.symbols:
            return "filtered"
        if news is not None and all((news.id, symbol) in told for symbol in news.symbols):
            return "out"
        return "waiting" if self._cut.waits(record, "sentiment") else "lost"

    def _forecasts(self, finals: Mapping[Minute, list[Record]]) -> list[Line]:
        made: dict[str, Forecast] = {}
        baselines: Counter[Minute] = Counter()
        places: dict[str, Record] = {}
        repeated = 0
        for record, one in self._read("forecasts", Forecast, draft=b'"provisional":true'):
            minute = None if one is None else (one.symbol, one.as_of_ts_us - MINUTE_US)
            if one is None or minute is None or not self._is_seen_whole(*minute):
                continue
            repeated += one.forecast_id in made and self._cut.is_taken(record)
            if one.forecast_id not in made:
                made[one.forecast_id] = msgspec.structs.replace(one, quantiles={}, raw_quantiles={})
                places[one.forecast_id] = record._replace(value=None, headers=())
                baselines[minute] += one.role == "baseline"
        return [self._forecast(finals, baselines), self._score(finals, made, places, self._drafts["forecasts"] + repeated)]

    def _forecast(self, finals: Mapping[Minute, list[Record]], baselines: Mapping[Minute, int]) -> Line:
        numbers: Counter[str] = Counter()
        filtered = self._drafts["features"]
        for minute, records in finals.items():
            taken = [record for record in records if self._cut.is_taken(record)]
            if taken and self._is_seen_whole(*minute):
                filtered += len(taken) - 1
                numbers[self._fate_of_row(taken[0], baselines.get(minute, 0))] += 1
        rest = [numbers[name] for name in ("dead", "waiting", "lost")]
        return Line("forecast", "feature rows", filtered + numbers.total(), numbers["out"], filtered, *rest)

    def _fate_of_row(self, record: Record, forecasts: int) -> str:
        if forecasts >= len(HORIZONS_MIN):
            return "out"
        if (record.topic, record.partition, record.offset) in self._letters:
            return "dead"
        return "waiting" if self._cut.waits(record, "forecast") else "lost"

    def _score(
        self, finals: Mapping[Minute, object], made: Mapping[str, Forecast], places: Mapping[str, Record], filtered: int
    ) -> Line:
        scored = {score.forecast_id for _, score in self._read("scores", Score) if score}
        newest: dict[str, int] = {}
        for symbol, minute in finals:
            newest[symbol] = max(minute, newest.get(symbol, 0))
        numbers: Counter[str] = Counter()
        for name, one in made.items():
            if not self._cut.is_taken(places[name]):
                continue
            target = closed_minute_us(one.target_ts_us)
            if name in scored:
                numbers["out"] += 1
            elif (record := places[name]) and (record.topic, record.partition, record.offset) in self._letters:
                numbers["dead"] += 1
            elif (one.symbol, target) in finals:
                numbers["waiting" if self._score_waits(record, finals, (one.symbol, target)) else "lost"] += 1
            else:  # not matured, or given up because its minute never became final
                numbers["filtered" if target < newest.get(one.symbol, 0) - GIVE_UP_US else "waiting"] += 1
        rest = [numbers[name] for name in ("dead", "waiting", "lost")]
        total = filtered + numbers.total()
        return Line("score", "forecasts", total, numbers["out"], filtered + numbers["filtered"], *rest)

    def _score_waits(self, forecast: Record, finals: Mapping[Minute, object], target: Minute) -> bool:
        rows = finals[target]
        assert isinstance(rows, list)  # noqa: S101 - of records, see `lines`
        return self._cut.waits(forecast, "score") or self._cut.waits(rows[0], "score")

    def _read(self, topic: str, kind: type[KindT], draft: bytes | None = None) -> Iterator[tuple[Record, KindT | None]]:
        """Yield the records of `topic` with their messages, None for what breaks the contract.

        Those with `draft` in them are most of all, and are counted only, not decoded.
        """
        places = bus.partitions_of(self._client, self._settings, topic)
        start = {place: self._cut.start[topic, place.partition] for place in places}
        ends = {place: self._cut.ends[topic, place.partition] for place in places}
        for record in bus.read_between(self._client, self._settings, start, ends):
            if draft is not None and draft in (record.value or b""):
                self._drafts[topic] += self._cut.is_taken(record)
                continue
            try:
                yield record, codec.decode(kind, record.value)
            except BadMessage:
                yield record, None


def as_table(lines: list[Line]) -> Table:
    """Return the balance for people."""
    names = ("in", "out", "filtered", "dead", "waiting", "missing", "doubled")
    table = Table("stage", "of", title="in = out + filtered + dead + waiting + missing - doubled", title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(line.stage, line.what, *(f"{count:,}" for count in line[2:]))
    return table


def publish(settings: Settings, lines: list[Line]) -> None:
    """Tell `events` the counts of each stage, and an alert for each that does not balance."""
    now_us = wall_ts_us()
    events = [Event(kind="audit", role=line.stage, wall_ts_us=now_us, detail=line.what, counts=line.counts()) for line in lines]
    for line in lines:
        if not line.balances:
            wrong = f"{line.missing:,} are missing, {line.doubled:,} doubled"
            detail = f"{line.stage} does not balance: of {line.taken:,} {line.what} {wrong}"
            events.append(Event(kind="alert", role="audit", wall_ts_us=now_us, detail=detail, counts=line.counts()))
    with bus.producing(settings) as client:
        bus.send_all(client, settings, (bus.outgoing("events", event.kind, event) for event in events))


def watch(settings: Settings, stop: threading.Event, tell: Callable[[str], None], every_s: float = EVERY_S) -> None:
    """Publish the balance every `every_s` seconds until `stop`, and tell of each imbalance; what cannot be read now is later."""
    while not stop.wait(every_s):
        try:
            lines = settled(settings, MINUTES)
            publish(settings, lines)
        except (KafkaError, UserError) as error:
            log.warning("the balance could not be seen: %s", error)
            continue
        for line in lines:
            if not line.balances:
                tell(f"{line.stage} does not balance: {line.missing:,} {line.what} are missing, {line.doubled:,} doubled")
