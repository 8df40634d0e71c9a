"""`tickcast verify fuzz`: bad messages on every input topic in turn, good ones among them; none is lost, and memory stays flat.

Each topic has a namespace of its own, and the roles that read it run. A message that `streams/codec.py` refuses must be a dead
letter with its very bytes, of each stage that reads the topic; a good one must be none, and have come out. What was changed
and is still good may be either: it may come too late, or say what no stage can use. A role that ends fails the check.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from deploy import bench_engine, growth
from deploy.local.processes import Process
from deploy.verify import fuzzed
from deploy.verify.fuzzed import AIMS, FUZZ, Aim
from streams import bus, codec
from streams.clock import wall_ts_us
from streams.errors import EnvironmentFault, SettingsError
from streams.messages import DeadLetter
from streams.settings import Settings
from streams.topics import TOPICS

READERS: Mapping[str, tuple[str, ...]] = {
    "ticks": ("stream", "archive"),
    "headlines": ("sentiment",),
    "sentiment": ("stream", "archive"),
    "features": ("forecast", "score"),
    "forecasts": ("score",),
    "models": ("forecast",),
}
QUICK_MESSAGES = 2_000
QUICK_TOPICS = ("ticks", "headlines", "features")
WAIT_S = 300.0  # without anything new, which a busy machine may need for a batch of 100,000: then it is lost
LOOK_S = 1.0
MOST_NAMED = 5

Identity = tuple[str, int, int]
"""Of a dead letter of a topic that is known: stage, partition and offset."""


def run(settings: Settings, messages: int, topics: Sequence[str], console: Console, seed: int = 1) -> dict[str, Any]:
    """Send `messages` fuzzed messages to each of `topics`; return the figures, `holds` among them.

    Raises
    ------
    SettingsError
        No stage dead-letters what is bad on one of the topics.
    EnvironmentFault
        A role ended.
    """
    aims = {aim.topic: aim for aim in AIMS}
    if unknown := [topic for topic in topics if topic not in aims]:
        raise SettingsError(f"nobody reads {unknown[0]!r} as input; there are {', '.join(aims)}")
    began_s = time.monotonic()
    with bench_engine.own_broker(settings) as own:
        found = {topic: _fuzzed(own, aims[topic], messages, seed, console) for topic in topics or aims}
    return {
        "messages": messages,
        "seed": seed,
        "topics": found,
        "seconds": round(time.monotonic() - began_s, 1),
        "holds": all(one["holds"] for one in found.values()),
    }


def _fuzzed(settings: Settings, aim: Aim, messages: int, seed: int, console: Console) -> dict[str, Any]:
    console.print(f"{messages:,} messages to {aim.topic} …", highlight=False)
    own = msgspec.structs.replace(settings, topic_prefix=f"fuzz-{aim.topic}.", sentiment="minilm", offline=True, checkpoint_s=10)
    bus.ensure_topics(own)
    good = -(-messages // fuzzed.EVERY)
    minute_us = fuzzed.first_minute_us(wall_ts_us(), good if aim.topic == "features" else 0)
    began_s = time.monotonic()
    with bench_engine.running_roles(own, *READERS[aim.topic]) as roles, growth.watched(roles) as sizes:
        with bus.producing(own) as client:
            for record in aim.records(messages, minute_us, seed):
                bus.send(client, own, record)
        sent = list(_sent(own, aim))
        inbox = Inbox(aim.topic, wanted(sent, aim.stages))
        settle(own, roles, inbox, lambda: aim.missing(own, good, minute_us))
        figures = judged(sent, inbox.letters, aim.stages)
        for line in named(own, aim.topic, inbox.missing):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    return claimed(figures | {"good_missing": aim.missing(own, good, minute_us), "memory_mib": growth.parts(sizes)}) | {
        "seconds": round(time.monotonic() - began_s, 1)
    }


class Sent(NamedTuple):
    """A record of the topic: where, a checksum of its bytes, whether it is a good one of ours, whether it breaks the contract."""

    partition: int
    offset: int
    digest: bytes
    good: bool
    bad: bool


class Letter(NamedTuple):
    """A dead letter: whose, of which record, a checksum of the bytes in it."""

    stage: str
    partition: int
    offset: int
    digest: bytes

    @property
    def identity(self) -> Identity:
        """What a repeat of it shares."""
        return self[:3]


class Inbox:
    """The dead letters of the records of one topic; each look reads those that came since the one before.

    Parameters
    ----------
    topic : str
        Bare name; letters of other topics are left.
    missing : iterable of Identity
        The letters that must come.

    Attributes
    ----------
    letters : list[Letter]
        What was read, repeats too.
    missing : set[Identity]
        What must come and was not read.
    """

    def __init__(self, topic: str, missing: Iterable[Identity]) -> None:
        self.letters: list[Letter] = []
        self.missing = set(missing)
        self._topic = topic
        self._next = 0

    def look(self, client: KafkaConsumer, settings: Settings, end: dict[TopicPartition, int]) -> None:
        """Read up to `end` of the one partition of `dead_letters`."""
        for record in bus.read_between(client, settings, dict.fromkeys(end, self._next), end):
            self._take(codec.decode(DeadLetter, record.value))
        (self._next,) = end.values()

    def _take(self, letter: DeadLetter) -> None:
        if letter.topic == self._topic:
            digest = _digest(base64.b64decode(letter.value_base64))
            self.letters.append(Letter(letter.stage, letter.partition, letter.offset, digest))
            self.missing.discard(self.letters[-1].identity)


def _digest(value: bytes | None) -> bytes:
    return hashlib.blake2b(value or b"", digest_size=16).digest()


def _sent(settings: Settings, aim: Aim) -> Iterator[Sent]:
    for record in bus.read_all(settings, aim.topic):
        good = not (record.key or b"").startswith(FUZZ.encode())
        yield Sent(record.partition, record.offset, _digest(record.value), good, aim.is_bad(record.value))


def settle(
    settings: Settings, roles: Sequence[Process], inbox: Inbox, good_missing: Callable[[], int], wait_s: float = WAIT_S
) -> None:
    """Return once no letter and no good one is missing and nothing more comes, or nothing has come to any topic for `wait_s`.

    How many letters there are tells nothing: repeats are among them, and letters of what came too late.

    Raises
    ------
    EnvironmentFault
        A role ended.
    """
    ends: dict[TopicPartition, int] = {}
    changed_s = time.monotonic()
    # two: kafka-python's forgets where topics are that it is not assigned
    with closing(bus.consumer(settings)) as client, closing(bus.consumer(settings)) as reader:
        places = bus.partitions_of(client, settings, *[name for name in TOPICS if name != "events"])
        (letters,) = bus.partitions_of(client, settings, "dead_letters")
        while time.monotonic() - changed_s < wait_s:
            _check(roles)
            before, ends = ends, client.end_offsets(places)
            inbox.look(reader, settings, {letters: ends[letters]})
            if ends != before:
                changed_s = time.monotonic()
            elif not inbox.missing and not good_missing():
                return
            time.sleep(LOOK_S)


def _check(roles: Sequence[Process]) -> None:
    for role in roles:
        if role.broken:
            raise EnvironmentFault(f"{role.role} ended on what was sent: {role.last_line()}")


def wanted(sent: Sequence[Sent], stages: Sequence[str]) -> dict[Identity, bytes]:
    """Return the dead letters that must come of what was sent, with the checksum of each one's bytes."""
    return {(stage, one.partition, one.offset): one.digest for one in sent if one.bad for stage in stages}


def named(settings: Settings, topic: str, missing: Collection[Identity]) -> Iterator[str]:
    """Yield a line for each of the first letters that are missing: whose, of which record, and its value."""
    first = sorted(missing)[:MOST_NAMED]
    places = {identity[1:] for identity in first}
    values = {
        (one.partition, one.offset): one.value for one in bus.read_all(settings, topic) if (one.partition, one.offset) in places
    }
    for stage, *place in first:
        partition, offset = place
        yield f"no dead letter of {stage} for {topic}-{partition} at {offset}: {values[partition, offset]!r:.500}"


def judged(sent: Sequence[Sent], letters: Sequence[Letter], stages: Sequence[str]) -> dict[str, int]:
    """Return how what was sent compares with its dead letters."""
    by_identity = {letter.identity: letter.digest for letter in letters}
    must = wanted(sent, stages)
    good = {(one.partition, one.offset) for one in sent if one.good}
    return {
        "sent": len(sent),
        "good": len(good),
        "bad": sum(one.bad for one in sent),
        "letters": len(by_identity),
        "letters_missing": len(must.keys() - by_identity.keys()),
        "letters_with_other_bytes": sum(by_identity.get(name, digest) != digest for name, digest in must.items()),
        "letters_repeated": len(letters) - len(by_identity),
        "good_dead": sum(letter[1:3] in good for letter in letters),
    }


def claimed(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a topic with whether the claim holds of it."""
    flat = growth.is_flat(figures["memory_mib"])
    lost = sum(figures[name] for name in ("letters_missing", "letters_with_other_bytes", "good_dead", "good_missing"))
    return figures | {"flat": flat, "holds": flat and not lost and figures["bad"] > 0}


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table(
        "topic", "sent", "good", "bad", "dead letters missing, changed", "good ones dead, missing", "MiB: begin, middle, end"
    )
    for topic, one in figures["topics"].items():
        counts = (one["sent"], one["good"], one["bad"])
        missing = f"{one['letters_missing']:,}, {one['letters_with_other_bytes']:,}"
        lost = f"{one['good_dead']:,}, {one['good_missing']:,}"
        memory = "\n".join(f"{role} {', '.join(f'{size:,.0f}' for size in sizes)}" for role, sizes in one["memory_mib"].items())
        table.add_row(topic, *(f"{count:,}" for count in counts), missing, lost, memory)
    table.caption = f"{figures['seconds']:,.0f} s"
    return table
