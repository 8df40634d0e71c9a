"""What a consumer of this project is: a `Handler`, run by one Faust worker (see `worker.py`).

A handler is plain Python: records in, records out. It never touches Kafka, so that a test feeds it a list and compares
a list, and so that the same handler runs in a live system and in a replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from streams.bus import Outgoing, Record

LARGEST_BATCH = 5_000  # records: `max_batch` of handlers that take microseconds for each

WHOLE: Mapping[str, int] = MappingProxyType({})  # `lookback_min` of handlers that remember all that there is


class Handler(Protocol):
    """The work of one consumer role.

    The worker calls :meth:`restore` for the past records of `memory` (only partitions that it was assigned), in offset order,
    after each start and rebalance and before any new record; then :meth:`handle` with whatever arrived, in partition order.
    Both run on one thread of their own and may block. `handle` must not raise on bad input: it returns a dead letter
    (:func:`streams.bus.dead_letter`) instead. An exception from it stops the process before anything is committed,
    and the supervisor starts it again. Offsets are committed only after every returned record was acknowledged, so a
    crash may repeat a batch: outputs need deterministic ids. Records for compacted topics are states: they are sent once
    every other record of their batch was acknowledged, so that a state never runs ahead of what belongs to it.
    """

    name: str
    """Role and consumer group, as in `forecast`."""
    inputs: tuple[str, ...]
    """Topics (bare names) that are consumed and committed."""
    memory: tuple[str, ...]
    """Topics (bare names) whose past goes into :meth:`restore`: inputs up to the committed offset, others to their end."""
    lookback_min: Mapping[str, int]
    """How far :meth:`restore` reaches back on a topic of `memory`, in minutes before the last handled record by the broker's
    clock; a topic that is not named is read from its beginning."""
    max_batch: int
    """How many records the next :meth:`handle` may be given: no more than it answers in a few seconds. May change at any time."""

    @property
    def company_s(self) -> float:
        """How long the first record of a batch waits for others: 0 where every millisecond counts. May change at any time."""

    @property
    def due_s(self) -> float | None:
        """In how many seconds to call :meth:`handle` again even if nothing has come; None: not before something comes.

        What such a call answers may be lost in a crash: the records behind it are committed already.
        """

    def restore(self, record: Record) -> None:
        """Take one record of the past into the state, without output."""

    def describe(self) -> str:
        """Return a few words for the role's status, as in the id of the model that it serves; empty: nothing to say yet."""

    def forget(self) -> None:
        """Drop all state: the partitions are about to change hands, and :meth:`restore` follows."""

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return what to send for `records`."""
