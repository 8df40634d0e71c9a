"""A tape of files at full speed: nobody looks for repeats on the way, they are found at its end, and it is played again."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from deploy import replaying
from deploy.repeated import has_repeats
from deploy.replaying import Played, Wish
from deploy.steering import Again, Steering
from deploy.verify import fuzzed
from producers.pace import Course, Unpaced
from producers.replay import Replay
from producers.run import Producing
from producers.tapes import Cut
from streams import bus
from streams.bus import Outgoing
from streams.clock import MINUTE_US
from streams.messages import Sentiment
from streams.settings import Settings
from tests.deploy.conftest import T0

SENTIMENT = fuzzed.sentiment(0, "AAPL", T0)
CLOSING = msgspec.structs.replace(
    SENTIMENT, headline_id=f"closing-0-{T0}", closes=True, partitions=1, p_positive=0.0, p_negative=0.0, p_neutral=0.0, score=0.0
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [f"{T0 + number * 1_000_000},AAPL,{100 + number},1" for number in range(200)]
    (tmp_path / "ticks.csv").write_text("\n".join(["event_ts_us,symbol,price,size", *lines]))
    return tmp_path


@pytest.fixture
def sent(config: Settings, folder: Path) -> str:
    """Send the whole tape; return its name."""
    tape = Replay.of_folder(folder)
    Producing(config, tape, Unpaced(), threading.Event()).run()
    return tape.name


def sentiment(config: Settings, *said: Sentiment) -> None:
    with bus.producing(config) as client:
        bus.send_all(client, config, [bus.outgoing("sentiment", one.symbol, one) for one in said])


def again(config: Settings, topic: str) -> None:
    """Send the first record of `topic` once more, as a producer would that died before it knew that it had been taken."""
    first = min(bus.read_all(config, topic), key=lambda record: (record.partition, record.offset))
    repeat = Outgoing(topic, first.key or b"", first.value or b"", first.headers, first.partition)
    with bus.producing(config) as client:
        bus.send_all(client, config, [repeat])


def one_more_minute(one: Sentiment) -> Sentiment:
    return msgspec.structs.replace(one, clock_ts_us=one.clock_ts_us + MINUTE_US)


def test_a_tape_that_was_sent_once_has_no_repeats(config: Settings, sent: str) -> None:
    others = msgspec.structs.replace(SENTIMENT, headline_id="other"), msgspec.structs.replace(SENTIMENT, symbol="MSFT")
    sentiment(config, SENTIMENT, *others, CLOSING, one_more_minute(CLOSING), msgspec.structs.replace(CLOSING, symbol="MSFT"))
    assert not has_repeats(config, sent)


@pytest.mark.parametrize(
    "repeat",
    [
        lambda config: again(config, "ticks"),
        lambda config: again(config, "headlines"),
        lambda config: sentiment(config, SENTIMENT, SENTIMENT),
        lambda config: sentiment(config, CLOSING, one_more_minute(CLOSING), CLOSING),
    ],
    ids=["tick", "headline", "sentiment", "closing"],
)
def test_whatever_came_twice_is_found(config: Settings, sent: str, repeat: Callable[[Settings], None]) -> None:
    repeat(config)
    assert has_repeats(config, sent)


@pytest.mark.parametrize(("speed", "looking"), [("max", [False, True]), ("60", [True, True])])
def test_it_is_played_again_with_an_engine_that_looks_for_repeats(
    config: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch, speed: str, looking: list[bool]
) -> None:
    """The pipeline itself is left out; `has_repeats` is tested above."""
    found: list[Settings] = []
    numbers = count()

    def steered(own: Settings, *_: object) -> Played | Again:
        bus.ensure_topics(own)
        found.append(own)
        return Played(own, 1.0, (), {"ticks": 1}) if next(numbers) else Again(Course(1.0), repeated=True)

    monkeypatch.setattr(replaying, "steered", steered)
    played = replaying.whole(config, Wish(Cut(source=str(folder)), speed), Console(file=io.StringIO()))
    assert [own.repeats for own in found] == looking
    assert played is not None
    assert played.settings == found[1]
    assert found[0].topic_prefix != found[1].topic_prefix


def test_it_runs_at_once_to_where_it_was(config: Settings) -> None:
    steering = Steering(config)
    steering.begin_again(T0)
    steering.stop()
    assert steering.verdict == Again(Course(float("inf"), until_us=T0), repeated=True)
