"""Recordings through a real broker: the same bytes in the same partitions, however often the sending was broken off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from producers import run
from producers.pace import Unpaced
from producers.recorded import STILL_OPEN_US, Closed, RecordedTape, model_folder
from producers.replay import Span
from producers.run import Producing
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US, SECOND_US
from streams.messages import Headline, ModelAnnouncement, Sentiment, Tick
from streams.recording import INPUTS, Recorded, Writer
from streams.settings import Settings
from streams.testing import eventually

T0 = 1_340_285_400_000_000
WALL_MS = 1_767_625_200_000
SYMBOLS = ("AAPL", "AMZN", "META")


def tick(symbol: str, second: int, *, closes: bool = False, ahead_us: int = 0) -> Tick:
    at_us = T0 + second * SECOND_US
    clock_us = WALL_MS * 1_000 + ahead_us if ahead_us else at_us
    return Tick(event_ts_us=at_us, clock_ts_us=clock_us, symbol=symbol, price=1, size=1, source="x", seq=second, closes=closes)


def mood(symbol: str, second: int) -> Sentiment:
    at_us = T0 + second * SECOND_US
    return Sentiment(
        event_ts_us=at_us, clock_ts_us=at_us, headline_id=f"h{second}", symbol=symbol, model_id="m", p_neutral=1.0, score=0.0
    )


def heard(symbol: str, minute: int, partition: int) -> Sentiment:
    at_us = T0 + minute * MINUTE_US
    return Sentiment(
        event_ts_us=at_us - 1,
        clock_ts_us=at_us,
        headline_id=f"closing-{partition}-{at_us}",
        symbol=symbol,
        model_id="m",
        closes=True,
        partition=partition,
        partitions=2,
    )


def news(second: int, *symbols: str) -> Headline:
    at_us = T0 + second * SECOND_US
    return Headline(event_ts_us=at_us, clock_ts_us=at_us, id=f"h{second}", symbols=list(symbols), text="t", source="x")


def model(model_id: str, folder: Path) -> ModelAnnouncement:
    return ModelAnnouncement(
        name="forecaster", model_id=model_id, uri=folder.as_uri(), sha256="0" * 64, promoted=True, reason="test"
    )


def records(config: Settings) -> Iterator[Record]:
    """Yield some minutes of three symbols, a broken tick among them, in two partitions."""
    made: list[tuple[int, Outgoing]] = [
        (s, bus.outgoing("ticks", SYMBOLS[s % 3], tick(SYMBOLS[s % 3], s))) for s in range(0, 300, 5)
    ]
    made += [(s, bus.outgoing("sentiment", SYMBOLS[s % 3], mood(SYMBOLS[s % 3], s))) for s in range(0, 300, 50)]
    made += [(s, bus.outgoing("headlines", f"h{s}", news(s, SYMBOLS[s % 3]))) for s in range(0, 300, 50)]
    made += [(61, Outgoing("ticks", b"AAPL", b"no JSON")), (62, bus.outgoing("ticks", "META", tick("META", 62, ahead_us=10**8)))]
    offsets: dict[tuple[str, int], int] = {}
    for second, out in sorted(made, key=lambda pair: pair[0]):
        place = (out.topic, bus.partition_of(out, config.partitions))
        at = offsets[place] = offsets.get(place, -1) + 1
        yield Record(*place, at, out.key, out.value, WALL_MS + second, ((bus.INGEST_HEADER, b"1"), ("x", b"\xff")))


@pytest.fixture(autouse=True)
def nobody_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SWAP_S", 0.0)


@pytest.fixture
def folder(config: Settings, tmp_path: Path) -> Path:
    """Return the folder of a recording of `records`, with two announcements."""
    writer = Writer(tmp_path / "recording")
    for at_ms, name in ((-5, "first"), (100, "second")):
        said = bus.outgoing("models", "forecaster", model(name, tmp_path))
        writer.add(Record("models", 0, len(writer.announced), said.key, said.value, WALL_MS + at_ms))
    for record in records(config):
        writer.add(record)
    model_folder(writer.folder, "forecaster", "second").mkdir(parents=True)
    writer.finish(1, "", config.partitions, whole=True)
    return writer.folder


def send(config: Settings, tape: RecordedTape, stop: threading.Event | None = None) -> None:
    Producing(config, tape, Unpaced(), stop or threading.Event()).run()


def by_place(read: Iterator[Record]) -> dict[tuple[str, int], list[tuple[object, ...]]]:
    found: dict[tuple[str, int], list[tuple[object, ...]]] = {}
    for one in read:
        found.setdefault((one.topic, one.partition), []).append((one.offset, one.key, one.value, one.headers))
    return found


def test_every_record_goes_to_its_place_again_with_its_key_value_and_headers(config: Settings, folder: Path) -> None:
    send(config, RecordedTape(folder))
    assert by_place(bus.read_all(config, *INPUTS[:3])) == by_place(records(config))


def test_nothing_of_a_recording_is_fleeting_however_fast_it_was_made(config: Settings, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "rushed")
    writer.add(
        Record("ticks", 0, 0, b"AAPL", codec.encode(tick("AAPL", 1)), WALL_MS, ((bus.FLEETING_HEADER, b""), ("number", b"1")))
    )
    writer.finish(1, "", config.partitions, whole=True)
    send(config, RecordedTape(writer.folder))
    (sent,) = bus.read_all(config, "ticks")
    assert sent.headers == (("number", b"1"),)


def test_a_run_that_is_broken_off_goes_on_where_it_was(config: Settings, folder: Path) -> None:
    class Breaking(Unpaced):
        def __init__(self, stop: threading.Event) -> None:
            self.left, self.stop = 40, stop

        def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
            self.left -= 1
            if not self.left:
                self.stop.set()
            return False

    stop = threading.Event()
    Producing(config, RecordedTape(folder), Breaking(stop), stop).run()
    assert 0 < sum(1 for _ in bus.read_all(config, *INPUTS)) < 45
    send(config, RecordedTape(folder))
    assert by_place(bus.read_all(config, *INPUTS[:3])) == by_place(records(config))
    assert sum(1 for _ in bus.read_all(config, "models")) == 2


def test_only_a_clock_that_was_ahead_of_the_broker_s_keeps_its_time_stamp(config: Settings, folder: Path) -> None:
    send(config, RecordedTape(folder))
    kept = [one for one in bus.read_all(config, *INPUTS[:3]) if one.timestamp_ms < WALL_MS + 10_000]
    assert [(one.key, one.timestamp_ms) for one in kept] == [(b"META", WALL_MS + 62)]


def test_an_announced_model_is_waited_for(config: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forecaster says on `events` whom it has loaded."""
    monkeypatch.setattr(run, "SWAP_S", 20.0)
    client = bus.producer(config)
    reporter = bus.StatusReporter(config, "forecast", client)
    sending = threading.Thread(target=send, args=(config, RecordedTape(folder)), daemon=True)
    sending.start()

    def told() -> bool:
        reporter.say("ready", "second")
        sending.join(0.2)
        return not sending.is_alive()

    eventually(lambda: sum(1 for _ in bus.read_all(config, "models")) == 2, 10)
    assert sum(1 for _ in bus.read_all(config, "ticks")) < 62
    eventually(told)
    client.close()
    assert sum(1 for _ in bus.read_all(config, "ticks")) == 62


def test_a_part_of_it_and_some_symbols(config: Settings, folder: Path) -> None:
    tape = RecordedTape(folder, Span(T0 + 100 * SECOND_US, T0 + 200 * SECOND_US), frozenset({"AAPL"}))
    found = [one for one in tape.records() if one.record.topic != "models"]
    assert {one.record.key for one in found if one.record.topic != "headlines"} == {b"AAPL"}
    assert all(T0 + 100 * SECOND_US <= one.clock_ts_us < T0 + 200 * SECOND_US for one in found)
    stories = [codec.decode(Headline, one.record.value) for one in found if one.record.topic == "headlines"]
    assert [story.id for story in stories] == ["h150"]
    assert [one.record.offset for one in tape.records() if one.record.topic == "models"] == [0, 1]


def test_the_models_before_the_first_tick_come_first_and_their_files_from_the_recording(folder: Path, tmp_path: Path) -> None:
    tape = RecordedTape(folder)
    first, second = [codec.decode(ModelAnnouncement, one.record.value) for one in tape.records() if one.record.topic == "models"]
    assert (first.model_id, first.uri) == ("first", tmp_path.as_uri())
    assert second.uri == model_folder(folder, "forecaster", "second").resolve().as_uri()
    assert [one.offset for one in tape.announcements()] == [0]


def test_a_recording_is_a_tape_of_trades_and_stories_too(folder: Path) -> None:
    events = list(RecordedTape(folder).events())
    kinds = [type(event).__name__ for event in events]
    assert (kinds.count("Trade"), kinds.count("Story"), kinds[-1]) == (61, 6, "SessionEnd")


def recorded(symbol: str, message: Tick | Sentiment, topic: str) -> Recorded:
    out = bus.outgoing(topic, symbol, message)
    return Recorded(Record(topic, 0, 0, out.key, out.value, WALL_MS), message.clock_ts_us)


def test_a_pace_waits_for_symbols_whose_rows_can_become_final() -> None:
    closed = Closed()
    for symbol in ("AAPL", "AMZN"):
        closed.take(recorded(symbol, tick(symbol, 1), "ticks"))
    assert closed.open_symbols(T0 + MINUTE_US) == {"AAPL", "AMZN"}
    for minute in range(1, 30):
        ends = msgspec.structs.replace(tick("AAPL", 1, closes=True), clock_ts_us=T0 + minute * MINUTE_US)
        closed.take(recorded("AAPL", ends, "ticks"))
        closed.take(recorded("AMZN", msgspec.structs.replace(ends, symbol="AMZN"), "ticks"))
        for partition in (0, 1):
            closed.take(recorded("AAPL", heard("AAPL", minute, partition), "sentiment"))
        closed.take(recorded("AMZN", heard("AMZN", minute, 0), "sentiment"))  # of the other partition none came
    assert closed.open_symbols(T0 + 29 * MINUTE_US) == {"AAPL"}
    assert closed.open_symbols(T0 + 29 * MINUTE_US + STILL_OPEN_US) == frozenset()
