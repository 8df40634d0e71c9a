"""How much of the past a starting handler reads, from a real broker."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from consumers.base import WHOLE
from consumers.memory import past
from streams import bus
from streams.clock import wall_ts_us
from streams.settings import Settings
from tests.consumers.echo_worker import Echo

HOUR_MS = 3_600_000
TEN_HOURS = range(10)


class Remembering(Echo):
    name = "remembering"
    inputs: tuple[str, ...] = ("features",)
    memory: tuple[str, ...] = ("features", "forecasts")

    def __init__(self, lookback_min: Mapping[str, int]) -> None:
        self.lookback_min = lookback_min


def fill(config: Settings, committed: int | None) -> None:
    """Write a record an hour to both topics, and commit the group's place on the first."""
    first_ms = wall_ts_us() // 1_000 - 11 * HOUR_MS  # the broker's retention has nothing to delete
    client = bus.producer(config)
    for topic in ("features", "forecasts"):
        for hour in TEN_HOURS:
            client.send(config.topic(topic), key=b"k", value=b"%d" % hour, partition=0, timestamp_ms=first_ms + hour * HOUR_MS)
    client.flush()
    client.close()
    if committed is not None:
        reader = bus.consumer(config, group_id=config.topic(Remembering.name))
        reader.commit({TopicPartition(config.topic("features"), 0): OffsetAndMetadata(committed, "", -1)})
        reader.close()


def remembered(config: Settings, lookback_min: Mapping[str, int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"features": [], "forecasts": []}
    for record in past(Remembering(lookback_min), config, frozenset({0})):
        found[record.topic].append(int(record.value or b""))
    return found


@pytest.mark.parametrize(
    ("lookback_min", "features", "forecasts"),
    [
        (WHOLE, range(8), TEN_HOURS),
        ({"features": 120, "forecasts": 60}, range(5, 8), range(6, 10)),
        ({"features": 0}, range(7, 8), TEN_HOURS),
        ({"features": 60_000, "forecasts": 60_000}, range(8), TEN_HOURS),
    ],
)
def test_a_topic_is_read_from_so_long_before_the_last_handled_record(
    config: Settings, lookback_min: Mapping[str, int], features: range, forecasts: range
) -> None:
    fill(config, committed=8)  # hours 0 to 7 are handled
    assert remembered(config, lookback_min) == {"features": list(features), "forecasts": list(forecasts)}


@pytest.mark.parametrize("committed", [None, 0])
def test_where_nothing_was_handled_everything_else_is_read(config: Settings, committed: int | None) -> None:
    fill(config, committed)
    assert remembered(config, {"features": 60, "forecasts": 60}) == {"features": [], "forecasts": list(TEN_HOURS)}
