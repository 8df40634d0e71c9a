"""A recording as a tape: its records again as they were, at the pace of its clock.

Nothing is made anew: ticks with their closings, headlines, sentiment as it was scored and the announcements of models go to the
partitions that they came from, with their keys, values and headers. So no sentiment consumer may run beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from producers.base import Event, SessionEnd, Story, Trade
from producers.replay import SESSION_GAP_US, Span
from streams import codec
from streams.bus import Record
from streams.clock import MINUTE_US, SECOND_US, iso, minute_start_us
from streams.errors import BadMessage
from streams.messages import MAX_TS_US, Headline, ModelAnnouncement, Tick
from streams.recording import INPUTS, Recorded, Recording

WHOLE = Span(0, MAX_TS_US)
STILL_OPEN_US = 9 * MINUTE_US  # below `producers.pace.MAX_AHEAD_US`: whoever is waited for can still be reached


class RecordedTape:
    """A recording, or a part of it.

    Parameters
    ----------
    folder : Path
        The recording's.
    span_us : Span
        Where the tape's clock begins and where it ends, which is no longer sent.
    symbols : frozenset[str]
        Only these; empty: all.

    Raises
    ------
    SourceError
        There is no recording, or a file of it is damaged.
    """

    live = False

    def __init__(self, folder: Path, span_us: Span = WHOLE, symbols: frozenset[str] = frozenset()) -> None:
        self.recording = Recording(folder)
        manifest = self.recording.manifest
        self.name = f"replay:{iso(manifest.first_ts_us)[:10]}-{folder.name}"
        self.span_us = Span(max(span_us.first_us, manifest.first_ts_us), min(span_us.last_us, manifest.last_ts_us))
        self._wanted_us = span_us
        self._symbols = frozenset(symbol.encode() for symbol in symbols)

    def records(self, *topics: str) -> Iterator[Recorded]:
        """Yield the records of `topics` (by default all inputs) by where their tape stood, each partition in its order."""
        if self._wanted_us.first_us and not topics:  # whoever served when this part began
            for one in self.recording.merged("models"):
                if one.clock_ts_us < self._wanted_us.first_us:
                    yield one._replace(record=self._at_hand(one.record))
        for one in self.recording.merged(*(topics or INPUTS), from_us=self._wanted_us.first_us):
            if one.clock_ts_us >= self._wanted_us.last_us:
                return
            if one.record.topic == "models":
                yield one._replace(record=self._at_hand(one.record))
            elif self._is_wanted(one.record):
                yield one

    def _is_wanted(self, record: Record) -> bool:
        if not self._symbols:
            return True
        return _names(record, self._symbols) if record.topic == "headlines" else record.key in self._symbols

    def _at_hand(self, record: Record) -> Record:
        """Return an announcement with the model's files that lie in the recording, where they do."""
        with suppress(BadMessage):
            said = codec.decode(ModelAnnouncement, record.value)
            place = model_folder(self.recording.folder, said.name, said.model_id)
            if place.is_dir():
                return record._replace(value=codec.encode(msgspec.structs.replace(said, uri=place.resolve().as_uri())))
        return record

    def announcements(self) -> Iterator[Record]:
        """Yield what `models` held before the tape's first tick: those who forecast must know it before they begin."""
        for one in self.records():
            if one.record.topic == "models":
                yield one.record
            elif one.clock_ts_us:
                return

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield trades, stories and session ends, for whoever takes tapes; closings are left to that one."""
        clock = 0
        for record, clock_us in self.records("ticks", "headlines"):
            event = _event(record)
            if isinstance(event, Trade):
                if clock and clock_us - clock > SESSION_GAP_US:
                    yield SessionEnd(clock)
                clock = clock_us
                if event.seq <= resume_after:
                    continue
            if event is not None:
                yield event
        if clock:
            yield SessionEnd(clock)


def model_folder(recording: Path, name: str, model_id: str) -> Path:
    """Return where a recording keeps the files of a model."""
    return recording / "models" / quote(name, safe="") / quote(model_id, safe="")


class _Named(msgspec.Struct):
    symbols: list[str] = []
    closes: bool = False


_named = msgspec.json.Decoder(_Named)


def _names(headline: Record, symbols: frozenset[bytes]) -> bool:
    """Return whether a headline is about any of `symbols`; closings are about all."""
    try:
        news = _named.decode(headline.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return news.closes or any(symbol.encode() in symbols for symbol in news.symbols)


def _event(record: Record) -> Event | None:
    try:
        if record.topic == "ticks":
            tick = codec.decode(Tick, record.value)
            trade = Trade(tick.event_ts_us, tick.symbol, tick.price, tick.size, tick.seq, excluded=tick.excluded)
            return None if tick.closes else trade
        news = codec.decode(Headline, record.value)
    except BadMessage:
        return None
    return None if news.closes else Story(news.event_ts_us, news.id, tuple(news.symbols), news.text, news.url)


class _Stamp(msgspec.Struct):
    clock_ts_us: int


_stamps = msgspec.json.Decoder(_Stamp)


class _Closing(msgspec.Struct):
    symbol: str
    clock_ts_us: int
    closes: bool = False
    partition: int = 0
    partitions: int = 0


_closings = msgspec.json.Decoder(_Closing)


class Closed:
    """Up to which minute each symbol's rows can become final by what was sent of a recording.

    A pace waits for final rows; it must not wait for those whose closings the recording lacks.
    """

    def __init__(self) -> None:
        self._began_us: dict[bytes, int] = {}
        self._ticks_us: dict[bytes, int] = {}
        self._moods_us: defaultdict[bytes, dict[int, int]] = defaultdict(dict)
        self._partitions = 0
        self._asked: tuple[int, frozenset[str]] = (-1, frozenset())

    def take(self, recorded: Recorded) -> None:
        """Take what is about to be sent."""
        record = recorded.record
        if record.topic not in {"ticks", "sentiment"} or record.key is None:
            return
        self._began_us.setdefault(record.key, minute_start_us(recorded.clock_ts_us))
        if b'"closes":true' in (record.value or b""):  # the rest, nearly all, is not looked into
            self._close(record)

    def _close(self, record: Record) -> None:
        try:
            closing = _closings.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if closing.clock_ts_us > record.timestamp_ms * 1_000 + SECOND_US:  # the engine may refuse it
            return
        key = closing.symbol.encode()
        if record.topic == "ticks":
            self._ticks_us[key] = max(closing.clock_ts_us, self._ticks_us.get(key, 0))
        else:
            self._partitions = closing.partitions
            heard = self._moods_us[key]
            heard[closing.partition] = max(closing.clock_ts_us, heard.get(closing.partition, 0))

    def open_symbols(self, clock_us: int) -> frozenset[str]:
        """Return the symbols whose rows can become final up to shortly before `clock_us`, and those that have just begun."""
        minute_us = minute_start_us(clock_us)
        if self._asked[0] != minute_us:
            oldest = minute_us - STILL_OPEN_US
            reached = (key for key, began in self._began_us.items() if self._reached(key, began) >= oldest)
            self._asked = minute_us, frozenset(key.decode(errors="replace") for key in reached)
        return self._asked[1]

    def _reached(self, key: bytes, began_us: int) -> int:
        heard = self._moods_us.get(key, {})
        moods_us = min(heard.values()) if heard and len(heard) == self._partitions else 0
        return max(began_us, min(self._ticks_us.get(key, 0), moods_us) - MINUTE_US)


def is_ahead(record: Record) -> bool:
    """Return whether the clock in a tick or a sentiment is ahead of the broker's clock when it came."""
    if record.topic not in {"ticks", "sentiment"}:
        return False
    try:
        return _stamps.decode(record.value or b"").clock_ts_us > record.timestamp_ms * 1_000
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
