"""Live sources: lines to vendors as one source, whole and each trade once, whatever the lines do.

* A line that breaks is built again (`line.py`). What its vendor has of the time between, and what was garbled or is missing
  in a count of 1, 2, 3, is asked for and put in its place; what was sent already, even by a predecessor, is not sent again.
* While a line of trades is down or catching up, the clock stands: no minute ends that may still lack trades.
* The clock follows the vendors' clocks, not ours: they may be seconds apart, and a delayed feed minutes behind. Stories wait for
  the trades of their time.
* A silent line is torn down, unless its market is closed; at night the session ends.
"""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from producers.base import Event, Pulse, Report, SessionEnd, Story, Told, Trade
from producers.hours import Delay, Hours
from producers.intake import Intake
from producers.line import BackOff, Line, Said
from producers.seen import Numbers, Seen
from producers.vendors.base import Feed
from streams.clock import MINUTE_US, SECOND_US, minute_start_us, wall_ts_us
from streams.errors import Throttled

ROUND_S = 0.1
REPORT_US = SECOND_US
GRACE_US = SECOND_US  # how long after its end a quiet minute waits for trades that are on their way
OVERLAP_US = 30 * SECOND_US  # asked for again on both sides of a gap: vendors order by other clocks than ours
SETTLE_US = 2 * SECOND_US  # so new that its vendor may not be able to tell of it yet
RECONCILE_US = 60 * SECOND_US
HOLE_US = SECOND_US  # a number that is missing may only be late
ASK_AGAIN_US = 5 * SECOND_US
FARTHEST_US = 60 * MINUTE_US  # no older trades are asked for: the engine would not take them
TRIES = 3  # to get at the past, or at numbers that are missing, before a line goes on without
TIMING_US = 30 * SECOND_US  # so long stories wait, at the start, for a first trade to tell how far behind trades are
QUIET_US = 30 * MINUTE_US
WILD_US = 60 * SECOND_US  # no clock is so wrong: such a time is a mistake
SKEWED_US = 2 * SECOND_US


class _State:
    """What is known of one line; all of it belongs to the thread that takes the events."""

    def __init__(self, line: Line, hours: Hours) -> None:
        self.line = line
        self.hours = hours
        self.is_up = False
        self.up_us = 0
        self.heard_us = 0
        self.delay = Delay()
        self.numbers = Numbers()
        self.complete_us: int | None = None  # all up to then is here; None: nothing ever came
        self.asking = False
        self.ask_at_us: int | None = None
        self.failures = 0
        self.tries = 0  # to find numbers that are missing
        self.held: list[Trade | Story] | None = None  # what comes while it catches up
        self.told_skew = False
        self.told_down = ""  # why it was down when that was told last

    @property
    def name(self) -> str:
        return self.line.feed.name

    @property
    def can_ask(self) -> bool:
        return type(self.line.feed).past is not Feed.past

    @property
    def is_whole(self) -> bool:
        return self.is_up and self.held is None


class Live:
    """A source of one or several feeds.

    Parameters
    ----------
    feeds : sequence of Feed
        The lines. Their names go into the messages' `source`.
    intake : Intake
        Which stories are new, and what they are about.
    back_off : BackOff
        How a broken line is built again.
    reconcile_us : int
        How often a line's vendor is asked whether anything is missing.
    clock : callable
        Returns the wall clock, microseconds UTC.
    """

    live = True

    def __init__(
        self,
        feeds: Sequence[Feed],
        intake: Intake | None = None,
        back_off: BackOff | None = None,
        reconcile_us: int = RECONCILE_US,
        clock: Callable[[], int] = wall_ts_us,
    ) -> None:
        self.lines = tuple(dict.fromkeys(feed.name for feed in feeds))
        self.name = "+".join(self.lines)
        self._clock = clock
        self._intake = intake or Intake()
        self._reconcile_us = reconcile_us
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._seen = Seen()
        self._counts: Counter[str] = Counter()
        self._alerts: list[str] = []
        lines = [Line(feed, self._said, back_off, clock) for feed in feeds]
        self._states = {line: _State(line, Hours(line.feed.calendar, clock())) for line in lines}
        self._reported_us = self._pulse_us = 0
        self._stories: list[Story] = []
        self._night = False
        self._traded_us = 0
        self._begun_us = clock()

    def remember(self, told: Iterable[Told]) -> None:
        """Take in what is in the topics already: it is not sent again, and what came since is asked for."""
        now_us = self._clock()
        for one in told:
            if one.id:
                self._intake.remember(one.id, one.text)
                told_us = max(min(one.event_ts_us, now_us) - 2 * self._reconcile_us, now_us - FARTHEST_US + MINUTE_US)
                for state in self._states.values():
                    if state.name == one.source and not state.line.feed.trades:
                        state.complete_us = max(state.complete_us or 0, told_us)
                continue
            self._seen.add((one.source, one.symbol, one.seq), min(one.event_ts_us, now_us))
            if one.event_ts_us - now_us > WILD_US:
                continue  # a mistake: nothing is known up to there
            # a predecessor may have missed some before its last, and not have asked yet
            whole_us = one.event_ts_us - 2 * self._reconcile_us
            for state in self._trading(one.source):
                state.complete_us = max(state.complete_us or 0, whole_us)

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield what the vendors say, for ever; at least a report a second.

        Raises
        ------
        SourceError
            A vendor refuses what is asked for, and had not given it before either.
        """
        for line in self._states:
            line.start()
        try:
            while True:
                try:
                    yield from self._take(self._said.get(timeout=ROUND_S))
                except queue.Empty:
                    pass
                yield from self._tend(self._clock())
        finally:
            for line in self._states:
                line.stop()

    def _trading(self, name: str = "") -> list[_State]:
        return [state for state in self._states.values() if state.line.feed.trades and name in ("", state.name)]

    def _take(self, said: Said) -> Iterator[Event]:
        state = self._states[said.line]
        if said.kind in ("up", "heard", "garbled"):
            state.heard_us = said.came_us
        if said.kind == "failed" and said.error is not None:
            raise said.error
        if said.kind == "heard":
            yield from self._heard(state, said)
        elif said.kind == "past":
            yield from self._found(state, said)
        elif said.kind == "up":
            self._up(state, said.came_us)
        else:
            yield from self._went_wrong(state, said)

    def _up(self, state: _State, now_us: int) -> None:
        state.is_up, state.up_us, state.told_down = True, now_us, ""
        self._counts["connected"] += 1
        if state.complete_us is not None and state.can_ask:
            state.held = [] if state.held is None else state.held
            state.ask_at_us = now_us
        elif state.complete_us is None:
            state.complete_us = now_us

    def _went_wrong(self, state: _State, said: Said) -> Iterator[Event]:
        if said.kind == "garbled":
            self._counts["garbled"] += 1
            state.ask_at_us = min(state.ask_at_us or said.came_us + HOLE_US, said.came_us + HOLE_US)
        elif said.kind == "no past":
            state.asking = False
            state.failures += 1
            wait_us = int(said.error.after_s * SECOND_US) if isinstance(said.error, Throttled) else 0
            patience_us = ASK_AGAIN_US if state.failures < TRIES else self._reconcile_us
            state.ask_at_us = said.came_us + max(wait_us, patience_us)
            if state.failures <= TRIES:
                self._alerts.append(f"{state.name}: what was missed cannot be had now ({said.error})")
            if state.failures >= TRIES:
                yield from self._release(state, ())
        else:
            self._counts["lost"] += 1
            if state.is_up or state.told_down != str(said.error):
                self._alerts.append(f"{state.name}: the line is down ({said.error}); it is built again")
            state.is_up, state.told_down = False, str(said.error)

    def _heard(self, state: _State, said: Said) -> Iterator[Event]:
        for event in said.events:
            if isinstance(event, Trade) and event.event_ts_us - said.came_us < WILD_US:
                state.delay.take(event.event_ts_us, said.came_us)
        if state.held is not None:
            state.held += said.events
        else:
            yield from self._pass(state, said.events, said.came_us)

    def _found(self, state: _State, said: Said) -> Iterator[Event]:
        state.asking, state.failures = False, 0
        state.complete_us = max(state.complete_us or 0, said.span_us[1] - SETTLE_US)
        before = self._counts["sent"]
        if said.span_us[1] < state.up_us:  # asked before the line broke again: what came since is yet to be asked for
            yield from self._pass(state, said.events, self._clock())
        else:
            yield from self._release(state, said.events)
        self._counts["backfilled"] += self._counts["sent"] - before
        state.tries = state.tries + 1 if state.numbers.missing else 0
        if state.tries >= TRIES:
            state.tries = 0
            self._counts["never found"] += state.numbers.forget()
        elif state.tries:
            state.ask_at_us = said.came_us + ASK_AGAIN_US

    def _release(self, state: _State, found: Sequence[Trade | Story]) -> Iterator[Event]:
        """Yield what was found and what came meanwhile, in the order of event time."""
        held, state.held = state.held or [], None
        merged = sorted([*found, *held], key=lambda event: (event.event_ts_us, getattr(event, "seq", 0)))
        yield from self._pass(state, merged, self._clock())

    def _pass(self, state: _State, events: Iterable[Trade | Story], now_us: int) -> Iterator[Event]:
        for event in events:
            named = replace(legible(event), source=state.name)
            if isinstance(named, Trade):
                yield from self._trade(state, named, now_us)
            elif (story := self._intake.take(named)) is not None:
                self._stories.append(story)

    def _trade(self, state: _State, trade: Trade, now_us: int) -> Iterator[Event]:
        if state.line.feed.contiguous and not trade.excluded:
            state.numbers.take(trade.symbol, trade.seq)
            if state.numbers.missing and not state.asking and state.can_ask:
                state.ask_at_us = min(state.ask_at_us or now_us + HOLE_US, now_us + HOLE_US)
        wild = trade.event_ts_us - now_us > WILD_US
        # what is known is forgotten by the time of trades, which a mistake must not move
        if not self._seen.is_new(replace(trade, event_ts_us=now_us) if wild else trade):
            self._counts["repeats"] += 1
            return
        self._counts["sent"] += 1
        self._traded_us = now_us
        self._counts["ahead"] += wild
        self._night = False
        yield replace(trade, ahead=True) if wild else trade

    def _tend(self, now_us: int) -> Iterator[Event]:
        for state in self._states.values():
            self._ask_if_due(state, now_us)
            self._watch(state, now_us)
        yield from self._told_by(now_us - max(0, self._slowest_us()))
        yield from self._tick(now_us)
        if self._alerts or now_us - self._reported_us >= REPORT_US:
            self._reported_us = now_us
            yield from self._report(now_us)

    def _ask_if_due(self, state: _State, now_us: int) -> None:
        if not (state.is_up and state.can_ask) or state.asking or state.complete_us is None:
            return
        if state.held is None and now_us - state.complete_us > self._reconcile_us:
            state.ask_at_us = min(state.ask_at_us or now_us, now_us)
        if state.ask_at_us is None or state.ask_at_us > now_us:
            return
        delayed_us = max(0, state.delay.least_us or 0)
        since_us = max(state.complete_us - OVERLAP_US - delayed_us, now_us - FARTHEST_US)
        if state.complete_us < now_us - FARTHEST_US:
            self._alerts.append(f"{state.name}: more than an hour is missing; only the last hour is asked for")
        state.asking, state.ask_at_us = True, None
        vendors_us = now_us - min(0, state.delay.least_us or 0)
        state.line.ask(since_us, vendors_us)

    def _watch(self, state: _State, now_us: int) -> None:
        """Tear the line down where it is silent; tell where its clock is another than ours."""
        silence_s = state.line.feed.silence_s
        if not state.hours.is_open(now_us):
            state.heard_us = now_us  # from the opening on, silence counts anew
        if state.is_up and silence_s and now_us - state.heard_us > silence_s * SECOND_US:
            state.heard_us = now_us
            self._counts["silent"] += 1
            self._alerts.append(f"{state.name}: silent for {silence_s:g} s in an open market; the line is built again")
            state.line.hang_up()
        least_us = state.delay.least_us
        if least_us is not None and abs(least_us) > SKEWED_US and not state.told_skew:
            state.told_skew = True
            where = "ahead of" if least_us < 0 else "behind"
            self._alerts.append(
                f"{state.name}: its clock is {abs(least_us) / SECOND_US:.1f} s {where} ours (or its way slow); set clocks by NTP"
            )

    def _slowest_us(self) -> int:
        """Return how long after its time a trade of the slowest line comes; some vendors' come minutes later, by contract."""
        return max((state.delay.least_us or 0 for state in self._trading()), default=0)

    def _is_timed(self) -> bool:
        """Return whether anything tells how far the trades are."""
        trading = self._trading()
        return not trading or any(state.delay.least_us is not None for state in trading)

    def _told_by(self, clock_us: int) -> Iterator[Story]:
        """Yield the stories up to where the trades are: one from later would end minutes whose trades are yet to come."""
        if not self._stories or not all(state.is_whole for state in self._trading()):
            return
        if not self._is_timed() and self._clock() - self._begun_us < TIMING_US:
            return
        due = sorted((one for one in self._stories if one.event_ts_us <= clock_us), key=lambda one: one.event_ts_us)
        self._stories = [one for one in self._stories if one.event_ts_us > clock_us]
        yield from due

    def _tick(self, now_us: int) -> Iterator[Event]:
        """Yield the pulse that is due, or the session's end, where nothing on its way can be before it."""
        trading = self._trading()
        quiet = now_us - self._traded_us > QUIET_US  # who trades at night is right, and the calendar wrong
        if trading and quiet and all(state.hours.has_ended(now_us) for state in trading):
            if not self._night:
                self._night = True
                yield SessionEnd(minute_start_us(now_us - GRACE_US) - 1)  # no minute that still goes on is closed
            return
        if not (self._is_timed() and all(state.is_whole for state in trading)):
            return
        clock_us = now_us - GRACE_US - self._slowest_us()
        if clock_us - self._pulse_us >= SECOND_US or minute_start_us(clock_us) > self._pulse_us:
            self._pulse_us = clock_us
            yield Pulse(clock_us)

    def _report(self, now_us: int) -> Iterator[Report]:
        alerts, self._alerts = self._alerts, []
        least = [state.delay.least_us for state in self._states.values() if state.delay.least_us is not None]
        skew = {"least_delay_ms": min(least) // 1_000} if least else {}
        counts = self._counts | Counter(self._intake.counts)
        lines = {
            "up": sum(state.is_up for state in self._states.values()),
            "open": sum(state.hours.is_open(now_us) for state in self._trading()),
        }
        for detail in alerts or [""]:
            yield Report(now_us, {**counts, **skew, **lines}, detail)


def legible(event: Trade | Story) -> Trade | Story:
    r"""Return `event` without what no text has: half a character, as vendors leave it where they cut a headline.

    >>> legible(Story(0, "7", ("AAPL",), "Apple rises \ud83d")).text
    'Apple rises ?'
    """
    texts = {name: text for name in ("symbol", "id", "text", "url") if (text := getattr(event, name, ""))}
    symbols = getattr(event, "symbols", ())
    try:
        "".join((*texts.values(), *symbols)).encode()
    except UnicodeEncodeError:
        mended: dict[str, Any] = {name: _mended(text) for name, text in texts.items()}
        return replace(event, **mended | ({"symbols": tuple(map(_mended, symbols))} if symbols else {}))
    return event


def _mended(text: str) -> str:
    return text.encode(errors="replace").decode()
