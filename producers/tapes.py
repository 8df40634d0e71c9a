"""What can be replayed, found out by itself: a recording, a tape's folder, a lake, or a *cut*, which is a part of one of these.

A cut is a small JSON file that names its tape and says which part of it to take; `tickcast replay` writes one for each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from producers.base import Event, SessionEnd, Source, Story, Trade
from producers.lake_tape import ALL, LakeTape
from producers.recorded import RecordedTape
from producers.replay import Replay, Span
from streams.errors import SourceError
from streams.messages import MAX_TS_US
from streams.recording import MANIFEST


class Cut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a tape: events from `from_ts_us` to before `to_ts_us` (0: to its end), `symbols` only (none: all).

    `ticks` ends a tape behind so many trades (0: all); a recording has no such end.
    """

    source: str
    from_ts_us: int = 0
    to_ts_us: int = 0
    symbols: tuple[str, ...] = ()
    ticks: int = 0

    @property
    def span_us(self) -> Span:
        """From when to when."""
        return Span(self.from_ts_us, self.to_ts_us or MAX_TS_US)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not (self.from_ts_us or self.to_ts_us or self.symbols or self.ticks)


Tape = Replay | LakeTape | RecordedTape


def open_tape(path: Path) -> Source:
    """Return the tape at `path`.

    Raises
    ------
    SourceError
        It is missing, or nothing that can be replayed.
    """
    if path.suffix == ".json" and path.is_file():
        return cut(_read(path))
    return _whole(path, Cut(source=str(path)))


def cut(wanted: Cut) -> Tape | Excerpt:
    """Return the part of a tape that `wanted` says."""
    tape = _whole(Path(wanted.source), wanted)
    return tape if wanted.is_whole or isinstance(tape, RecordedTape) else Excerpt(tape, wanted)


def _whole(path: Path, wanted: Cut) -> Tape:
    if (path / MANIFEST).is_file():
        return RecordedTape(path, wanted.span_us, frozenset(wanted.symbols))
    if any((path / "ticks").glob("date=*")):
        return LakeTape(path, ALL if wanted.is_whole else wanted.span_us)
    return Replay.of_folder(path)


def _read(path: Path) -> Cut:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cut)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} does not say which part of which tape to take: {error}") from error


@dataclass(frozen=True)
class Excerpt:
    """A part of a tape; where it is cut off, the session ends."""

    tape: Replay | LakeTape
    wanted: Cut
    live: bool = False

    @property
    def name(self) -> str:
        """The whole tape's."""
        return self.tape.name

    @property
    def span_us(self) -> Span:
        """From when to when it goes."""
        whole, part = self.tape.span_us, self.wanted.span_us
        return Span(max(whole.first_us, part.first_us), min(whole.last_us, part.last_us))

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the events of the part."""
        trades = last_us = 0
        for event in self.tape.events(resume_after):
            if event.event_ts_us >= self.wanted.span_us.last_us or (self.wanted.ticks and trades == self.wanted.ticks):
                break
            if self._is_kept(event):
                trades += isinstance(event, Trade)
                last_us = 0 if isinstance(event, SessionEnd) else max(last_us, event.event_ts_us)
                yield event
        if last_us:
            yield SessionEnd(last_us)

    def _is_kept(self, event: Event) -> bool:
        if event.event_ts_us < self.wanted.from_ts_us:
            return False
        if isinstance(event, Trade):
            return not self.wanted.symbols or event.symbol in self.wanted.symbols
        return not isinstance(event, Story) or not self.wanted.symbols or bool(set(event.symbols) & set(self.wanted.symbols))
