"""A source through a real broker: everything arrives once, however often the run was broken off and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf
from pathlib import Path

import msgspec
import pytest
from kafka.errors import MessageSizeTooLargeError

from deploy.ledger import Ledger
from producers import resume
from producers.base import Event, Pulse, Report, SessionEnd, Source, Story, Told, Trade
from producers.closings import Closer
from producers.pace import AtSpeed, Course, Pace, Unpaced
from producers.prints import Regular
from producers.replay import Replay
from producers.run import Producing, steps
from streams import bus, codec
from streams.clock import MINUTE_US, SECOND_US, wall_ts_us
from streams.messages import Event as StatusEvent
from streams.messages import Headline, Tick
from streams.settings import Settings
from streams.testing import eventually

T0 = 1_340_285_400_000_000  # 2012-06-21 13:30 UTC
ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from producers.replay import Replay
from producers.run import run
from streams import settings
run(settings.load(), Replay.of_folder(Path(sys.argv[1])), sys.argv[2])
"""


class Broken(Exception):
    """What a source dies of."""


class Breaking:
    """A source that dies after `n` events."""

    def __init__(self, source: Replay | Live, n: int) -> None:
        self._source = source
        self._n = n
        self.name = source.name
        self.live = source.live

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        yield from islice(self._source.events(resume_after), self._n)
        raise Broken


class Live:
    """A live source of one trade a second."""

    name = "live"
    live = True

    def __init__(self, n: int) -> None:
        self._n = n

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        for seq in range(resume_after + 1, self._n):
            yield Trade(T0 + seq * SECOND_US, ("AAPL", "AMZN", "META")[seq % 3], 1.0, 1.0, seq)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A tape of nine minutes, a bad price in it, and two headlines."""
    rows = [f"{T0 + k * SECOND_US},{('AAPL', 'AMZN', 'META')[k % 3]},{'' if k % 50 == 7 else k + 1},1" for k in range(540)]
    news = [f"{T0 + 30 * SECOND_US},AAPL;AMZN,Apple and Amazon rise", f"{T0 + 400 * SECOND_US},AAPL;AAPL,Apple falls"]
    folder = tmp_path / "tape"
    folder.mkdir()
    (folder / "ticks.csv").write_text("\n".join(["event_ts_us,symbol,price,size", *rows]))
    (folder / "headlines.csv").write_text("\n".join(["event_ts_us,symbols,text", *news]))
    return folder


def produce(config: Settings, source: Source, pace: Pace | None = None) -> None:
    Producing(config, source, pace or Unpaced(), threading.Event()).run()


def held(config: Settings, *topics: str) -> dict[tuple[str, int], list[bytes | None]]:
    """Return the values that each partition of `topics` has, in order."""
    found: dict[tuple[str, int], list[bytes | None]] = {}
    for record in bus.read_all(config, *(topics or resume.TOPICS)):
        found.setdefault((record.topic, record.partition), []).append(record.value)
    return found


def expected(config: Settings, source: Replay) -> dict[tuple[str, int], list[bytes | None]]:
    """Return what an undisturbed run leaves, made without Kafka."""
    closer = Closer(source.name, config.partitions)
    found: dict[tuple[str, int], list[bytes | None]] = {}
    for event in source.events():
        for record in closer.records(event):
            found.setdefault((record.topic, bus.partition_of(record, config.partitions)), []).append(record.value)
    return found


def tape_events(config: Settings) -> list[StatusEvent]:
    said = [codec.decode(StatusEvent, record.value) for record in bus.read_all(config, "events")]
    return [event for event in said if event.kind == "tape"]


def test_a_tape_arrives_once_and_says_so(config: Settings, tape: Path) -> None:
    source = Replay.of_folder(tape)
    with start(config, tape, "max") as child:
        assert child.wait(timeout=60) == 0
    assert held(config) == expected(config, source)
    (said,) = tape_events(config)
    assert (said.role, said.state, said.detail) == ("produce", "done", source.name)
    assert said.counts == {"ticks": 540, "headlines": 2, "sentiments": 3}


def test_excluded_trades_arrive_and_are_counted_by_their_reason(config: Settings, tmp_path: Path) -> None:
    said = {3: "average_price", 5: "cash", 6: "average_price"}
    rows = [f"{T0 + k * SECOND_US},AAPL,{100 if k < 90 else 200},1,{said.get(k, '')}" for k in range(91)]
    (tmp_path / "ticks.csv").write_text("\n".join(["event_ts_us,symbol,price,size,conditions", *rows]))
    produce(config, Regular(Replay(tmp_path / "ticks.csv", None)))
    (event,) = tape_events(config)
    assert event.counts == {"ticks": 91, "excluded average_price": 2, "excluded cash": 1, "excluded off_market": 1}
    ledger = Ledger()
    ledger.take(list(bus.read_all(config, "ticks")))
    assert ledger.report(1)["ticks_in"] == 91
    assert ledger.report(1)["ticks_excluded_by_reason"] == {"average_price": 2, "cash": 1, "off_market": 1}


def test_a_finished_tape_that_is_run_again_adds_nothing_and_says_so_again(config: Settings, tape: Path) -> None:
    for _ in range(2):
        produce(config, Replay.of_folder(tape))
    assert held(config) == expected(config, Replay.of_folder(tape))
    first, second = tape_events(config)
    assert first.counts == second.counts


@pytest.mark.parametrize("speed", [inf, 10.0**6, None])
def test_what_passes_too_fast_to_be_looked_at_is_sent_as_fleeting(config: Settings, tape: Path, speed: float | None) -> None:
    source = Replay.of_folder(tape)
    produce(config, source, Unpaced() if speed is None else AtSpeed(Course(speed)))
    told = {record.header(bus.FLEETING_HEADER) for record in bus.read_all(config, "ticks")}
    assert told == {None if speed is None else ""}
    assert held(config) == expected(config, source)


def test_two_tapes_in_one_namespace_are_both_whole(config: Settings, tape: Path) -> None:
    produce(config, Replay.of_folder(tape))
    (tape / "ticks.csv").write_text((tape / "ticks.csv").read_text().replace("AMZN", "TSLA"))
    other = Replay.of_folder(tape)
    produce(config, other)
    ours = expected(config, other)
    for place, values in held(config).items():
        assert values[len(values) - len(ours[place]) :] == ours[place]


@pytest.mark.parametrize("breaks", [(1,), (7, 8, 9), (300, 100, 541)])
def test_a_run_that_was_broken_off_goes_on_where_it_stopped(config: Settings, tape: Path, breaks: tuple[int, ...]) -> None:
    source = Replay.of_folder(tape)
    for n in breaks:
        with pytest.raises(Broken):
            produce(config, Breaking(source, n))
    assert tape_events(config) == []
    assert sum(map(len, held(config).values())) >= max(breaks)
    produce(config, source)
    assert held(config) == expected(config, source)


def start(config: Settings, tape: Path, speed: str) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | config.environment()
    return subprocess.Popen([sys.executable, "-c", CHILD, str(tape), speed], env=environment)


def test_a_run_that_was_killed_goes_on_where_it_stopped(config: Settings, tape: Path) -> None:
    with start(config, tape, "60") as child:
        eventually(lambda: sum(map(len, held(config).values())) > 50)
        child.kill()
    source = Replay.of_folder(tape)
    assert held(config) != expected(config, source)
    produce(config, source)
    assert held(config) == expected(config, source)


@pytest.mark.parametrize("speed", ["0.01", "max"])
def test_a_run_that_waits_stops_at_once_when_told_to(config: Settings, tmp_path: Path, speed: str) -> None:
    rows = "".join(f"{T0 + k * 20 * MINUTE_US},AAPL,1,1\n" for k in range(3))
    (tmp_path / "ticks.csv").write_text(f"event_ts_us,symbol,price,size\n{rows}")
    with start(config, tmp_path, speed) as child:
        eventually(lambda: held(config))
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=20) == 0
    assert tape_events(config) == []


def test_a_live_source_goes_on_behind_its_highest_seq(config: Settings) -> None:
    with pytest.raises(Broken):
        produce(config, Breaking(Live(500), 250))
    produce(config, Live(500))
    trades = [tick for tick in ticks_of(config) if not tick.closes]
    assert sorted(tick.seq for tick in trades) == list(range(500))


def ticks_of(config: Settings) -> list[Tick]:
    return [codec.decode(Tick, record.value) for record in bus.read_all(config, "ticks")]


def tick(source: str, seq: int, *, closes: bool = False) -> Tick:
    return Tick(event_ts_us=T0, clock_ts_us=T0, symbol="AAPL", price=1, size=1, source=source, seq=seq, closes=closes)


def test_a_source_is_found_behind_thousands_of_strange_records(config: Settings) -> None:
    client = bus.producer(config)
    own = [bus.outgoing("ticks", "AAPL", tick("live", seq)) for seq in range(3)]
    closing = [bus.outgoing("ticks", "AAPL", tick("live", 1, closes=True))]
    others = [bus.outgoing("ticks", "AAPL", tick("other", seq)) for seq in range(5_000)]
    broken = [bus.Outgoing("ticks", b"AAPL", value) for value in (b"", b"not JSON", b'{"source": 5}')]
    bus.send_all(client, config, [*own, *closing, *others, *broken])
    client.close()
    assert resume.highest_seq(config, "live") == 2
    assert resume.highest_seq(config, "other") == 4_999
    assert resume.highest_seq(config, "nobody") == -1
    assert resume.numbers(config, "nobody") == Counter()


def test_trades_that_break_the_contract_count_as_sent(config: Settings, tape: Path) -> None:
    source = Replay.of_folder(tape)
    with pytest.raises(Broken):
        produce(config, Breaking(source, 8))  # the eighth event has no price
    assert resume.numbers(config, source.name).total() == sum(map(len, held(config).values()))


def test_the_closings_reach_the_partitions_that_the_topic_really_has(config: Settings, tape: Path) -> None:
    source = Replay.of_folder(tape)
    produce(msgspec.structs.replace(config, partitions=config.partitions + 3), source)
    assert held(config) == expected(config, source)


def test_a_record_that_the_broker_refuses_ends_the_run(config: Settings, tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(f"event_ts_us,symbols,text\n{T0},AAPL,{'x' * 2_000_000}\n")
    with pytest.raises(MessageSizeTooLargeError):
        produce(config, Replay(None, tmp_path / "h.csv"))
    assert tape_events(config) == []


class BehindClosings:
    """A pace that lets nothing through more than ten minutes ahead of the newest closing that was asked for before."""

    def __init__(self) -> None:
        self.waits: list[int] = []

    def wait(self, clock_ts_us: int, open_symbols: frozenset[str]) -> bool:
        assert not open_symbols or clock_ts_us - self.waits[-1] <= 10 * MINUTE_US
        self.waits.append(clock_ts_us)
        return False


def test_a_gap_of_quiet_minutes_is_passed_a_minute_at_a_time(config: Settings, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        f"event_ts_us,symbol,price,size\n{T0},A,1,1\n{T0 + 25 * MINUTE_US},A,1,1\n{T0 + 86_400 * SECOND_US},A,1,1\n"
    )
    source = Replay(tmp_path / "t.csv", None)
    pace = BehindClosings()
    produce(config, source, pace)
    assert pace.waits[:26] == [T0 + minute * MINUTE_US for minute in range(26)]
    assert len(pace.waits) < 40  # the night is passed in one step
    assert held(config) == expected(config, source)


@pytest.mark.parametrize("event", [Trade(T0 + 150 * SECOND_US, "A", 1, 1, 1), SessionEnd(T0 + 150 * SECOND_US)])
def test_steps_are_the_minutes_still_open_and_the_event(event: Event) -> None:
    closer = Closer("test", 1)
    assert list(steps(event, closer)) == [event]
    list(closer.records(Trade(T0, "A", 1, 1, 0)))
    taken = []
    for step in steps(event, closer):
        taken.append(step)
        list(closer.records(step))
    assert taken == [Pulse(T0 + 60 * SECOND_US), Pulse(T0 + 120 * SECOND_US), event]


def test_headlines_reach_every_partition_with_their_closings(config: Settings) -> None:
    class News:
        name = "news"
        live = False

        def events(self, resume_after: int = -1) -> Iterator[Event]:
            yield Trade(T0, "AAPL", 1, 1, 0)
            yield Story(T0 + 1, "s1", ("AAPL",), "Apple rises")
            yield SessionEnd(T0 + 1)

    Producing(config, News(), AtSpeed(Course(1_000_000)), threading.Event()).run()
    places: Counter[int] = Counter()
    for record in bus.read_all(config, "headlines"):
        places[record.partition] += codec.decode(Headline, record.value).closes
    assert places == dict.fromkeys(range(config.partitions), 1)


class Vendors:
    """A live source that remembers, with one trade, one repeat and one alert."""

    name = "vendors"
    live = True
    lines = ("one", "two")

    def __init__(self) -> None:
        self.told: list[Told] = []

    def remember(self, told: Iterable[Told]) -> None:
        self.told = list(told)

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        yield Trade(wall_ts_us(), "AAPL", 1.0, 1.0, 7, source="one")
        yield Story(wall_ts_us(), "s1", ("AAPL",), "Apple rises", source="two")
        yield Report(wall_ts_us(), {"lost": 3}, "two: the line is down")


@pytest.mark.parametrize("marked", [False, True])
def test_a_source_that_remembers_is_told_what_is_there_and_its_alerts_are_heard(config: Settings, marked: bool) -> None:
    for _ in range(2):
        source = Vendors()
        produce(config, Regular(source) if marked else source)
    assert [(one.source, one.symbol, one.seq, one.id, one.text) for one in source.told] == [
        ("one", "AAPL", 7, "", ""),
        ("two", "", -1, "s1", "Apple rises"),
    ]
    said = [codec.decode(StatusEvent, record.value) for record in bus.read_all(config, "events")]
    alerts = [event for event in said if event.kind == "alert"]
    assert [(event.detail, event.counts) for event in alerts] == [("two: the line is down", {"lost": 3})] * 2
