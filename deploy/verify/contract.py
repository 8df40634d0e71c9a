"""`tickcast verify contract`: every value on every topic against its published JSON Schema (`docs/schemas`).

What comes from outside may break it, and must then be a dead letter, with its bytes; what this system writes may not.
"""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
from jsonschema.protocols import Validator
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from deploy import audit, documents, replaying
from deploy.replaying import Wish
from deploy.verify import replayed
from deploy.verify.replayed import QUICK_TICKS
from producers import tapes
from producers.recorded import RecordedTape
from producers.tapes import Cut
from streams import bus, codec
from streams.bus import Record
from streams.errors import BadMessage, EnvironmentFault
from streams.messages import DeadLetter
from streams.settings import Settings
from streams.topics import TOPICS

QUICK = 2_000  # records of each partition
PATIENCE_S = 30.0  # for the dead letters of what has just come
ALL_MIN = 7 * 24 * 60.0  # longer than a replay takes
MANY = 100  # violations that are named


class Violation(NamedTuple):
    """A value that breaks the schema of its topic."""

    topic: str
    partition: int
    offset: int
    value: bytes
    why: str

    def in_words(self) -> str:
        """Return which, and why."""
        return f"{self.topic}/{self.partition}/{self.offset}: {self.why}"


class Found(NamedTuple):
    """How many records a topic holds, how many of them keep the contract, and those that do not."""

    records: int
    violations: list[Violation]


def run(settings: Settings, progress: Progress, *, quick: bool) -> dict[str, Any]:
    """Return the counts of each topic, and what neither keeps the contract nor is a dead letter; `holds` where nothing is."""
    bar = progress.add_task("topics", total=len(TOPICS))
    found: dict[str, Found] = {}
    for topic in TOPICS:
        found[topic] = _checked(settings, topic, quick=quick)
        progress.advance(bar)
    violations = [one for topic in found.values() for one in topic.violations]
    left = _without_letters(settings, violations)
    unexplained = Counter(one.topic for one in left)
    topics = {
        topic: {
            "records": one.records,
            "valid": one.records - len(one.violations),
            "dead_lettered": len(one.violations) - unexplained[topic],
            "broken": unexplained[topic],
        }
        for topic, one in found.items()
    }
    total = sum(one.records for one in found.values())
    return {"topics": topics, "records": total, "named": [one.in_words() for one in left[:MANY]], "holds": total > 0 and not left}


def of_tape(settings: Settings, tape: Path, console: Console, *, quick: bool) -> dict[str, Any]:
    """Replay `tape` in a namespace of its own, and return the figures of what it left, with the balance of its stages.

    Raises
    ------
    EnvironmentFault
        The replay was stopped before its end.
    """
    recording = isinstance(tapes.open_tape(tape), RecordedTape)
    cut = Cut(source=str(tape.resolve()), ticks=QUICK_TICKS if quick and not recording else 0)
    with replaying.with_broker(settings) as config, replayed.namespace(config, cut) as own:
        played = replaying.play(own, Wish(cut), console)
        if played is None:
            raise EnvironmentFault("the replay was stopped before its end: nothing can be checked")
        with Progress(console=Console(stderr=True), transient=True) as progress:
            figures = run(own, progress, quick=False)
        lines = audit.balance(own, minutes=ALL_MIN)
        well = all(line.balances for line in lines)
    return figures | {"balance": {line.stage: line.counts() for line in lines}, "holds": figures["holds"] and well}


def _checked(settings: Settings, topic: str, *, quick: bool) -> Found:
    judge = _judge(topic)
    violations = []
    count = 0
    for record in _records(settings, topic, quick=quick):
        count += 1
        if why := judge(record):
            violations.append(Violation(topic, record.partition, record.offset, record.value or b"", why))
    return Found(count, violations)


def _records(settings: Settings, topic: str, *, quick: bool) -> Iterator[Record]:
    client = bus.consumer(settings)
    try:
        places = bus.partitions_of(client, settings, topic)
        oldest, ends = client.beginning_offsets(places), client.end_offsets(places)
        start = {place: max(oldest[place], ends[place] - QUICK) if quick else oldest[place] for place in places}
        yield from bus.read_between(client, settings, start, ends)
    finally:
        client.close()


def _judge(topic: str) -> Callable[[Record], str]:
    """Return what says why a record breaks the schema of `topic`; empty: it does not."""
    schema = documents.schema(TOPICS[topic].message)
    validator: Validator = jsonschema.Draft7Validator(schema)

    def why(record: Record) -> str:
        try:
            value = json.loads(record.value or b"", parse_constant=_no_number)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
            return f"no JSON: {error}"
        return "" if validator.is_valid(value) else next(validator.iter_errors(value)).message[:200]

    return why


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _without_letters(settings: Settings, violations: list[Violation]) -> list[Violation]:
    """Return the violations that no dead letter holds the bytes of; those that have just come are given some time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while violations:
        letters = dict(_letters(settings))
        violations = [one for one in violations if letters.get((one.topic, one.partition, one.offset)) != one.value]
        if not violations or time.monotonic() > deadline_s:
            break
        time.sleep(1)
    return violations


def _letters(settings: Settings) -> Iterator[tuple[tuple[str, int, int], bytes]]:
    for record in bus.read_all(settings, "dead_letters"):
        try:
            letter = codec.decode(DeadLetter, record.value)
            yield (letter.topic, letter.partition, letter.offset), base64.b64decode(letter.value_base64)
        except (BadMessage, ValueError):
            continue  # it is counted as broken itself


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table("topic", "records", "valid", "broken, and dead letters", "broken otherwise")
    for topic, counts in figures["topics"].items():
        table.add_row(topic, *(f"{count:,}" for count in counts.values()))
    if figures["named"]:
        table.caption = escape("\n".join(figures["named"][:5]))
    return table
