"""Orders on `control`, and what became of them.

An answer has the command id, the kind and the arguments of its order, and among the arguments `state` and `said`; so both lie
under one key, and the last word on it tells where an order stands. Whoever carries out orders reads the topic from its
beginning: what has an answer is done with, what has none and is older than :data:`STALE_US` is refused, for whoever asked has
long gone on to something else.

A tape is steered by the kind `replay` in its own namespace: `do` is one of :data:`STEERS`, with `speed` or `to_ts_us`. It is
answered by the producer, and once that has ended by whoever started it; `again` answers that the run has to begin again to get
there (docs/adr/0012).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from contextlib import closing
from typing import Literal

from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.clock import SECOND_US, wall_ts_us
from streams.errors import BadMessage
from streams.messages import Control
from streams.settings import Settings

Kind = Literal["replay", "retrain", "promote", "rollback", "redrive"]
State = Literal["begun", "done", "refused", "again"]
STEERS = ("pause", "resume", "speed", "seek", "stop")
STALE_US = 60 * SECOND_US


def order(kind: Kind, asked_by: str, arguments: dict[str, str] | None = None) -> Control:
    """Return a new order with an id of its own."""
    return Control(
        command_id=f"{kind}-{uuid.uuid4().hex}",
        kind=kind,
        asked_by=asked_by,
        wall_ts_us=wall_ts_us(),
        arguments=arguments or {},
    )


def answer(asked: Control, answered_by: str, state: State, said: str, **more: str) -> Control:
    """Return what became of `asked`; `said` is a sentence for people, `more` is for programs."""
    return Control(
        command_id=asked.command_id,
        kind=asked.kind,
        asked_by=answered_by,
        wall_ts_us=wall_ts_us(),
        arguments=asked.arguments | {"state": state, "said": said} | more,
    )


def is_answer(word: Control) -> bool:
    """Return whether `word` tells what became of an order."""
    return "state" in word.arguments


def is_over(word: Control) -> bool:
    """Return whether nothing more comes after `word`."""
    return word.arguments.get("state", "begun") != "begun"


def is_stale(asked: Control, now_us: int) -> bool:
    """Return whether nobody waits for `asked` any more at `now_us`, wall clock."""
    return now_us - asked.wall_ts_us > STALE_US


def outgoing(word: Control) -> Outgoing:
    """Return the record that carries an order or an answer."""
    return bus.outgoing("control", word.command_id, word)


def send(settings: Settings, *words: Control) -> None:
    """Write `words` to `control`, and wait until the broker has them."""
    with bus.producing(settings) as client:
        bus.send_all(client, settings, map(outgoing, words))


def asked(settings: Settings, wanted: Control, patience_s: float) -> Control | None:
    """Give an order and wait for its last word; None where none came in time."""
    deadline_s = time.monotonic() + patience_s
    with closing(bus.follow(settings, "control", stop=lambda: time.monotonic() > deadline_s, last=0)) as arriving:
        next(arriving)  # the reader stands at the end now: no answer passes it
        send(settings, wanted)
        words = (word for records in arriving for word in decoded(records) if word.command_id == wanted.command_id)
        return next((word for word in words if is_over(word)), None)


def decoded(records: Iterable[Record]) -> list[Control]:
    """Return what is an order or an answer among `records`; what is neither is nobody's business."""
    return [word for record in records if (word := _decoded(record)) is not None]


def _decoded(record: Record) -> Control | None:
    try:
        return codec.decode(Control, record.value)
    except BadMessage:
        return None


class Book:
    """The orders of some kinds, and their last words, in the order in which they came.

    Parameters
    ----------
    kinds : str
        Of which kinds.
    """

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = frozenset(kinds)
        self._asked: dict[str, Control] = {}
        self._told: dict[str, Control] = {}

    def take(self, words: Iterable[Control]) -> None:
        """Enter `words`."""
        for word in words:
            if word.kind in self._kinds:
                (self._told if is_answer(word) else self._asked)[word.command_id] = word

    def waiting(self) -> list[Control]:
        """Return the orders that have no answer."""
        return [asked for name, asked in self._asked.items() if name not in self._told]

    def begun(self) -> list[Control]:
        """Return the orders that somebody has begun and not ended."""
        return [asked for name, asked in self._asked.items() if name in self._told and not is_over(self._told[name])]

    def told(self, *states: State) -> list[Control]:
        """Return the answers that are one of `states`."""
        return [word for word in self._told.values() if word.arguments["state"] in states]


def microseconds(arguments: dict[str, str], name: str) -> int:
    """Return the time in argument `name`.

    Raises
    ------
    ValueError
        There is none, or it is no time.
    """
    text = arguments.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ValueError(f"{name} is a time in microseconds, not {text[:40]!r}")
    return int(text)
