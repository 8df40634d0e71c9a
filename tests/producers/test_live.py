"""What a live source makes of lines that break, garble, repeat and fall silent, on a feed whose every word the test says."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest

from producers.base import Pulse, Report, SessionEnd, Story, Told, Trade
from producers.closings import Closer
from producers.intake import Intake
from producers.live import Live
from producers.run import steps
from producers.vendors.base import Ear, Feed, notice
from streams import codec
from streams.clock import MINUTE_US, SECOND_US, wall_ts_us
from streams.errors import LineLost, Refused, SourceError, Throttled
from streams.messages import Tick
from tests.producers.vendors.listening import listening


class Script(Feed):
    """A feed that says what the test puts into it."""

    name = "script"

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)
        self.words: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.happened: list[Trade | Story] = []
        self.asked: list[tuple[int, int]] = []
        self.answers: list[Exception] = []
        self.heard: Ear | None = None

    def listen(self, ear: Ear) -> None:
        ear.up()
        while (word := self.words.get()) is not None:
            if isinstance(word, Exception):
                raise word
            if isinstance(word, str):
                ear.garbled(word)
            else:
                ear.hear(word)

    def hang_up(self) -> None:
        self.words.put(None)

    def say(self, *words: Any) -> None:
        for word in words:
            self.words.put(word)

    def past(self, since_us: int, until_us: int) -> Sequence[Trade | Story]:
        self.asked.append((since_us, until_us))
        if self.answers:
            raise self.answers.pop(0)
        return [one for one in self.happened if since_us <= one.event_ts_us < until_us]


class Deaf(Script):
    """A feed whose vendor cannot be asked for the past."""

    past = Feed.past


def trade(seq: int, ago_s: float = 0.0, symbol: str = "A") -> Trade:
    return Trade(wall_ts_us() - int(ago_s * SECOND_US), symbol, 10.0 + seq, 1.0, seq)


def seqs(trades: list[Trade]) -> list[int]:
    return [one.seq for one in trades]


def test_a_line_that_breaks_is_built_again_and_what_was_missed_comes_in_its_place() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.happened = [trade(seq) for seq in range(6)]
        feed.say(feed.happened[0], feed.happened[1], LineLost("cut"))
        heard.until(lambda: heard.counts["connected"] == 2)
        feed.say(feed.happened[5])
        heard.until(lambda: len(heard.trades) == 6)
        assert seqs(heard.trades) == [0, 1, 2, 3, 4, 5]
        assert {one.source for one in heard.trades} == {"script"}
        assert any("the line is down (cut)" in alert for alert in heard.alerts)
        heard.until(lambda: heard.counts["backfilled"] >= 3)


def test_what_comes_while_the_past_is_asked_for_waits_for_it() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.happened = [trade(seq) for seq in range(3)]
        feed.answers = [Throttled("429", after_s=0.0)]
        feed.say(feed.happened[0])
        heard.until(lambda: heard.trades)
        feed.say(LineLost("cut"), feed.happened[2])
        heard.until(lambda: len(heard.trades) == 3)
        assert seqs(heard.trades) == [0, 1, 2]
        assert len(feed.asked) == 2
        assert any("cannot be had now (429)" in alert for alert in heard.alerts)


def test_a_vendor_that_never_answers_holds_a_line_up_for_three_tries_only() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.answers = [LineLost("no")] * 3
        feed.say(trade(0), LineLost("cut"), trade(2))
        heard.until(lambda: len(heard.trades) == 2)
        assert len(feed.asked) >= 3


def test_a_repeat_is_passed_on_once() -> None:
    feed = Script()
    with listening(feed) as heard:
        one, other = trade(7), trade(7, symbol="B")
        feed.say(one, one, other, one)
        heard.until(lambda: heard.counts["repeats"] == 2)
        assert [(event.symbol, event.seq) for event in heard.trades] == [("A", 7), ("B", 7)]


def test_disorder_passes_as_it_comes() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.say(trade(3), trade(1, ago_s=5), trade(2, ago_s=2))
        heard.until(lambda: len(heard.trades) == 3)
        assert seqs(heard.trades) == [3, 1, 2]


def test_a_number_that_is_missing_is_asked_for() -> None:
    feed = Script(contiguous=True)
    with listening(feed) as heard:
        feed.happened = [trade(seq, ago_s=3 - seq / 10) for seq in range(4)]
        feed.say(feed.happened[0], feed.happened[1], feed.happened[3])
        heard.until(lambda: len(heard.trades) == 4)
        assert sorted(seqs(heard.trades)) == [0, 1, 2, 3]


def test_half_a_message_is_asked_for() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.happened = [trade(seq, ago_s=3) for seq in range(2)]
        feed.say(feed.happened[0], '[{"ev":"T","sy')
        heard.until(lambda: len(heard.trades) == 2)
        assert heard.counts["garbled"] == 1


def test_everything_is_asked_for_again_and_again() -> None:
    feed = Script()
    with listening(feed, reconcile_us=200_000) as heard:
        heard.up()
        feed.happened = [trade(0, ago_s=1)]
        heard.until(lambda: heard.trades)
        heard.until(lambda: len(feed.asked) > 2)
        assert len(heard.trades) == 1


def test_a_successor_sends_nothing_again_and_asks_for_what_came_since() -> None:
    feed = Script()
    feed.happened = [trade(seq, ago_s=60 - 10 * seq) for seq in range(4)]
    told = [Told("script", one.event_ts_us, "A", one.seq) for one in feed.happened[:2] if isinstance(one, Trade)]
    with listening(feed, told=told) as heard:
        heard.until(lambda: len(heard.trades) == 2)
        assert seqs(heard.trades) == [2, 3]


def test_a_silent_line_is_torn_down_in_an_open_market_and_left_alone_in_a_closed_one() -> None:
    now_us = wall_ts_us()
    with listening(Script(silence_s=0.3)) as heard:
        heard.until(lambda: heard.counts["silent"] >= 2)
        assert any("silent for 0.3 s in an open market" in alert for alert in heard.alerts)
    sunday = 1_764_432_000_000_000  # 2025-11-29 16:00 UTC, a Saturday
    with listening(Script(silence_s=0.3, calendar="XNYS"), clock=lambda: sunday + wall_ts_us() - now_us) as heard:
        heard.until(lambda: len([event for event in heard.events if isinstance(event, SessionEnd)]) == 1)
        (ended,) = [event for event in heard.events if isinstance(event, SessionEnd)]
        assert ended.event_ts_us % MINUTE_US == MINUTE_US - 1
        assert ended.event_ts_us < sunday + wall_ts_us() - now_us
        end = time.monotonic() + 1
        heard.until(lambda: time.monotonic() > end)
        assert heard.counts["silent"] == 0
        assert len([event for event in heard.events if isinstance(event, SessionEnd)]) == 1


@pytest.mark.parametrize("off_s", [3.0, -3.0])
def test_a_clock_three_seconds_off_is_told_and_no_minute_ends_too_early(off_s: float) -> None:
    feed = Script()
    with listening(feed) as heard:
        for seq in range(5):
            feed.say(trade(seq, ago_s=-off_s))
        heard.until(lambda: heard.alerts)
        where = "ahead of" if off_s > 0 else "behind"
        assert f"its clock is 3.0 s {where} ours" in heard.alerts[0]
        heard.until(lambda: len(heard.pulses) >= 3)
        newest = heard.pulses[-1].event_ts_us
        assert newest < wall_ts_us() + off_s * SECOND_US
        assert not any(one.ahead for one in heard.trades)


def test_a_time_that_no_clock_can_have_moves_nothing_and_reaches_the_engine_to_be_refused() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.say(trade(0), trade(1, ago_s=-3600), trade(2))
        heard.until(lambda: len(heard.trades) == 3)
    closer = Closer("script", 1)
    heard.events.append(Pulse(wall_ts_us() + 2 * MINUTE_US))
    records = [record for event in heard.events for step in steps(event, closer) for record in closer.records(step)]
    ticks = [codec.decode(Tick, record.value) for record in records if record.topic == "ticks"]
    assert {tick.seq for tick in ticks if tick.closes} == {2}
    ticks = [tick for tick in ticks if not tick.closes]
    wild = next(tick for tick in ticks if tick.seq == 1)
    assert wild.event_ts_us - wild.clock_ts_us > 3_500 * SECOND_US
    assert not any(tick.late for tick in ticks)
    assert len({tick.clock_ts_us // MINUTE_US for tick in ticks}) <= 2


def test_the_clock_stands_while_a_line_of_trades_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.live.ASK_AGAIN_US", 5 * SECOND_US)
    feed = Script()
    with listening(feed) as heard:
        feed.say(trade(0))
        heard.until(lambda: heard.pulses)
        feed.answers = [LineLost("no")]
        feed.say(LineLost("cut"))
        heard.until(lambda: any("cannot be had" in alert for alert in heard.alerts))
        before = len(heard.pulses)
        end = time.monotonic() + 1.5
        heard.until(lambda: time.monotonic() > end)
        assert len(heard.pulses) == before


def test_a_refusal_at_the_start_is_the_users_and_a_later_one_an_alert() -> None:
    feed = Script()
    feed.listen = _refuse  # type: ignore[method-assign,assignment]
    with listening(feed) as heard:
        assert isinstance(heard.failed(), SourceError)
        assert "the key is wrong" in str(heard.error)
    feed = Script()
    with listening(feed) as heard:
        feed.say(trade(0), Refused("the subscription has expired"))
        heard.until(lambda: any("has expired" in alert for alert in heard.alerts))
        assert heard.error is None


def _refuse(_ear: Ear) -> None:
    raise Refused("the key is wrong")


def test_a_vendor_without_a_past_goes_on_at_once() -> None:
    feed = Deaf()
    with listening(feed) as heard:
        feed.say(trade(0), LineLost("cut"))
        heard.until(lambda: heard.counts["connected"] == 2)
        feed.say(trade(1))
        heard.until(lambda: len(heard.trades) == 2)


def test_several_vendors_are_one_source_and_their_messages_say_whose_they_are() -> None:
    prices, news = Script(), Script(name="wire", trades=False)
    with listening(prices, news, intake=Intake()) as heard:
        news.say(Story(wall_ts_us(), "1", ("A",), "A rises"))
        prices.say(trade(0))
        heard.until(lambda: heard.trades and heard.stories)
        assert (heard.live.name, heard.trades[0].source, heard.stories[0].source) == ("script+wire", "script", "wire")
        closer = Closer(heard.live.name, 1)
        (record,) = [record for record in closer.records(heard.trades[0]) if record.topic == "ticks"]
        assert codec.decode(Tick, record.value).source == "script"


def test_stories_wait_for_the_trades_before_them() -> None:
    prices, news = Script(), Script(name="wire", trades=False)
    with listening(prices, news) as heard:
        prices.happened = [trade(0), trade(1)]
        prices.answers = [LineLost("no")]
        prices.say(prices.happened[0], LineLost("cut"))
        heard.until(lambda: any("cannot be had" in alert for alert in heard.alerts))
        news.say(Story(wall_ts_us(), "1", ("A",), "A rises"))
        heard.until(lambda: heard.stories)
        order = [type(event) for event in heard.events if isinstance(event, Trade | Story)]
        assert order == [Trade, Trade, Story]


def test_the_stories_of_a_delayed_feed_wait_until_its_trades_are_as_far() -> None:
    prices, news = Script(), Script(name="wire", trades=False)
    with listening(prices, news) as heard:
        for seq in range(3):
            prices.say(trade(seq, ago_s=900 - seq))
        heard.until(lambda: len(heard.trades) == 3 and heard.pulses)
        news.say(Story(wall_ts_us(), "late", ("A",), "A rises"), Story(wall_ts_us() - 905 * SECOND_US, "due", ("A",), "A falls"))
        heard.until(lambda: heard.stories)
        assert [one.id for one in heard.stories] == ["due"]
        assert heard.pulses[-1].event_ts_us < wall_ts_us() - 890 * SECOND_US
        prices.say(trade(9))
        heard.until(lambda: len(heard.stories) == 2)


def test_what_a_delayed_feed_missed_is_asked_for_where_its_trades_are() -> None:
    feed = Script()
    with listening(feed) as heard:
        feed.happened = [trade(seq, ago_s=900 - seq) for seq in range(3)]
        feed.say(feed.happened[0], LineLost("cut"))
        heard.until(lambda: len(heard.trades) == 3)


def test_a_cancel_is_told_and_makes_no_bar() -> None:
    said = notice("cancels", 7, trade(0))
    assert (said.excluded, said.seq) != ("", 7)
    feed = Script()
    with listening(feed) as heard:
        feed.say(trade(7), said, said)
        heard.until(lambda: heard.counts["repeats"] == 1)
        assert [one.excluded for one in heard.trades] == ["", "cancels 7"]


def test_a_report_comes_every_second_so_that_a_run_can_be_stopped() -> None:
    live = Live([Deaf()])
    events = live.events()
    end = time.monotonic() + 5
    for event in islice(events, 5):
        assert isinstance(event, Report)
        assert time.monotonic() < end
    events.close()  # type: ignore[attr-defined]


def test_a_time_that_cannot_be_makes_nothing_unforgettable() -> None:
    seen = Live([Script()])
    now_us = wall_ts_us()
    [state] = seen._states.values()  # noqa: SLF001 - that the memory is bounded shows nowhere else
    for minute in range(120):
        wild = 10**15 if minute == 0 else 0
        at_us = now_us + minute * MINUTE_US
        list(seen._trade(state, Trade(at_us + wild, "A", 10.0, 1.0, minute), at_us))  # noqa: SLF001
    assert len(seen._seen._young) + len(seen._seen._old) < 50  # noqa: SLF001


def test_a_successor_asks_for_what_is_missing_though_a_time_was_wrong() -> None:
    feed = Script()
    first, wild = trade(1, 90), trade(9, -86_400)
    feed.happened = [first, trade(2, 60), trade(3, 30)]
    told = [Told("script", one.event_ts_us, "A", one.seq) for one in (first, wild)]
    with listening(feed, told=told) as heard:
        heard.until(lambda: len(heard.trades) == 2)
        assert seqs(heard.trades) == [2, 3]


def test_half_a_character_breaks_nothing() -> None:
    feed = Script(trades=False)
    with listening(feed) as heard:
        feed.say(Story(wall_ts_us(), "1", ("A",), "Apple rises \ud83d"), Story(wall_ts_us(), "2", ("A",), "Apple falls"))
        heard.until(lambda: len(heard.stories) == 2)
        assert [story.text for story in heard.stories] == ["Apple rises ?", "Apple falls"]


@pytest.mark.parametrize("ago_s", [60, 40_000])
def test_a_successor_asks_for_the_stories_since_its_predecessor_too(ago_s: int) -> None:
    now_us = wall_ts_us()
    told = Story(now_us - ago_s * SECOND_US, "1", ("A",), "Apple rises")
    feed = Script(trades=False)
    feed.happened = [told, Story(now_us - 30 * SECOND_US, "2", ("A",), "Apple falls")]
    with listening(feed, told=[Told("script", told.event_ts_us, id="1", text=told.text)]) as heard:
        heard.until(lambda: heard.stories)
        assert [story.id for story in heard.stories] == ["2"]
        assert not any("more than an hour" in alert for alert in heard.alerts)
