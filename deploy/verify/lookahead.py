"""`tickcast verify lookahead`: change everything from a random time on, and demand that nothing known by then changes.

A simulated market runs through the product's own way (`markets.py`) once as it is, and once for each of some random times with
another future: prices that jump and wander off, other volumes, trades left out, headlines with other texts or none. What
every stage (`stages.py`) says up to that time must be the same to the last bit; and what it says of later times must differ,
or nothing would have been looked at.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from deploy.verify import markets, stages
from deploy.verify.markets import START_US
from deploy.verify.stages import Said, Study
from models.forecaster import catalog
from models.forecaster.base import Effort
from models.training import dataset
from producers.base import Event, Story, Trade
from producers.market import TONES, Market
from producers.newswire import write
from streams.clock import MINUTE_US
from streams.settings import Settings

SYMBOLS = ("AAPL", "TSLA")
TRADES_PER_MIN = 3.0  # for each symbol
MINUTES = 1_160
CUTS_MIN = (500, 580)  # between these the cuts lie: walk-forward needs as much again behind them
AS_IT_IS = "base"


@dataclass(frozen=True)
class Plan:
    """How many other futures, and which models are fitted for them; the first serves."""

    cuts: int
    models: tuple[str, ...]

    @property
    def steps(self) -> int:
        """How many pieces of work there are."""
        return 1 + self.cuts * len(stages.STAGES)


FULL = Plan(cuts=6, models=("lstm", "linear", "har-rv"))
QUICK = Plan(cuts=2, models=("linear",))


@dataclass(frozen=True)
class Worlds:
    """The feature rows of the market as it is, and of its other futures by when they begin, microseconds UTC."""

    base: pl.DataFrame
    others: dict[int, pl.DataFrame]


@dataclass
class Tally:
    """How many pieces were compared and differed, by kind, and how many of later times differed, by stage."""

    compared: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    later: Counter[str] = field(default_factory=Counter)

    def add(self, stage: str, cut_us: int, base: Said, other: Said) -> None:
        """Compare what a stage said of two markets that are the same before `cut_us`."""
        for key in base.keys() | other.keys():
            known_us = min(said[key].known_us for said in (base, other) if key in said)
            differs = base.get(key) != other.get(key)
            if known_us > cut_us:
                self.later[stage] += differs
            else:
                self.compared[key[0]] += 1
                self.differing[key[0]] += differs

    def holds(self) -> bool:
        """Return whether there was something to compare of every kind, nothing differed, and all that is later did."""
        return (
            all(self.compared[kind] for kind in stages.KINDS)
            and not self.differing.total()
            and all(self.later[stage] for stage in stages.STAGES)
        )


def run(settings: Settings, plan: Plan, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of `plan`; `holds` says whether nothing looked ahead. `tell` hears what has begun."""
    began_s = time.monotonic()
    tell("simulated markets to feature rows")
    figures = judged(worlds(settings, plan, seed), plan, tell)
    return figures | {"seed": seed, "seconds": round(time.monotonic() - began_s, 1)}


def worlds(settings: Settings, plan: Plan, seed: int) -> Worlds:
    """Return the rows of the market, and of its other futures from random minutes on."""
    found = markets.rows(settings, happenings(plan, seed))
    return Worlds(found[AS_IT_IS], {cut_us: found[name] for name, cut_us in _cuts(plan, seed).items()})


def happenings(plan: Plan, seed: int) -> dict[str, Iterator[Event]]:
    """Return what happens in the market, and in its other futures, by name."""
    market = Market(symbols=SYMBOLS, seed=seed, rate=TRADES_PER_MIN * len(SYMBOLS) / 60)
    cuts = _cuts(plan, seed).items()
    others = {name: _other(markets.events(market, MINUTES), cut_us, seed + at) for at, (name, cut_us) in enumerate(cuts)}
    return {AS_IT_IS: markets.events(market, MINUTES)} | others


def _cuts(plan: Plan, seed: int) -> dict[str, int]:
    """Return when each other future begins, microseconds UTC."""
    chance = random.Random(seed)  # noqa: S311 - which times are tried is no secret
    minutes = chance.sample(range(*CUTS_MIN), plan.cuts)
    return {f"other{at}": START_US + minute * MINUTE_US for at, minute in enumerate(minutes)}


def _other(events: Iterable[Event], cut_us: int, seed: int) -> Iterator[Event]:
    """Yield `events` as they are before `cut_us`, and others from there on."""
    chance = np.random.default_rng(seed)
    moved = float(chance.choice([-0.05, 0.05]))
    for event in events:
        if event.event_ts_us < cut_us or not isinstance(event, Trade | Story):
            yield event
        elif chance.random() < 0.75:
            moved += float(chance.normal(0, 2e-3))
            yield _otherwise(event, moved, chance)


def _otherwise(event: Trade | Story, moved: float, chance: np.random.Generator) -> Event:
    if isinstance(event, Story):
        return replace(event, text=write(chance, TONES[chance.integers(len(TONES))], event.symbols))
    price = max(0.01, round(event.price * float(np.exp(moved)), 2))
    return replace(event, price=price, size=event.size + float(chance.integers(1, 500)))


def judged(found: Worlds, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return what the stages make of the worlds `found`."""
    recipes = [catalog.CATALOG[name] for name in plan.models]
    before = found.base.filter(pl.col("minute_ts_us") < START_US + (CUTS_MIN[0] - 1) * MINUTE_US)
    study = Study(recipes[0].fit(dataset.make(before, stages.SEED), stages.SEED, Effort(epochs=1)), recipes)
    tally = Tally()
    for number, (cut_us, other) in enumerate(found.others.items(), start=1):
        for name, stage in stages.STAGES.items():
            tell(f"{name}, time {number} of {len(found.others)}")
            tally.add(name, cut_us, stage(found.base, cut_us, study), stage(other, cut_us, study))
    kinds = {kind: {"compared": n, "differing": tally.differing[kind]} for kind, n in sorted(tally.compared.items())}
    return {"cuts_ts_us": list(found.others), "kinds": kinds, "later_differing": dict(tally.later), "holds": tally.holds()}


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("known by the cut", "compared", "differing")
    for kind, row in figures["kinds"].items():
        shown.add_row(kind, f"{row['compared']:,}", f"{row['differing']:,}")
    later = ", ".join(f"{stage} {count:,}" for stage, count in figures["later_differing"].items())
    shown.caption = f"{len(figures['cuts_ts_us'])} other futures; of later times differ: {later}"
    return shown
