"""The grammar `--ticks NAME[:ARG] --headlines NAME[:ARG] --prints all|regular`: from words to one source.

Live sources are `vendors/catalog.py`'s: to add one, see docs/add-a-source.md. The others have a line in `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from producers import prints
from producers.base import Event, Source, Story, Trade
from producers.market import Market
from producers.prints import Prints
from producers.recorded import RecordedTape
from producers.replay import Replay, tape_file
from producers.simulated import Simulated
from producers.tapes import open_tape
from producers.vendors.catalog import VENDORS, open_live
from producers.vendors.catalog import Part as Kind
from streams.errors import SourceError
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user asked for: a source name and its argument for ticks and for headlines; None: that part is absent.

    Of `prints`, `regular` marks the trades that no bar may take (see `prints.py`).
    """

    ticks: tuple[str, str] | None
    headlines: tuple[str, str] | None
    rate: float = 60.0
    seed: int = 1
    prints: Prints = "all"

    @property
    def names(self) -> set[str]:
        """The names of the sources that take part."""
        return {part[0] for part in (self.ticks, self.headlines) if part}


def _simulated(choice: Choice, settings: Settings) -> Source:
    if any(part and part[1] for part in (choice.ticks, choice.headlines)):
        raise SourceError("the simulated source takes no argument: it has --seed, --rate and --symbols")
    market = Simulated(Market(symbols=settings.symbol_list, rate=choice.rate, seed=choice.seed))
    return market if choice.ticks and choice.headlines else Part(market, Trade if choice.ticks else Story)


def _replay(choice: Choice, _settings: Settings) -> Source:
    ticks, headlines = (_tape_path(part) for part in (choice.ticks, choice.headlines))
    if ticks and ticks == headlines:
        return open_tape(ticks)
    return Replay(ticks and tape_file(ticks, "ticks"), headlines and tape_file(headlines, "headlines"))


def _tape_path(part: tuple[str, str] | None) -> Path | None:
    if part and not part[1]:
        raise SourceError("replay needs a folder or a file, as in replay:tapes/june")
    return Path(part[1]) if part else None


BUILDERS: dict[str, Callable[[Choice, Settings], Source]] = {"simulated": _simulated, "replay": _replay}
NAMES = (*sorted(VENDORS), *sorted(BUILDERS))


def _live(choice: Choice, settings: Settings) -> Source:
    """Return the live source; where one vendor is asked for everything, what it has is everything."""
    asked: dict[Kind, tuple[str, str]] = {}
    if choice.ticks:
        asked["ticks"] = choice.ticks
    if choice.headlines:
        asked["headlines"] = choice.headlines
    if choice.ticks == choice.headlines:
        asked = {part: vendor for part, vendor in asked.items() if part in VENDORS[vendor[0]].parts}
    return open_live(asked, settings)


@dataclass(frozen=True)
class Part:
    """A source reduced to its trades or to its stories; pulses and session ends stay."""

    source: Source
    kept: type[Trade] | type[Story]

    @property
    def name(self) -> str:
        """The source's own name."""
        return self.source.name

    @property
    def live(self) -> bool:
        """Whether the source paces itself."""
        return self.source.live

    def events(self, resume_after: int = -1) -> Iterator[Event]:
        """Yield the source's events without the other kind."""
        dropped = Story if self.kept is Trade else Trade
        return (event for event in self.source.events(resume_after) if not isinstance(event, dropped))


def parse(text: str) -> tuple[str, str] | None:
    """Return name and argument of `NAME[:ARG]`; None for `none`.

    >>> parse("replay:tapes/june")
    ('replay', 'tapes/june')
    """
    name, _, argument = text.partition(":")
    if name == "none":
        return None
    if name not in NAMES:
        raise SourceError(f"there is no source {name!r}; there are {', '.join(NAMES)} and none")
    return name, argument


def open_source(choice: Choice, settings: Settings) -> Source:
    """Return the one source of `choice`.

    Raises
    ------
    SourceError
        Nothing was chosen, the parts cannot share a clock, or the source cannot be opened.
    """
    if not choice.names:
        raise SourceError("ticks and headlines cannot both be none")
    if choice.names <= VENDORS.keys():
        return prints.of(_live(choice, settings), choice.prints)
    if len(choice.names) > 1:
        raise SourceError(
            f"{' and '.join(sorted(choice.names))} cannot be mixed: only live vendors can, as in --ticks ccxt --headlines rss:URL"
        )
    source = BUILDERS[choice.names.pop()](choice, settings)
    if isinstance(source, RecordedTape) and choice.prints != "all":
        raise SourceError("--prints marks trades before they are sent; a recording is sent as it was recorded")
    return prints.of(source, choice.prints)
