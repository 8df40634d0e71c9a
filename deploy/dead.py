"""Dead letters: what there is, what is in one, and the way back into the topic that they came from, once each.

`control` keeps who was redriven: a note before the record is sent, and one behind it. Where a run was broken off between the two,
the next one looks whether the record is there: it carries its letter's name in a header.
"""

from __future__ import annotations

import base64
import getpass
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streams import bus, codec
from streams.bus import REDRIVEN_HEADER, Record
from streams.clock import wall_ts_us
from streams.errors import BadMessage, SettingsError
from streams.messages import Control, DeadLetter
from streams.settings import Settings
from streams.topics import TOPICS

BEGUN, DONE = "begun", "done"
REFUSED = frozenset({"too_late", "from_the_future"})
"""What would be refused again, and must be: its time is over, or was never near."""


class Name(NamedTuple):
    """What identifies a dead letter."""

    topic: str
    partition: int
    offset: int
    stage: str

    def __str__(self) -> str:
        """Return the name as `tickcast dead show` takes it."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.stage}"


Letters = dict[Name, DeadLetter]


def name_of(letter: DeadLetter) -> Name:
    """Return the identity of `letter`."""
    return Name(letter.topic, letter.partition, letter.offset, letter.stage)


def parse(text: str) -> Callable[[Name], bool]:
    """Return what says whether a letter has the name TOPIC/PARTITION/OFFSET, of any stage, or TOPIC/PARTITION/OFFSET/STAGE.

    Raises
    ------
    SettingsError
        `text` is no such name.
    """
    topic, *rest = text.split("/", 3)
    try:
        partition, offset, *stage = rest
        wanted = (topic, int(partition), int(offset), *stage)
    except ValueError as error:
        raise SettingsError(
            f"a dead letter's name is TOPIC/PARTITION/OFFSET[/STAGE], not {text!r}; `tickcast dead list`"
        ) from error
    return lambda name: name[: len(wanted)] == wanted


def letters(settings: Settings) -> Letters:
    """Return the dead letters by name, each once, in the order in which they came."""
    found: Letters = {}
    for record in bus.read_all(settings, "dead_letters"):
        try:
            letter = codec.decode(DeadLetter, record.value)
        except BadMessage:
            continue  # somebody else's
        found.setdefault(name_of(letter), letter)
    return found


class Line(NamedTuple):
    """How many letters a stage has for a reason, how many of them were redriven, and the name of one."""

    topic: str
    stage: str
    reason: str
    letters: int
    redriven: int
    example: str


def summary(found: Letters, redriven: Iterable[Name]) -> list[Line]:
    """Return the letters by topic, stage and reason, most first."""
    gone = frozenset(redriven)
    by_kind: dict[tuple[str, str, str], list[Name]] = {}
    for name, letter in found.items():
        by_kind.setdefault((name.topic, name.stage, letter.error_class), []).append(name)
    lines = [Line(*kind, len(names), sum(name in gone for name in names), str(names[-1])) for kind, names in by_kind.items()]
    return sorted(lines, key=lambda line: (-line.letters, line[:3]))


def described(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter for people: its bytes as text where they are that, else as hexadecimal digits."""
    value = base64.b64decode(letter.value_base64)
    key = None if letter.key_base64 is None else base64.b64decode(letter.key_base64)
    return {
        "name": str(name_of(letter)),
        "reason": letter.error_class,
        "message": letter.message,
        "came_ts_us": letter.timestamp_us,
        "key": None if key is None else _shown(key),
        "headers": letter.headers,
        "bytes": len(value),
        "value": _shown(value),
    }


def _shown(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"hex {value.hex(' ')}"


def marks(settings: Settings) -> dict[Name, tuple[str, int]]:
    """Return how far the redriving of each letter came, BEGUN or DONE, and when that was noted, by the broker's clock in ms."""
    found: dict[Name, tuple[str, int]] = {}
    for record in bus.read_all(settings, "control"):
        try:
            order = codec.decode(Control, record.value)
            said = order.arguments
            name = Name(said["topic"], int(said["partition"]), int(said["offset"]), said["stage"])
            state = said["state"]
        except (BadMessage, KeyError, ValueError):
            continue
        if order.kind == "redrive" and found.get(name, ("", 0))[0] != DONE:
            found[name] = state, found.get(name, ("", record.timestamp_ms))[1]
    return found


class Redriven(NamedTuple):
    """What became of the letters that were to be redriven."""

    sent: list[Name]
    already: list[Name]
    refused: list[Name]


def redrive(settings: Settings, chosen: Sequence[DeadLetter]) -> Redriven:
    """Send the original bytes, keys and headers of `chosen` into their topics, those that never were; wait for the broker.

    Where the original record is still in its topic it is sent again as it is; else what the letter keeps of it.
    """
    known = marks(settings)
    refused = [letter for letter in chosen if letter.error_class in REFUSED]
    wanted = [letter for letter in chosen if letter.error_class not in REFUSED]
    begun = {name: at_ms for name, (state, at_ms) in known.items() if state == BEGUN}
    with closing(bus.consumer(settings)) as client:
        there = _sent_before(client, settings, {name_of(one): begun[name_of(one)] for one in wanted if name_of(one) in begun})
        done = {name for name, (state, _) in known.items() if state == DONE} | there
        new = [letter for letter in wanted if name_of(letter) not in done]
        with bus.producing(settings) as producer:
            _mark(producer, settings, (name_of(letter) for letter in new), BEGUN)
            for letter in new:
                _send(producer, settings, client, letter)
            producer.flush()
            _mark(producer, settings, [*there, *(name_of(letter) for letter in new)], DONE)
    already = [name_of(letter) for letter in wanted if name_of(letter) in done]
    return Redriven([name_of(letter) for letter in new], already, [name_of(letter) for letter in refused])


def _sent_before(client: KafkaConsumer, settings: Settings, begun: dict[Name, int]) -> set[Name]:
    """Return which letters are in their topics again though no note behind them says so."""
    by_text = {str(name): name for name in begun}
    found: set[Name] = set()
    for topic in {name.topic for name in begun}:
        places = bus.partitions_of(client, settings, topic)
        since = min(at_ms for name, at_ms in begun.items() if name.topic == topic)
        first, ends = client.offsets_for_times(dict.fromkeys(places, since)), client.end_offsets(places)
        start = {place: ends[place] if first[place] is None else first[place].offset for place in places}
        again = (record.header(REDRIVEN_HEADER) for record in bus.read_between(client, settings, start, ends))
        found |= {by_text[text] for text in again if text in by_text}
    return found


def _send(producer: KafkaProducer, settings: Settings, client: KafkaConsumer, letter: DeadLetter) -> None:
    place = TopicPartition(settings.topic(letter.topic), letter.partition)
    record = _original(client, settings, place, letter)
    headers = [*record.headers, (REDRIVEN_HEADER, str(name_of(letter)).encode())]
    partitions = {one.partition for one in bus.partitions_of(client, settings, letter.topic)}
    where = letter.partition if letter.partition in partitions else None
    producer.send(place.topic, record.value, bus.sendable_key(record), headers, where).add_errback(_raise)


def _raise(error: BaseException) -> None:
    raise error


def _original(client: KafkaConsumer, settings: Settings, place: TopicPartition, letter: DeadLetter) -> Record:
    value, key = base64.b64decode(letter.value_base64), letter.key_base64
    kept = Record(
        letter.topic,
        letter.partition,
        letter.offset,
        None if key is None else base64.b64decode(key),
        None if letter.error_class == "no_value" else value,
        0,
        tuple((name, text.encode()) for name, text in letter.headers.items()),
    )
    first, end = client.beginning_offsets([place])[place], client.end_offsets([place])[place]
    if not first <= letter.offset < end:
        return kept
    there = list(bus.read_between(client, settings, {place: letter.offset}, {place: letter.offset + 1}))
    return there[0] if there and (there[0].value or b"") == value else kept


def _mark(producer: KafkaProducer, settings: Settings, names: Iterable[Name], state: str) -> None:
    bus.send_all(producer, settings, (bus.outgoing("control", str(name), _note(name, state)) for name in names))


def _note(name: Name, state: str) -> Control:
    arguments = {field: str(value) for field, value in name._asdict().items()}
    return Control(
        command_id=f"redrive-{state}-{name}"[:256],
        kind="redrive",
        asked_by=getpass.getuser(),
        wall_ts_us=wall_ts_us(),
        arguments=arguments | {"state": state},
    )


def choose(found: Letters, names: Sequence[str], *, topic: str, stage: str, reason: str) -> Iterator[DeadLetter]:
    """Yield the letters that have one of `names` (none: any) and are of `topic`, `stage` and `reason` (empty: any).

    Raises
    ------
    SettingsError
        A name is none, or nobody's.
    """
    if topic and topic not in TOPICS:
        raise SettingsError(f"there is no topic {topic!r}; there are {', '.join(TOPICS)}")
    is_named = [parse(text) for text in names]
    for text, fits in zip(names, is_named, strict=True):
        if not any(fits(name) for name in found):
            raise SettingsError(f"there is no dead letter {text!r}; `tickcast dead list` shows an example of each kind")
    for name, letter in found.items():
        fits_kind = topic in {"", name.topic} and stage in {"", name.stage} and reason in {"", letter.error_class}
        if fits_kind and (not names or any(fits(name) for fits in is_named)):
            yield letter


def counts(found: Letters) -> Counter[tuple[str, str]]:
    """Return how many letters there are of each topic and stage."""
    return Counter((name.topic, name.stage) for name in found)
