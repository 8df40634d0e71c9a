"""Invented headlines with a known tone, for the simulated market: a bank of templates in newswire style.

Nothing here is true of the companies named. The tone is what decides the template; a reader sees only the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Tone = Literal[-1, 0, 1]


@dataclass(frozen=True, slots=True)
class Company:
    """How headlines speak of a symbol."""

    name: str
    product: str


COMPANIES = {
    "AAPL": Company("Apple", "iPhone"),
    "MSFT": Company("Microsoft", "Azure"),
    "GOOGL": Company("Alphabet", "Google Cloud"),
    "AMZN": Company("Amazon", "AWS"),
    "TSLA": Company("Tesla", "Model Y"),
    "META": Company("Meta Platforms", "Instagram"),
}

POSITIVE = (
    "{company} shares jump {percent}% after quarterly profit beats estimates",
    "{company} raises full-year revenue outlook on strong {product} demand",
    "{company} posts record quarterly revenue of ${billions} billion, up {percent}%",
    "{company} quarterly earnings top Wall Street forecasts as margins widen",
    "{company} wins ${billions} billion government contract",
    "{company} lifts dividend by {percent}% and expands share buyback",
    "{broker} upgrades {company} to buy, citing {product} growth",
    "{broker} raises {company} price target by {percent}% after strong results",
    "{company} {product} sales surge {percent}% in {month}, beating expectations",
    "{company} wins dismissal of ${billions} billion antitrust lawsuit",
    "{company} stock climbs to record high on upbeat guidance",
    "Regulators clear {company}'s ${billions} billion acquisition without conditions",
    "{company} gains market share as {product} orders rise {percent}%",
    "{company} operating profit soars {percent}% on lower costs",
    "{company} announces ${billions} billion share repurchase, stock rises",
    "Strong {product} demand drives {company} to its best quarter in {count} years",
    "{company} free cash flow climbs {percent}%, well ahead of forecasts",
    "{company} says {product} backlog grew {percent}% to an all-time high",
    "{company} credit rating upgraded by Moody's on improving cash generation",
    "{company} beats estimates for the {count}th straight quarter, raises guidance",
    "{company} secures multi-year supply deal worth ${billions} billion",
    "Analysts turn bullish on {company} after better-than-expected {month} data",
    "{company} gross margin expands {points} basis points, topping expectations",
    "{company} {product} launch draws stronger demand than expected",
    "{company} turns to profit in new markets, sees faster growth ahead",
    "{company} rallies {percent}% as investors cheer {product} expansion",
    "{company} wins key patent ruling, shares advance",
    "{company} to add {count},000 jobs as {product} business booms",
    "{company} swings past profit target as sales growth accelerates to {percent}%",
    "Survey shows {company} {product} customer satisfaction improving to record level",
)

NEGATIVE = (
    "{company} shares tumble {percent}% after quarterly profit misses estimates",
    "{company} cuts full-year revenue outlook on weak {product} demand",
    "{company} reports surprise quarterly loss of ${millions} million",
    "{company} quarterly earnings fall short of Wall Street forecasts as costs rise",
    "{company} loses ${billions} billion government contract to rival",
    "{company} suspends share buyback as cash flow drops {percent}%",
    "{broker} downgrades {company} to sell, citing slowing {product} growth",
    "{broker} slashes {company} price target by {percent}% after weak results",
    "{company} {product} sales plunge {percent}% in {month}, missing expectations",
    "{company} hit with ${billions} billion antitrust fine",
    "{company} stock slides to {count}-month low on disappointing guidance",
    "Regulators sue to block {company}'s ${billions} billion acquisition",
    "{company} loses market share as {product} orders decline {percent}%",
    "{company} operating profit sinks {percent}% on higher costs",
    "{company} warns of ${millions} million charge, stock falls",
    "Weak {product} demand drives {company} to its worst quarter in {count} years",
    "{company} free cash flow shrinks {percent}%, well below forecasts",
    "{company} says {product} backlog fell {percent}% as customers cancel orders",
    "{company} credit outlook cut to negative by Moody's on rising debt",
    "{company} misses estimates for the {count}th straight quarter, lowers guidance",
    "{company} {product} outage leaves thousands of customers without service, shares drop",
    "Analysts turn bearish on {company} after worse-than-expected {month} data",
    "{company} gross margin shrinks {points} basis points, disappointing investors",
    "{company} delays {product} launch on production problems",
    "{company} to cut {count},000 jobs as {product} business slumps",
    "{company} sinks {percent}% as investors fear {product} slowdown",
    "{company} loses key patent ruling, shares decline",
    "Federal investigators probe {company} over accounting irregularities",
    "{company} discloses data breach affecting {count} million customers",
    "{company} recalls products over safety defect, faces ${millions} million loss",
)

NEUTRAL = (
    "{company} to report quarterly results on {month} {day}",
    "{company} to hold annual shareholder meeting on {month} {day}",
    "{company} executive to speak at technology conference in {month}",
    "{company} names new head of {product} communications",
    "{company} files quarterly report with the SEC",
    "{company} schedules investor day for {month} {day}",
    "{company} moves {count} teams to new office building",
    "{company} board to meet on {month} {day}",
    "{company} publishes annual sustainability report",
    "{company} says {product} event will take place on {month} {day}",
    "{company} updates terms of service for {product}",
    "{company} appoints member to its board of directors",
    "{company} to present at {broker} conference on {month} {day}",
    "{company} renews lease for offices in Austin",
    "{company} announces date of its developer conference",
    "{company} sets dividend record date of {month} {day}",
    "{company} completes routine change of auditor",
    "{company} shares unchanged in {month} trading",
)

PAIR_POSITIVE = (
    "{company} and {other} shares rise {percent}% after announcing cloud partnership",
    "{company} and {other} beat profit estimates on strong demand",
    "{company}, {other} win joint contract worth ${billions} billion",
    "{broker} upgrades {company} and {other} on improving growth outlook",
)

PAIR_NEGATIVE = (
    "{company} and {other} shares fall {percent}% on fears of tighter regulation",
    "{company} and {other} miss profit estimates on weak demand",
    "{company}, {other} face ${billions} billion fine in antitrust case",
    "{broker} downgrades {company} and {other} on slowing growth",
)

PAIR_NEUTRAL = (
    "{company} and {other} to present at industry conference on {month} {day}",
    "{company}, {other} executives to testify at Senate hearing in {month}",
    "{company} and {other} join working group on technical standards",
)

SINGLE: dict[Tone, tuple[str, ...]] = {1: POSITIVE, -1: NEGATIVE, 0: NEUTRAL}
PAIR: dict[Tone, tuple[str, ...]] = {1: PAIR_POSITIVE, -1: PAIR_NEGATIVE, 0: PAIR_NEUTRAL}
BROKERS = ("Morgan Stanley", "Goldman Sachs", "Citigroup", "Barclays", "UBS", "Jefferies", "Bernstein")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "September", "October", "November")


def company(symbol: str) -> Company:
    """Return how headlines speak of `symbol`; one that is not known goes by its symbol."""
    return COMPANIES.get(symbol, Company(symbol, "core product"))


def write(rng: np.random.Generator, tone: Tone, symbols: tuple[str, ...]) -> str:
    """Return a headline of `tone` about one symbol or two."""
    bank = SINGLE[tone] if len(symbols) == 1 else PAIR[tone]
    return _pick(rng, bank).format(
        company=company(symbols[0]).name,
        product=company(symbols[0]).product,
        other=company(symbols[-1]).name,
        broker=_pick(rng, BROKERS),
        month=_pick(rng, MONTHS),
        day=rng.integers(1, 29),
        percent=rng.integers(4, 19),
        billions=rng.integers(2, 40),
        millions=rng.integers(120, 950),
        count=rng.integers(4, 10),
        points=rng.integers(8, 30) * 10,
    )


def _pick(rng: np.random.Generator, bank: tuple[str, ...]) -> str:
    return bank[rng.integers(len(bank))]
