"""The sentiment role as it runs, in a process of its own against a real broker: ugly texts, and a restart."""

from __future__ import annotations

from pathlib import Path

import msgspec

from deploy.bench_crashes import pair_of
from deploy.bench_headlines import Text, feed
from deploy.group import Group
from models.sentiment import minilm
from streams import bus, codec
from streams.messages import DeadLetter, Event, Headline
from streams.settings import Settings
from streams.testing import eventually
from tests.models.sentiment.texts import ORDINARY, SAYS_NOTHING, UGLY

LARGEST = 1_000_000  # characters: with its envelope a little less than a broker takes


def unpaired(text: str) -> bool:
    """Return whether `text` has half a surrogate pair, which JSON in UTF-8 cannot carry."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def test_every_text_is_scored_or_dead_lettered_and_the_worker_lives(config: Settings, sentiment_cache: Path) -> None:
    own = msgspec.structs.replace(config, cache=sentiment_cache, sentiment="minilm")
    minilm.load(sentiment_cache)
    texts = [Text(text[:LARGEST], ("AAPL",)) for text in SAYS_NOTHING + UGLY + ORDINARY if not unpaired(text)]
    wanted = feed(own, texts)

    def scored() -> set[tuple[str, str]]:
        return {pair_of(record) for record in bus.read_all(own, "sentiment")}

    def refused() -> list[DeadLetter]:
        return [codec.decode(DeadLetter, record.value) for record in bus.read_all(own, "dead_letters")]

    def counts() -> dict[str, int]:
        told = [codec.decode(Event, record.value).counts for record in bus.read_all(own, "events")]
        return told[-1]

    with Group(own) as group:
        group.start()
        eventually(lambda: len(scored()) + len(refused()) == len(wanted), 90, 1.0)
        eventually(lambda: counts().get("in", 0) == len(wanted), interval_s=1.0)
    letters = refused()
    assert {(letter.stage, letter.error_class) for letter in letters} == {("sentiment", "no_text")}
    assert len(letters) == len(SAYS_NOTHING) + 1  # and a word of a million letters
    assert scored() | {(headline_id(own, letter), "AAPL") for letter in letters} == wanted
    assert {"waiting", "per_s", "out", "dead"} <= counts().keys()


def headline_id(settings: Settings, letter: DeadLetter) -> str:
    (record,) = (
        record
        for record in bus.read_all(settings, "headlines")
        if (record.partition, record.offset) == (letter.partition, letter.offset)
    )
    return codec.decode(Headline, record.value).id
