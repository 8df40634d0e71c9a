"""The table of topics against the design, written out here once more on purpose."""

from __future__ import annotations

from streams import messages
from streams.topics import TOPICS

DESIGN = {
    "ticks": (messages.Tick, "symbol", "delete"),
    "headlines": (messages.Headline, "headline id", "delete"),
    "sentiment": (messages.Sentiment, "symbol", "delete"),
    "features": (messages.Features, "symbol", "delete"),
    "forecasts": (messages.Forecast, "symbol", "delete"),
    "scores": (messages.Score, "symbol", "delete"),
    "models": (messages.ModelAnnouncement, "model name", "compact"),
    "dead_letters": (messages.DeadLetter, "source topic", "delete"),
    "calibration": (messages.Calibration, "symbol, horizon and model", "compact"),
    "events": (messages.Event, "kind", "delete"),
    "control": (messages.Control, "command id", "delete"),
}


def test_the_topics_are_those_of_the_design() -> None:
    assert {name: (topic.message, topic.key, topic.cleanup) for name, topic in TOPICS.items()} == DESIGN
    assert all(name == topic.name for name, topic in TOPICS.items())


def test_topics_keyed_by_symbol_have_partitions_alike_so_that_a_symbol_stays_together() -> None:
    assert all(topic.spread for topic in TOPICS.values() if "symbol" in topic.key)


def test_a_compacted_topic_never_expires_and_all_others_do() -> None:
    for topic in TOPICS.values():
        assert ("retention.ms" in topic.configs()) == (topic.cleanup == "delete")
        assert topic.configs()["cleanup.policy"] == topic.cleanup


def test_dead_letters_take_four_mebibytes_and_outlive_what_they_came_from() -> None:
    letters = TOPICS["dead_letters"]
    assert letters.configs()["max.message.bytes"] == str(4 * 1024**2)
    others = [topic for name, topic in TOPICS.items() if name not in {"dead_letters", "control"}]
    assert all(letters.retention_ms > topic.retention_ms for topic in others)


def test_the_notes_on_who_was_redriven_outlive_the_dead_letters() -> None:
    assert TOPICS["control"].retention_ms > TOPICS["dead_letters"].retention_ms


def test_every_topic_says_what_it_is_for() -> None:
    assert all(topic.purpose.endswith(".") for topic in TOPICS.values())
