"""What `tickcast verify fuzz` sends to each input topic, and what must come of it: good messages, and such that were changed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from deploy.verify.mutated import mutated
from models.forecaster.base import HORIZONS_MIN, QUANTILES
from streams import bus, codec
from streams.bus import Outgoing
from streams.clock import MINUTE_US, SECOND_US, minute_start_us
from streams.errors import BadMessage
from streams.messages import Features, Forecast, Headline, Message, ModelAnnouncement, Score, Sentiment, Tick
from streams.settings import Settings
from streams.topics import TOPICS

GOOD = "GOOD"  # the symbol of good messages, and the beginning of their keys
FUZZ = "FUZZ"
EVERY = 10  # one good message in so many
KEYS = 8  # of fuzzed messages: they go to all partitions
TEXTS = ("Apple profit rises as sales beat estimates", "Amazon warns of weak demand", "Shares climb")

Make = Callable[[int, str, int], Message]
"""From a number, a symbol and a minute (its start) a message."""


class Aim(NamedTuple):
    """An input topic and who reads it.

    Attributes
    ----------
    stages : tuple[str, ...]
        Each writes a dead letter of each bad message.
    make : Make
        Makes its good messages.
    missing : callable
        How many outputs of so many good messages, the first of that minute, are not there.
    before, behind : Make, optional
        One more good message, of another topic, that goes before or behind all.
    """

    topic: str
    stages: tuple[str, ...]
    make: Make
    missing: Callable[[Settings, int, int], int]
    before: Make | None = None
    behind: Make | None = None

    def records(self, messages: int, minute_us: int, seed: int) -> Iterator[Outgoing]:
        """Yield what is sent: `messages` fuzzed ones, a good one before every tenth."""
        chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
        if self.before is not None:
            yield _record(self.before(0, GOOD, minute_us))
        for number in range(messages):
            if number % EVERY == 0:
                good = self.make(number // EVERY, GOOD, minute_us)
                yield bus.outgoing(self.topic, GOOD if self.topic != "models" else f"{GOOD}-{number}", good)
            value = mutated(codec.encode(self.make(number, FUZZ, minute_us)), chance)
            yield Outgoing(self.topic, b"%s-%d" % (FUZZ.encode(), number % KEYS), value)  # type: ignore[arg-type] # a tombstone
        if self.behind is not None:
            yield _record(self.behind(0, GOOD, minute_us))

    def is_bad(self, value: bytes | None) -> bool:
        """Return whether `value` breaks the contract of the topic, however it is read.

        Of a field that is there twice Spark takes the last, as most readers of JSON do, but the codec looks at both.
        """
        return not (self._is_good(value) or self._is_good(_last_of_each(value)))

    def _is_good(self, value: bytes | None) -> bool:
        try:
            codec.decode(TOPICS[self.topic].message, value)
        except BadMessage:
            return False
        return True


def _last_of_each(value: bytes | None) -> bytes | None:
    """Return a message in which a field is there more than once with the last of each; any other as it is."""
    try:
        pairs = json.loads(value or b"", object_pairs_hook=tuple)
        is_repeated = isinstance(pairs, tuple) and len(dict(pairs)) < len(pairs)
        return msgspec.json.encode(msgspec.json.decode(value or b"")) if is_repeated else value
    except (ValueError, msgspec.MsgspecError, RecursionError, OverflowError):
        return value


def _record(message: Message) -> Outgoing:
    topic = next(topic.name for topic in TOPICS.values() if topic.message is type(message))
    return bus.outgoing(topic, GOOD, message)


def tick(number: int, symbol: str, minute_us: int) -> Tick:
    """Return a trade of the minute."""
    at_us = minute_us + number % (50 * SECOND_US)
    price = 100 + number % 50 / 100
    return Tick(event_ts_us=at_us, clock_ts_us=at_us, symbol=symbol, price=price, size=1.0, source="fuzz", seq=number)


def headline(number: int, symbol: str, minute_us: int) -> Headline:
    """Return a headline on `symbol`."""
    text = TEXTS[number % len(TEXTS)]
    return Headline(
        event_ts_us=minute_us, clock_ts_us=minute_us, id=f"{symbol}-{number}", symbols=[symbol], text=text, source="fuzz"
    )


def sentiment(number: int, symbol: str, minute_us: int) -> Sentiment:
    """Return what a headline of its own means for `symbol`."""
    return Sentiment(
        event_ts_us=minute_us,
        clock_ts_us=minute_us,
        headline_id=f"{symbol}-{number}",
        symbol=symbol,
        model_id="fuzz",
        p_positive=0.7,
        p_negative=0.1,
        p_neutral=0.2,
        score=0.6,
    )


def features(number: int, symbol: str, minute_us: int) -> Features:
    """Return the final row of the minute `number` minutes later."""
    at_us, price = minute_us + number * MINUTE_US, 100 + number % 50 / 100
    return Features(
        minute_ts_us=at_us,
        symbol=symbol,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=1.0,
        ma7=price,
        ma21=price,
        bars7=min(number + 1, 7),
        bars21=min(number + 1, 21),
        n_ticks=1,
        last_event_ts_us=at_us,
        revision=1,
        final=True,
        flat=False,
    )


def forecast(number: int, symbol: str, minute_us: int) -> Forecast:
    """Return a forecast of the close of the minute."""
    return Forecast(
        forecast_id=f"{symbol}-{number}",
        symbol=symbol,
        as_of_ts_us=minute_us,
        horizon_min=1,
        target_ts_us=minute_us + MINUTE_US,
        last_price=100.0,
        mean=100.0,
        quantiles={level: 99.0 + at / 2 for at, level in enumerate(QUANTILES)},
        prob_up=0.5,
        model_id="fuzz",
        role="baseline",
        provisional=False,
        features_hash="",
    )


def announcement(number: int, symbol: str, _minute_us: int) -> ModelAnnouncement:
    """Return what is said of a model that nobody serves."""
    return ModelAnnouncement(
        name=f"{symbol}-{number}", model_id="fuzz", uri="fuzz", sha256="0" * 64, promoted=False, reason="fuzz"
    )


def _newest_row(settings: Settings, minute_us: int) -> Features | None:
    rows = (codec.decode(Features, record.value) for record in bus.read_all(settings, "features") if record.key == GOOD.encode())
    of_minute = [row for row in rows if row.minute_ts_us == minute_us]
    return max(of_minute, key=lambda row: row.revision, default=None)


def _ticks_missing(settings: Settings, good: int, minute_us: int) -> int:
    row = _newest_row(settings, minute_us)
    return good - (row.n_ticks if row else 0)


def _moods_missing(settings: Settings, good: int, minute_us: int) -> int:
    row = _newest_row(settings, minute_us)
    return good - (row.sent_n if row else 0)


def _headlines_missing(settings: Settings, good: int, _minute_us: int) -> int:
    seen = {codec.decode(Sentiment, record.value).headline_id for record in _of_good(settings, "sentiment")}
    return good - len(seen)


def _rows_missing(settings: Settings, good: int, _minute_us: int) -> int:
    seen = {
        (made.as_of_ts_us, made.horizon_min)
        for record in _of_good(settings, "forecasts")
        if not (made := codec.decode(Forecast, record.value)).provisional
    }
    return good * len(HORIZONS_MIN) - len(seen)


def _forecasts_missing(settings: Settings, good: int, _minute_us: int) -> int:
    return good - len({codec.decode(Score, record.value).forecast_id for record in _of_good(settings, "scores")})


def _of_good(settings: Settings, topic: str) -> Iterator[bus.Record]:
    return (record for record in bus.read_all(settings, topic) if record.key == GOOD.encode())


def first_minute_us(now_us: int, good: int) -> int:
    """Return the minute that good messages begin with: rows of `good` minutes, one behind the other, end before `now_us`."""
    return minute_start_us(now_us) - (good + 2) * MINUTE_US


AIMS = (
    Aim("ticks", ("features",), tick, _ticks_missing),
    Aim("headlines", ("sentiment",), headline, _headlines_missing),
    Aim("sentiment", ("features",), sentiment, _moods_missing, before=tick),
    Aim("features", ("forecast", "score"), features, _rows_missing),
    Aim("forecasts", ("score",), forecast, _forecasts_missing, behind=features),
    Aim("models", ("models of forecaster",), announcement, lambda *_: 0),
)
