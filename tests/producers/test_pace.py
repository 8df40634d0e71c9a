"""How fast a tape runs: by a clock of our own, and behind the final rows on a real broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from math import inf

import msgspec
import pytest

from producers import pace
from producers.pace import MAX_AHEAD_US, MAX_NAP_S, AtSpeed, BehindFinals, Course, Pace, Slowest, Unpaced, course_of, pace_of
from streams import bus
from streams.clock import MINUTE_US, SECOND_US
from streams.messages import Features
from streams.settings import Settings
from streams.testing import eventually

T0 = 1_340_285_400_000_000
AAPL = frozenset({"AAPL"})
BOTH = frozenset({"AAPL", "AMZN"})


class FakeTime:
    """A clock that only sleeping moves; it notes when each wait ended."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= MAX_NAP_S
        self.now_s += seconds


def ends(speed: float, times_s: list[float], symbols: frozenset[str] = AAPL, work_s: float = 0.0) -> list[float]:
    """Return when each wait ended, in seconds since the first, where the work between two waits takes `work_s`."""
    time = FakeTime()
    paced = AtSpeed(Course(speed), sleep=time.sleep, now=time.now)
    found = []
    for second in times_s:
        paced.wait(T0 + round(second * SECOND_US), symbols)
        found.append(time.now_s - 100.0)
        time.now_s += work_s
    return found


@pytest.mark.parametrize(("speed", "expected"), [(1, [0, 1.5, 61.5]), (60, [0, 0.025, 1.025]), (0.5, [0, 3, 123])])
def test_the_tape_s_seconds_pass_at_its_speed(speed: float, expected: list[float]) -> None:
    assert ends(speed, [0, 1.5, 61.5]) == pytest.approx(expected)


def test_the_work_between_events_does_not_slow_the_tape() -> None:
    assert ends(1, [0, 1, 2, 3], work_s=0.25) == pytest.approx([0, 1, 2, 3])


def test_what_is_behind_is_caught_up_without_a_wait() -> None:
    assert ends(1, [0, 1, 2, 10], work_s=3.0) == pytest.approx([0, 3, 6, 10])


def test_an_event_out_of_order_waits_for_nothing_and_moves_no_clock() -> None:
    assert ends(1, [0, 5, 2, 6]) == pytest.approx([0, 5, 5, 6])


def test_time_without_open_symbols_is_skipped() -> None:
    assert ends(1, [0, 60, 86_400], symbols=frozenset()) == [0, 0, 0]
    time = FakeTime()
    pace = AtSpeed(Course(1), sleep=time.sleep, now=time.now)
    for second, symbols in ((0, AAPL), (1, AAPL), (86_400, frozenset[str]()), (86_401, AAPL)):
        pace.wait(T0 + second * SECOND_US, symbols)
    assert time.now_s == pytest.approx(102.0)


@pytest.mark.parametrize(("speed", "fleets"), [(1.0, False), (239.0, False), (240.0, True), (inf, True)])
def test_a_minute_that_passes_in_a_quarter_of_a_second_cannot_be_looked_at(speed: float, *, fleets: bool) -> None:
    time = FakeTime()
    course = Course(speed)
    pace = AtSpeed(lambda _: course, sleep=time.sleep, now=time.now)
    assert pace.wait(T0, AAPL) is fleets
    assert Slowest(pace, Unpaced()).wait(T0, AAPL) is False
    course = Course(speed, paused=True, until_us=T0 + MAX_AHEAD_US + 2)
    assert pace.wait(T0 + 1, AAPL), "what leads to a place that was sought rushes"
    assert not pace.wait(T0 + 2, AAPL), "but what may not be final there is looked at"


def test_a_stop_ends_a_long_wait() -> None:
    time = FakeTime()
    pace = AtSpeed(Course(1), stopped=lambda: time.now_s > 105, sleep=time.sleep, now=time.now)
    pace.wait(T0, AAPL)
    pace.wait(T0 + 3_600 * SECOND_US, AAPL)
    assert 105 < time.now_s <= 105 + 2 * MAX_NAP_S


def row(symbol: str, minute: int, *, final: bool = True) -> Features:
    return Features(
        minute_ts_us=T0 + minute * MINUTE_US,
        symbol=symbol,
        open=1,
        high=1,
        low=1,
        close=1,
        volume=1,
        n_ticks=1,
        ma7=1,
        ma21=1,
        bars7=1,
        bars21=1,
        last_event_ts_us=T0,
        revision=1,
        final=final,
        flat=False,
    )


def publish(config: Settings, *rows: Features) -> None:
    client = bus.producer(config)
    bus.send_all(client, config, [bus.outgoing("features", row.symbol, row) for row in rows])
    client.close()


class Runner:
    """Waits of a pace, each on a thread of its own."""

    def __init__(self, waiting: Pace, pool: ThreadPoolExecutor) -> None:
        self._pace = waiting
        self._pool = pool

    def at(self, minute: int, symbols: frozenset[str] = AAPL) -> Future[bool]:
        return self._pool.submit(self._pace.wait, T0 + minute * MINUTE_US, symbols)

    def passes(self, minute: int, symbols: frozenset[str] = AAPL) -> None:
        self.at(minute, symbols).result(timeout=20)


@contextmanager
def behind_finals(config: Settings) -> Iterator[Runner]:
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        try:
            yield Runner(BehindFinals(config, stop.is_set), pool)
        finally:
            stop.set()


def blocks(wait: Future[bool]) -> bool:
    try:
        wait.result(timeout=1)
    except NotYet:
        return True
    return False


def finals(symbol: str, *minutes: int) -> list[Features]:
    return [row(symbol, minute) for minute in minutes]


def test_a_tape_stays_ten_minutes_ahead_of_the_slowest_symbol_s_oldest_minute_that_is_not_final(config: Settings) -> None:
    ahead = MAX_AHEAD_US // MINUTE_US
    with behind_finals(config) as runner:
        runner.passes(0, BOTH)
        runner.passes(ahead, BOTH)
        wait = runner.at(ahead + 3, BOTH)
        assert blocks(wait)
        publish(config, *finals("AAPL", 0, 1, 2), *finals("AMZN", 0, 1), row("AMZN", 2, final=False))
        assert blocks(wait)
        publish(config, row("AMZN", 2))
        wait.result(timeout=20)


def test_minutes_that_overtook_another_do_not_let_the_tape_go_on(config: Settings) -> None:
    ahead = MAX_AHEAD_US // MINUTE_US
    with behind_finals(config) as runner:
        runner.passes(0)
        wait = runner.at(ahead + 8)
        publish(config, *finals("AAPL", 0, 2, 4, 6, 8))
        assert blocks(wait)
        publish(config, *finals("AAPL", 1, 3, 5, 7))
        wait.result(timeout=20)


def test_a_minute_that_never_becomes_final_is_passed_over(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "HOLE_S", 0.2)
    with behind_finals(config) as runner:
        runner.passes(0)
        publish(config, *finals("AAPL", 0, 2, 3))
        runner.passes(MAX_AHEAD_US // MINUTE_US + 4)


def test_a_symbol_that_opens_later_or_again_is_measured_from_then(config: Settings) -> None:
    with behind_finals(config) as runner:
        runner.passes(0)
        runner.passes(500, frozenset())  # the night: nothing is open, nothing to wait for
        runner.passes(500)
        runner.passes(510)
        wait = runner.at(511)
        assert blocks(wait)
        publish(config, row("AAPL", 500))
        wait.result(timeout=20)


def test_strange_bytes_on_features_do_not_end_the_pace(config: Settings) -> None:
    client = bus.producer(config)
    bus.send_all(client, config, [bus.Outgoing("features", b"AAPL", value) for value in (b'{"final":true', b"", b"\xff")])
    client.close()
    publish(config, *finals("AAPL", *range(30)))
    with behind_finals(config) as runner:
        runner.passes(0)
        runner.passes(40)


def test_no_speed_overruns_the_final_rows(config: Settings) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        runner = Runner(pace_of(False, lambda _: course_of("600000"), config, stop.is_set), pool)
        runner.passes(0)
        wait = runner.at(MAX_AHEAD_US // MINUTE_US + 1)
        assert blocks(wait)
        publish(config, row("AAPL", 0))
        wait.result(timeout=20)
        stop.set()


def test_a_stop_ends_the_wait_for_rows_that_never_come(config: Settings) -> None:
    stop = threading.Event()
    pace = BehindFinals(config, stop.is_set)
    with ThreadPoolExecutor() as pool:
        pace.wait(T0, AAPL)
        wait = pool.submit(pace.wait, T0 + 60 * MINUTE_US, AAPL)
        assert blocks(wait)
        stop.set()
        wait.result(timeout=20)


def test_a_wait_fails_when_features_cannot_be_followed(config: Settings) -> None:
    pace = BehindFinals(msgspec.structs.replace(config, topic_prefix="nobody-made-these-topics."))
    pace.wait(T0, AAPL)
    with ThreadPoolExecutor() as pool, pytest.raises(ValueError, match="No partitions are currently assigned"):
        pool.submit(pace.wait, T0 + 60 * MINUTE_US, AAPL).result(timeout=60)


def test_the_words_of_speed_and_the_source_choose_the_pace(config: Settings) -> None:
    stop = threading.Event()
    assert (course_of("max"), course_of("0.5")) == (Course(inf), Course(0.5))
    for strange in ("0", "-1", "inf", "fast", "nan"):
        with pytest.raises(ValueError, match=r"speed|float"):
            course_of(strange)
    assert isinstance(pace_of(True, lambda _: Course(1), config, stop.is_set), Unpaced)
    assert isinstance(pace_of(False, lambda _: Course(1), config, stop.is_set), Slowest)
    stop.set()
    eventually(lambda: not any(thread.name == "finals" for thread in threading.enumerate()))


def test_a_held_tape_goes_on_where_it_was_and_a_new_speed_counts_from_its_order_on() -> None:
    time = FakeTime()
    courses = [(110.0, Course(1)), (150.0, Course(1, paused=True)), (160.0, Course(1)), (1e9, Course(60))]
    pace = AtSpeed(lambda _: next(course for until_s, course in courses if time.now_s < until_s), sleep=time.sleep, now=time.now)
    ends = []
    for second in (0, 9, 15, 15 + 60 * 10):
        pace.wait(T0 + second * SECOND_US, AAPL)
        ends.append(time.now_s - 100)
    # 10 s of the tape, 40 s held, 10 s more; the rest of the 10 minutes at 60
    assert ends == pytest.approx([0, 9, 55, 60 + 595 / 60], abs=1)


def test_a_place_that_is_sought_is_run_to_at_once_even_while_the_tape_is_held() -> None:
    time = FakeTime()
    course = Course(1, paused=True, until_us=T0 + 600 * SECOND_US)
    pace = AtSpeed(lambda _: course if time.now_s < 130 else Course(2), sleep=time.sleep, now=time.now)
    for second in (0, 300, 599):
        pace.wait(T0 + second * SECOND_US, AAPL)
    assert time.now_s == 100
    pace.wait(T0 + 600 * SECOND_US, AAPL)
    assert time.now_s == pytest.approx(130, abs=2 * MAX_NAP_S)
    pace.wait(T0 + 620 * SECOND_US, AAPL)
    assert time.now_s == pytest.approx(140, abs=2 * MAX_NAP_S)


def test_a_slower_speed_counts_at_once_although_the_tape_was_behind_the_faster_one() -> None:
    now_s = [0.0]
    course = [Course(1_000.0)]

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    pace = AtSpeed(lambda _clock_ts_us: course[0], sleep=sleep, now=lambda: now_s[0])
    for second in range(10):
        pace.wait(second * SECOND_US, frozenset("A"))
        now_s[0] += 1.0  # the pipeline takes no more
    course[0], begun_s = Course(1.0), now_s[0]
    for second in range(10, 70):
        pace.wait(second * SECOND_US, frozenset("A"))
    assert now_s[0] - begun_s == pytest.approx(58)  # and the second before the first of them
