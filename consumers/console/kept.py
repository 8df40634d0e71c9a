"""What the REST interface answers from beyond the page: messages whole, newest first, a page at a time. Pure and bounded.

Everything here is memory of what was read since the console started, and it starts by reading the newest part of each topic
(`feed.py`). Older history is in the topics (`consumers/subscribe.py`) and in the lake.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streams.messages import DeadLetter, Event, Features, Forecast, ModelAnnouncement, Score

MAX_FORECASTS = 10_000  # final ones; about 15 MB
MAX_SCORES = 10_000
MAX_LETTERS = 200
MAX_LETTER_CHARS = 65_536  # of one letter's bytes: 200 of the largest would be 800 MB
MAX_EVENTS = 500
MAX_ANNOUNCEMENTS = 200
MAX_SYMBOLS = 1_000

T = TypeVar("T")


class Place(NamedTuple):
    """Where an item stands among those of its kind, for pages: by time, then by id."""

    ts_us: int
    id: str

    def text(self) -> str:
        """Return the place as a cursor."""
        return f"{self.ts_us}:{self.id}"

    @classmethod
    def of(cls, cursor: str) -> Place:
        """Return the place that `cursor` tells.

        Raises
        ------
        ValueError
            It tells none.
        """
        ts_us, mark, name = cursor.partition(":")
        if not mark or not ts_us.isascii() or not ts_us.isdecimal() or len(ts_us) > 18:
            raise ValueError(f"{cursor[:80]!r} is no cursor; take it from `next` of the page before")
        return cls(int(ts_us), name)


class Slice(msgspec.Struct, Generic[T], frozen=True):
    """One page; `next` is the cursor of the page behind it, None on the last."""

    items: list[T]
    next: str | None


class Shelf(Generic[T]):
    """The last `room` items, each once by its id; the one that came first goes first."""

    def __init__(self, room: int, place: Callable[[T], Place]) -> None:
        self._room = room
        self._place = place
        self._items: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Take `item`; one with its id is replaced."""
        self._items[self._place(item).id] = item
        if len(self._items) > self._room:
            self._items.popitem(last=False)

    def get(self, name: str) -> T | None:
        """Return the item with that id, None where it is not here."""
        return self._items.get(name)

    def page(self, limit: int, before: Place | None, wanted: Callable[[T], bool] = lambda _item: True) -> Slice[T]:
        """Return at most `limit` of the `wanted` items, newest first, beginning behind `before`."""
        return page(self._items.values(), self._place, limit, before, wanted)


def page(
    items: Any, place: Callable[[T], Place], limit: int, before: Place | None, wanted: Callable[[T], bool] = lambda _item: True
) -> Slice[T]:
    """Return at most `limit` of the `wanted` ones of `items`, newest first, beginning behind `before`."""
    left = (item for item in items if wanted(item) and (before is None or place(item) < before))
    found = heapq.nlargest(limit + 1, left, key=place)
    return Slice(found[:limit], place(found[limit - 1]).text() if len(found) > limit else None)


class LetterBytes(msgspec.Struct, frozen=True):
    """A dead letter with its bytes, `truncated` where they are more than is shown; `number` is its offset on `dead_letters`."""

    number: int
    letter: DeadLetter
    truncated: bool


class Kept:
    """The shelves of all topics."""

    def __init__(self) -> None:
        self.features: dict[str, Features] = {}
        self.forecasts = Shelf[Forecast](MAX_FORECASTS, lambda forecast: Place(forecast.as_of_ts_us, forecast.forecast_id))
        self.scores = Shelf[Score](MAX_SCORES, lambda score: Place(score.target_ts_us, score.forecast_id))
        self.letters = Shelf[LetterBytes](MAX_LETTERS, lambda row: Place(row.number, str(row.number)))
        self.balance: list[Event] = []
        self.events = Shelf[Event](MAX_EVENTS, _event_place)
        self._announced: OrderedDict[tuple[str, str, bool, bool, str], ModelAnnouncement] = OrderedDict()

    def add_features(self, row: Features) -> None:
        """Take a row; the newest minute of a symbol is kept, and of it the highest revision."""
        known = self.features.get(row.symbol)
        if known is None and len(self.features) >= MAX_SYMBOLS:
            return
        # a jump back by more than any revision reaches is another tape
        if known is None or _order(row) >= _order(known) or known.minute_ts_us - row.minute_ts_us > 75 * 60_000_000:
            self.features[row.symbol] = row

    def add_letter(self, letter: DeadLetter, number: int) -> None:
        """Take a dead letter that stands at offset `number`."""
        truncated = len(letter.value_base64) > MAX_LETTER_CHARS
        short = msgspec.structs.replace(letter, value_base64=letter.value_base64[:MAX_LETTER_CHARS]) if truncated else letter
        self.letters.put(LetterBytes(number, short, truncated))

    def add_event(self, event: Event) -> None:
        """Take an event; statuses come every other second and are not history, and of balances the newest counts."""
        if event.kind == "audit":
            same = [line for line in self.balance if line.wall_ts_us == event.wall_ts_us and line != event]
            self.balance = [*same, event]
        elif event.kind != "status":
            self.events.put(event)

    def add_announcement(self, word: ModelAnnouncement) -> None:
        """Take an announcement; a promotion comes twice, under two keys."""
        identity = (word.name, word.model_id, word.promoted, word.shadow, word.reason)
        self._announced[identity] = word
        self._announced.move_to_end(identity)
        if len(self._announced) > MAX_ANNOUNCEMENTS:
            self._announced.popitem(last=False)

    def announced(self) -> list[ModelAnnouncement]:
        """Return what was announced, the newest word first."""
        return list(reversed(self._announced.values()))


def _order(row: Features) -> tuple[int, int]:
    return row.minute_ts_us, row.revision


def _event_place(event: Event) -> Place:
    return Place(event.wall_ts_us, f"{event.kind}:{event.role}:{event.wall_ts_us}:{event.detail}")
