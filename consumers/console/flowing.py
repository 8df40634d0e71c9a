"""How fast each topic grows and how far behind each consumer group is, as told. Pure; `flow.py` asks the broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

RATE_S = 10.0  # rates are means over so long


class TopicFlow(msgspec.Struct, frozen=True):
    """One topic: records ever written, and records a second over the last 10 s; None until that is known."""

    topic: str
    records: int
    per_s: float | None


class Lag(msgspec.Struct, frozen=True):
    """How far one consumer group is behind in one partition, in records."""

    group: str
    topic: str
    partition: int
    committed: int
    end: int
    lag: int


class Flow(msgspec.Struct, frozen=True):
    """All of it at one moment, wall clock of the server; `at_us` is 0 before the first look."""

    at_us: int = 0
    topics: list[TopicFlow] = []
    lags: list[Lag] = []

    @property
    def largest_lag(self) -> int:
        """The lag of the group that is furthest behind in one partition."""
        return max((row.lag for row in self.lags), default=0)


class Rates:
    """Records a second of each topic, from how its end moves."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def add(self, now_s: float, ends: Mapping[str, int]) -> None:
        """Take the number of records ever written to each topic at `now_s`, seconds of any clock."""
        self._seen.append((now_s, dict(ends)))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= RATE_S:
            self._seen.popleft()

    def flows(self) -> list[TopicFlow]:
        """Return what was last seen, with rates since the oldest look within 10 s."""
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        span_s = last_s - first_s
        return [
            TopicFlow(name, end, round((end - first.get(name, end)) / span_s, 1) if span_s else None)
            for name, end in last.items()
        ]
