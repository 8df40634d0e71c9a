"""`tickcast verify fuzz`: bad messages on every input topic in turn, good ones among them; none is lost, and memory stays flat.

Each topic has a namespace of its own, and the roles that read it run. A message that `streams/codec.py` refuses must be a dead
letter with its very bytes, of each stage that reads the topic; a good one must be none, and have come out. What was changed
and is still good may be either: it may come too late, or say what no stage can use. A role that ends fails the check.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
from kafka import TopicPartition
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
        wanted = sum(one.bad for one in sent) * len(aim.stages)
        _settle(own, roles, lambda letters: letters >= wanted and aim.missing(own, good, minute_us) == 0)
        figures = judged(sent, list(_letters(own, aim)), aim.stages)
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


def _digest(value: bytes | None) -> bytes:
    return hashlib.blake2b(value or b"", digest_size=16).digest()


def _sent(settings: Settings, aim: Aim) -> Iterator[Sent]:
    for record in bus.read_all(settings, aim.topic):
        good = not (record.key or b"").startswith(FUZZ.encode())
        yield Sent(record.partition, record.offset, _digest(record.value), good, aim.is_bad(record.value))


def _letters(settings: Settings, aim: Aim) -> Iterator[Letter]:
    for record in bus.read_all(settings, "dead_letters"):
        letter = codec.decode(DeadLetter, record.value)
        if letter.topic == aim.topic:
            yield Letter(letter.stage, letter.partition, letter.offset, _digest(base64.b64decode(letter.value_base64)))


def _settle(settings: Settings, roles: Sequence[Process], is_all: Callable[[int], bool]) -> None:
    """Wait until `is_all`, of so many dead letters, or until nothing has come to any topic for :data:`WAIT_S`."""
    ends: dict[TopicPartition, int] = {}
    changed_s = time.monotonic()
    with closing(bus.consumer(settings)) as client:
        places = bus.partitions_of(client, settings, *[name for name in TOPICS if name != "events"])
        (letters,) = bus.partitions_of(client, settings, "dead_letters")
        while time.monotonic() - changed_s < WAIT_S:
            _check(roles)
            if ends != (ends := client.end_offsets(places)):
                changed_s = time.monotonic()
                if is_all(ends[letters]):
                    return
            time.sleep(LOOK_S)


def _check(roles: Sequence[Process]) -> None:
    for role in roles:
        if role.broken:
            raise EnvironmentFault(f"{role.role} ended on what was sent: {role.last_line()}")


def judged(sent: Sequence[Sent], letters: Sequence[Letter], stages: Sequence[str]) -> dict[str, int]:
    """Return how what was sent compares with its dead letters."""
    by_identity = {letter[:3]: letter.digest for letter in letters}
    wanted = {(stage, one.partition, one.offset): one.digest for one in sent if one.bad for stage in stages}
    good = {(one.partition, one.offset) for one in sent if one.good}
    return {
        "sent": len(sent),
        "good": len(good),
        "bad": sum(one.bad for one in sent),
        "letters": len(by_identity),
        "letters_missing": len(wanted.keys() - by_identity.keys()),
        "letters_with_other_bytes": sum(by_identity.get(name, digest) != digest for name, digest in wanted.items()),
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
