"""Whether a finished tape has gone through every stage: by the positions of the stages, in constant memory.

Asked in the order of the flow: once a stage has finished all of its input, nothing more comes from it, and the ends of its
outputs are the ends. Spark's stages finish input at their checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from kafka import KafkaConsumer
from kafka.errors import CoordinatorNotAvailableError

from streams import bus, checkpoint, lake
from streams.settings import Settings


class Stage(NamedTuple):
    """A role, and the topics that it reads."""

    role: str
    inputs: tuple[str, ...]


SENTIMENT = Stage("sentiment", ("headlines",))
STREAM = Stage("stream", ("ticks", "sentiment"))
FORECAST = Stage("forecast", ("features",))
SCORE = Stage("score", ("forecasts", "features"))
ARCHIVE = Stage("archive", tuple(lake.MESSAGES))
FLOW = (SENTIMENT, STREAM, FORECAST, SCORE, ARCHIVE)
CHECKPOINTS = {"stream": "features", "archive": "lake"}


def behind(settings: Settings, stages: Sequence[Stage] = FLOW) -> dict[str, dict[str, int]]:
    """Return, by role and topic, how many records `stages` have not finished; without those that have finished all.

    Spark's roles are judged by the checkpoints in the namespace's folder: those of another machine count as not begun.
    """
    with closing(bus.consumer(settings)) as client:
        found = {stage.role: _left(client, settings, stage) for stage in stages}
    return {role: left for role, left in found.items() if left}


def _left(client: KafkaConsumer, settings: Settings, stage: Stage) -> dict[str, int]:
    places = bus.partitions_of(client, settings, *stage.inputs)
    ends = client.end_offsets(places)
    done = finished(settings, stage.role)
    left: dict[str, int] = {}
    for place, end in ends.items():
        topic = settings.bare_topic(place.topic)
        left[topic] = left.get(topic, 0) + max(0, end - done.get(topic, {}).get(place.partition, 0))
    return {topic: count for topic, count in left.items() if count}


def finished(settings: Settings, role: str) -> dict[str, dict[int, int]]:
    """Return, by topic and partition, the offset up to which `role` has finished what it reads."""
    if role in CHECKPOINTS:
        done = checkpoint.finished_offsets(settings.state.resolve() / "checkpoints" / CHECKPOINTS[role])
        return {settings.bare_topic(topic): ends for topic, ends in done.items()}
    group = settings.topic(role)
    with closing(bus.admin(settings)) as admin:
        try:
            committed = admin.list_group_offsets(group)[group]
        except CoordinatorNotAvailableError:  # a broker that has never had a group
            return {}
    by_topic: dict[str, dict[int, int]] = {}
    for place, at in committed.items():
        by_topic.setdefault(settings.bare_topic(place.topic), {})[place.partition] = at.offset
    return by_topic


def in_words(left: dict[str, dict[str, int]]) -> str:
    """Return what is behind, as a list of words."""
    return ", ".join(f"{role} {count:,} {topic}" for role, topics in left.items() for topic, count in topics.items())
