"""One minute of the simulated market, filled with trades only when they are asked for; `market.py` makes the minutes.

Within a minute each symbol's logarithmic price is a Brownian bridge between the minute's ends, with the jump at its time.
Busy minutes are filled in parts, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.base import Event, SessionEnd, Story, Trade
from producers.newswire import Tone
from streams.clock import MINUTE_US

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


PART_TRADES = 4_000  # a part is filled in about 2 ms, so a live feed does not stall at any rate


class Trades(NamedTuple):
    """Trades in order of time, as columns; `offset_us` from the market's start, `who` the index of the symbol."""

    offset_us: Integers
    who: Integers
    price: Floats
    size: Integers


@dataclass(frozen=True, slots=True)
class News:
    """One headline with its hidden tone, `offset_us` after the market's start."""

    offset_us: int
    id: str
    symbols: tuple[str, ...]
    text: str
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One minute of the market; arrays hold a value for each symbol, prices and returns as logarithms.

    `drift` is the whole return but for the `jump`, which comes at the part `jump_at` of the minute; `sigma` is the
    volatility between trades; `seed` is that of the trades; `busyness` scales their sizes.
    """

    symbols: tuple[str, ...]
    seed: tuple[int, ...]
    start_us: int
    session: int
    session_minute: int
    ends_session: bool
    open: Floats
    drift: Floats
    sigma: Floats
    jump: Floats
    jump_at: Floats
    busyness: float
    n_trades: int
    first_seq: int
    news: tuple[News, ...]

    @property
    def close(self) -> Floats:
        """Logarithm of the price at the end of the minute."""
        return self.open + self.drift + self.jump

    @property
    def last_seq(self) -> int:
        """The highest `seq` up to the end of this minute."""
        return self.first_seq + self.n_trades - 1

    def trades(self) -> Trades:
        """Return all trades of the minute."""
        parts = [self._fill(part) for part in range(self._n_parts)]
        return Trades(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def events(self, place: Callable[[int], int], resume_after: int = -1) -> Iterator[Event]:
        """Yield what happens after trade `resume_after`; `place` maps an offset to an event time as each is asked for."""
        done = max(0, resume_after + 1 - self.first_seq)
        end = 0
        for part, n_trades in enumerate(self._skeleton()[0].tolist()):
            begin, end = end, end + n_trades
            if end >= done:  # where it equals `done`, a story may follow the last trade that was sent
                yield from self._events(part, begin, max(begin, done), place)
        if self.ends_session:
            yield SessionEnd(place(self.start_us + MINUTE_US - 1))

    def _events(self, part: int, begin: int, done: int, place: Callable[[int], int]) -> Iterator[Event]:
        """Yield the events of one part, whose first trade is the minute's number `begin`, from trade `done` on."""
        trades = self._fill(part)
        news = [item for item in self.news if (item.offset_us - self.start_us) * self._n_parts // MINUTE_US == part]
        cuts = begin + np.searchsorted(trades.offset_us, [item.offset_us for item in news])
        rows = list(zip(*(column.tolist() for column in trades), strict=True))
        for item, cut in zip(news, cuts.tolist(), strict=True):
            if cut >= done:
                yield from self._placed(rows[done - begin : cut - begin], done, place)
                yield Story(place(item.offset_us), item.id, item.symbols, item.text)
                done = cut
        yield from self._placed(rows[done - begin :], done, place)

    def _placed(self, rows: list[tuple[int, int, float, int]], skipped: int, place: Callable[[int], int]) -> Iterator[Trade]:
        for seq, (offset, who, price, size) in enumerate(rows, start=self.first_seq + skipped):
            yield Trade(place(offset), self.symbols[who], price, float(size), seq)

    @property
    def _n_parts(self) -> int:
        return 1 + self.n_trades // PART_TRADES

    def _skeleton(self) -> tuple[Integers, Floats]:
        """Return how many trades each part has, and standard bridges at the parts' ends, shape (parts + 1, symbols)."""
        rng, n_parts = np.random.default_rng((*self.seed, 0)), self._n_parts
        counts = rng.multinomial(self.n_trades, np.full(n_parts, 1 / n_parts))
        steps = rng.standard_normal((n_parts, len(self.symbols))) / np.sqrt(n_parts)
        walk = np.concatenate([np.zeros((1, len(self.symbols))), np.cumsum(steps, axis=0)])
        return counts, walk - np.linspace(0, 1, n_parts + 1)[:, None] * walk[-1]

    def _fill(self, part: int) -> Trades:
        """Return the trades of one part: a bridge between the ends of the part, on top of the line between them."""
        rng, n_symbols, n_parts = np.random.default_rng((*self.seed, 1 + part)), len(self.symbols), self._n_parts
        counts, ends = self._skeleton()
        within = np.sort(rng.random(counts[part]))
        who = rng.choice(n_symbols, counts[part], p=activity(n_symbols))
        at = (part + within) / n_parts
        wiggle = ends[part, who] * (1 - within) + ends[part + 1, who] * within
        wiggle += bridge(rng, within, who, n_symbols) / np.sqrt(n_parts)
        jump = self.jump[who] * (at >= self.jump_at[who])
        price = np.exp(self.open[who] + self.drift[who] * at + self.sigma[who] * wiggle + jump)
        sizes = rng.lognormal(4.0, 1.1, counts[part]) * self.busyness
        # Below a cent there is no price, and the contract ends at 1e12.
        cents = np.asarray(np.clip(np.round(price, 2), 0.01, 1e11), dtype=np.float64)
        return Trades(self.start_us + (at * MINUTE_US).astype(np.int64), who, cents, 1 + sizes.astype(np.int64))


def activity(n_symbols: int) -> Floats:
    """Return each symbol's share of the trades: the first ones are the busiest."""
    weight = 1 / np.sqrt(np.arange(1, n_symbols + 1))
    return np.asarray(weight / weight.sum())


def bridge(rng: np.random.Generator, at: Floats, who: Integers, n_symbols: int) -> Floats:
    """Return standard Brownian bridges on [0, 1], one for each symbol, at the times `at` of the symbols `who`."""
    times = np.concatenate([at, np.ones(n_symbols)])
    owners = np.concatenate([who, np.arange(n_symbols)])
    order = np.argsort(owners, kind="stable")  # `at` is sorted and the ends come last, so times rise within each symbol
    elapsed = np.diff(times[order], prepend=0.0)
    elapsed[elapsed < 0] += 1  # the next symbol begins at 0 again
    walk = np.empty(len(times))
    walk[order] = np.cumsum(np.sqrt(elapsed) * rng.standard_normal(len(times)))
    ends = walk[len(at) :]
    begins = np.concatenate([[0.0], ends[:-1]])
    return np.asarray(walk[: len(at)] - begins[who] - at * (ends - begins)[who])
