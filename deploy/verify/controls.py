"""`tickcast verify controls`: no skill where there is nothing to find, and skill where there is.

Both claims are tested by Diebold and Mariano's statistic (HAC) on the squared errors of the forecasts five minutes ahead, the
losses of a minute averaged over symbols, against the random walk:

* on simulated random walks (`random_walk`: constant volatility, headlines that mean nothing), of 20 seeds at most 3 are
  significant at 5 % in favour of a model, one-sided. A model without any skill fails that once in 60 times at most;
* on four simulated markets whose headlines move the price by 3 volatilities of a minute (`news_effect` 3, over about half an
  hour), the LSTM is significant at 1 %, their p-values combined by Stouffer's method.

The tests, their levels and the strength of the news were fixed before anything was measured. The news markets were not: a
single one of three symbols gave 0.021 and 0.012, and one of six symbols and 8,000 minutes 0.25, 0.008 and 0.016 for networks
that differed in nothing but their seed. What one path shows is chance, so there are four, of seeds that had never been tried
(11 to 14), and one test over all of them.

The way is the product's: simulated trades and headlines, closings, the sentiment model, Spark's feature plan in one batch,
then `models.evaluation.walk_forward`: trained on the first half, validation included, and tested on the second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.table import Table
from scipy.special import stdtr
from scipy.stats import combine_pvalues

from deploy.verify import markets
from models.evaluation import summary, walk_forward
from models.evaluation.significance import Test, diebold_mariano
from models.forecaster import catalog
from models.forecaster.base import HORIZONS_MIN, Effort
from producers.base import Event
from producers.market import Market
from streams.settings import Settings

HORIZON_MIN = 5
MODELS = ("linear", "lstm")  # of the catalogue those that expect anything but the last price, and that minutes allow
FINDER = "lstm"
LEVEL_NONE, LEVEL_FOUND = 0.05, 0.01
SYMBOLS = ("AAPL", "MSFT", "TSLA")
NEWS_SYMBOLS = (*SYMBOLS, "GOOGL", "AMZN", "META")
NEWS_EFFECT = 3.0
TRADES_PER_MIN = 2.0  # for each symbol


@dataclass(frozen=True)
class Plan:
    """How much is tried: random walks of `walk_min` minutes, of which at most `allowed` may look like skill; news markets."""

    seeds: int
    allowed: int
    walk_min: int
    news_seeds: tuple[int, ...]
    news_min: int
    epochs: int

    @property
    def steps(self) -> int:
        """How many pieces of work there are."""
        return self.seeds + len(self.news_seeds) + 1


FULL = Plan(seeds=20, allowed=3, walk_min=2_000, news_seeds=(11, 12, 13, 14), news_min=4_000, epochs=8)
QUICK = Plan(seeds=3, allowed=1, walk_min=1_000, news_seeds=(1,), news_min=4_000, epochs=8)


def run(settings: Settings, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of `plan`; `holds` says whether both claims do. `tell` hears what has begun."""
    began_s = time.monotonic()
    tell("simulated markets to feature rows")
    figures = judged(rows(settings, plan), plan, tell)
    return figures | {"seconds": round(time.monotonic() - began_s, 1)}


def rows(settings: Settings, plan: Plan) -> dict[str, pl.DataFrame]:
    """Return the feature rows of every market of `plan`, by its name."""
    return markets.rows(settings, happenings(plan))


def happenings(plan: Plan) -> dict[str, Iterator[Event]]:
    """Return what happens in every market of `plan`, by its name."""
    walks = {name: markets.events(_market(SYMBOLS, seed, random_walk=True), plan.walk_min) for seed, name in _walks(plan)}
    news = {name: markets.events(_market(NEWS_SYMBOLS, seed, random_walk=False), plan.news_min) for seed, name in _news(plan)}
    return walks | news


def _walks(plan: Plan) -> Iterator[tuple[int, str]]:
    return ((seed, f"walk{seed}") for seed in range(1, plan.seeds + 1))


def _news(plan: Plan) -> Iterator[tuple[int, str]]:
    return ((seed, f"news{seed}") for seed in plan.news_seeds)


def _market(symbols: tuple[str, ...], seed: int, *, random_walk: bool) -> Market:
    rate = TRADES_PER_MIN * len(symbols) / 60
    return Market(symbols=symbols, seed=seed, rate=rate, random_walk=random_walk, news_effect=NEWS_EFFECT)


def judged(found: Mapping[str, pl.DataFrame], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return what the models make of the feature rows `found` of every market."""
    walks = []
    for seed, name in _walks(plan):
        tell(f"random walk {seed} of {plan.seeds}")
        walks.append({"seed": seed} | tried(found[name], seed, plan.epochs, MODELS))
    news = []
    for seed, name in _news(plan):
        tell(f"a market with news, seed {seed}")
        news.append({"seed": seed} | tried(found[name], seed, plan.epochs, (FINDER,)))
    combined = float(combine_pvalues([market[FINDER]["p_better"] for market in news], "stouffer").pvalue)
    significant = {name: sum(walk[name]["p_better"] < LEVEL_NONE for walk in walks) for name in MODELS}
    none, some = max(significant.values()) <= plan.allowed, combined < LEVEL_FOUND
    return {
        "horizon_min": HORIZON_MIN,
        "random_walk": {"holds": none, "significant": significant, "of": plan.seeds, "allowed": plan.allowed, "seeds": walks},
        "news": {"holds": some, "news_effect": NEWS_EFFECT, "level": LEVEL_FOUND, "p_better": combined, "seeds": news},
        "holds": none and some,
    }


def tried(rows: pl.DataFrame, seed: int, epochs: int, names: Sequence[str]) -> dict[str, Any]:
    """Return for each model its skill against the random walk on the second half of `rows`, and the test of it."""
    recipes = catalog.chosen(list(names))
    trial = walk_forward.run(rows, recipes, seed=seed, effort=Effort(epochs), count=1)
    at = HORIZONS_MIN.index(HORIZON_MIN)
    naive = summary.losses_of(trial, catalog.NAIVE, at)[0]
    found = {}
    for name in names:
        losses = summary.losses_of(trial, name, at)[0]
        test = diebold_mariano(summary.by_minute(trial, losses), summary.by_minute(trial, naive), HORIZON_MIN)
        skill = 1 - float(losses.sum() / naive.sum())
        found[name] = {"skill": skill, "statistic": test.statistic, "p_better": better(test), "minutes": test.n}
    return found


def better(test: Test) -> float:
    """Return the one-sided p-value of a Diebold-Mariano test against that the model is no better.

    >>> round(better(Test(-1.9, 0.058, 500)), 3), round(better(Test(1.9, 0.058, 500)), 3), better(Test(0.0, 1.0, 500))
    (0.029, 0.971, 0.5)
    """
    return float(stdtr(test.n - 1, test.statistic))


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("market", "model", "skill", "DM", "p (better)", "claim", "holds")
    walks = figures["random_walk"]
    for name, significant in walks["significant"].items():
        for walk in walks["seeds"]:
            shown.add_row(f"random walk {walk['seed']}", name, *_cells(walk[name]), "", "")
        claim = f"{significant} of {walks['of']} below {LEVEL_NONE:.0%}, at most {walks['allowed']}"
        shown.add_row("random walks", name, "", "", "", claim, _said(significant <= walks["allowed"]), end_section=True)
    news = figures["news"]
    for market in news["seeds"]:
        shown.add_row(f"news {market['seed']}", FINDER, *_cells(market[FINDER]), "", "")
    shown.add_row("news", FINDER, "", "", f"{news['p_better']:.2g}", f"below {LEVEL_FOUND:.0%}", _said(news["holds"]))
    return shown


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['skill']:+.2%}", f"{row['statistic']:+.2f}", f"{row['p_better']:.2g}"


def _said(holds: bool) -> str:
    return "yes" if holds else "NO"
