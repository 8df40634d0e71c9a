"""What a run said, by identity and as bytes, and where two runs differ: what `verify replay` and `verify faults` compare.

Compared are the last row of `features` of each (symbol, minute); `sentiment`; `forecasts` of final rows; `scores`; dead letters,
without headers, Kafka's time stamp and offsets, which tell of the way and not of the message. Provisional forecasts and
rows on the way to the last depend on timing and are not compared. Of each a checksum is kept, not the bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from streams import codec
from streams.bus import Record
from streams.clock import iso
from streams.errors import BadMessage
from streams.messages import DeadLetter, Features, Forecast, Score, Sentiment

TOPICS = ("features", "sentiment", "forecasts", "scores", "dead_letters")
_BY_MODEL = frozenset({"forecasts", "scores"})
MANY = 1_000  # differences that are named


class Item(NamedTuple):
    """What was said: a checksum of its bytes, the series that it belongs to, and where in that it stands.

    A row that is not final is `open`: where a recording ends, so may be its last minute.
    """

    digest: bytes
    series: tuple[str, ...]
    at: int
    open: bool = False
    revision: int = 0


Name = tuple[str, ...]
"""The topic, then what identifies the message."""

Said = dict[Name, Item]


class Difference(NamedTuple):
    """One thing that two runs say differently."""

    name: Name
    what: str


def of(records: Iterable[Record]) -> Said:
    """Return what `records` say; whatever is no message of its topic is passed over."""
    said: Said = {}
    letters: Counter[Name] = Counter()
    seen: set[tuple[str, int, int, str]] = set()
    for record in records:
        try:
            if record.topic == "dead_letters":
                _take_letter(codec.decode(DeadLetter, record.value), said, letters, seen)
            else:
                _TAKERS[record.topic](record, said)
        except BadMessage:
            continue
    return said


def _digest(value: bytes | None) -> bytes:
    return hashlib.blake2b(value or b"", digest_size=16).digest()


def _put(said: Said, name: Name, item: Item) -> None:
    """Add what must come once, or again with the same bytes: one identity with two contents equals nothing."""
    known = said.get(name)
    if known is not None and known.digest != item.digest:
        item = item._replace(digest=_digest(b"".join(sorted((known.digest, item.digest)))))
    said[name] = item


def _take_row(record: Record, said: Said) -> None:
    row = codec.decode(Features, record.value)
    name = ("features", row.symbol, str(row.minute_ts_us))
    known = said.get(name)
    if known is None or row.revision >= known.revision:
        said[name] = Item(_digest(record.value), (row.symbol,), row.minute_ts_us, not row.final, row.revision)


def _take_sentiment(record: Record, said: Said) -> None:
    mood = codec.decode(Sentiment, record.value)
    name = ("sentiment", mood.headline_id, mood.symbol, str(mood.partition))
    _put(said, name, Item(_digest(record.value), (mood.symbol,), mood.clock_ts_us))


def _take_forecast(record: Record, said: Said) -> None:
    if b'"provisional":true' in (record.value or b""):
        return
    made = codec.decode(Forecast, record.value)
    series = (made.symbol, str(made.horizon_min), made.model_id)
    _put(said, ("forecasts", made.forecast_id), Item(_digest(record.value), series, made.as_of_ts_us))


def _take_score(record: Record, said: Said) -> None:
    score = codec.decode(Score, record.value)
    series = (score.symbol, str(score.horizon_min), score.model_id)
    _put(said, ("scores", score.forecast_id), Item(_digest(record.value), series, score.as_of_ts_us))


_TAKERS: Mapping[str, Callable[[Record, Said], None]] = {
    "features": _take_row,
    "sentiment": _take_sentiment,
    "forecasts": _take_forecast,
    "scores": _take_score,
}


def _take_letter(letter: DeadLetter, said: Said, letters: Counter[Name], seen: set[tuple[str, int, int, str]]) -> None:
    identity = (letter.topic, letter.partition, letter.offset, letter.stage)
    if identity in seen:
        return  # dead letters are at least once
    seen.add(identity)
    plain = codec.encode(msgspec.structs.replace(letter, headers={}, timestamp_us=0, offset=0))
    name = ("dead_letters", letter.topic, letter.stage, letter.error_class, _digest(plain).hex())
    letters[name] += 1
    series = (letter.topic, str(letter.partition), letter.stage)
    said[*name, str(letters[name])] = Item(_digest(plain), series, letter.offset)


def differences(found: Said, wanted: Said, *, recording: bool = False) -> list[Difference]:
    """Return where `found` is not `wanted`.

    With `recording`, `wanted` is what was recorded: what `found` says behind the end of a recorded series was not recorded yet,
    and of the stage `sentiment`, which does not run in a replay of a recording, there are no dead letters. A dead letter of
    another stage, and a forecast of a model that nobody recorded, is a difference wherever it is.
    """
    if recording:
        end = _End.of(wanted)
        found = {name: item for name, item in found.items() if not end.is_before(name, item)}
        wanted = {name: item for name, item in wanted.items() if not (end.is_before(name, item) or _is_unscored(name))}
    return [
        Difference(name, _what(found.get(name), wanted.get(name)))
        for name in sorted(found.keys() | wanted.keys())
        if name not in found or name not in wanted or found[name].digest != wanted[name].digest
    ]


def _what(found: Item | None, wanted: Item | None) -> str:
    if found is None:
        return "is missing"
    return "is too many" if wanted is None else "has other bytes"


@dataclass(frozen=True)
class _End:
    """Where a recording's outputs end: by topic and series the newest that is closed; and whose forecasts it has."""

    newest: Mapping[tuple[str, tuple[str, ...]], int]
    models: frozenset[str]

    @classmethod
    def of(cls, wanted: Said) -> _End:
        newest: dict[tuple[str, tuple[str, ...]], int] = {}
        for name, item in wanted.items():
            if not item.open:
                newest[name[0], item.series] = max(item.at, newest.get((name[0], item.series), 0))
        return cls(newest, frozenset(series[-1] for topic, series in newest if topic in _BY_MODEL))

    def is_before(self, name: Name, item: Item) -> bool:
        """Return whether the recording had ended before this was said."""
        if name[0] == "dead_letters" or (name[0] in _BY_MODEL and item.series[-1] not in self.models):
            return False
        return item.at > self.newest.get((name[0], item.series), -1)


def _is_unscored(name: Name) -> bool:
    return name[0] == "dead_letters" and name[2] == "sentiment"


def counts(said: Said) -> dict[str, int]:
    """Return how many things were said on each topic."""
    by_topic = Counter(name[0] for name in said)
    return {topic: by_topic[topic] for topic in TOPICS}


def figures(differing: list[Difference]) -> dict[str, Any]:
    """Return how many things differ on each topic, and the first of them by name."""
    by_topic = Counter(difference.name[0] for difference in differing)
    return {
        "differing": len(differing),
        "by_topic": dict(by_topic),
        "named": [named(difference) for difference in differing[:MANY]],
    }


def named(difference: Difference) -> str:
    """Return a difference in words.

    >>> named(Difference(("features", "AAPL", "1340285400000000"), "has other bytes"))
    'features AAPL 2012-06-21T13:30:00+00:00 has other bytes'
    """
    topic, *rest = difference.name
    parts = [iso(int(part)) if topic == "features" and part.isdigit() else part for part in rest]
    return " ".join((topic, *parts, difference.what))
