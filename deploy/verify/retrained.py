"""`tickcast verify retrain`: the whole circle of retraining, in one run of everything on a market that changes (`regimes.py`).

A champion is trained on the market as it was. Then a tape of it is replayed at a speed that makes 60 ticks a second, through
every process of `tickcast up` and the retraining schedule, which heeds drift. Everything that is said of the run is counted
from the topics afterwards; times of the wall clock are the broker's.

What must hold: drift is told after the change; a challenger is promoted, with its reason, and forecasts switch to it; its skill
against the random walk is better than the old champion's was since the change; no final row is without its forecasts; and
while the network is trained, forecasts take at most three times as long (p99) as before.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from deploy import up
from deploy.local import supervisor
from deploy.verify import markets, regimes
from deploy.verify.markets import START_US
from deploy.verify.regimes import Change
from models.evaluation import plots
from models.forecaster.base import HORIZONS_MIN
from models.forecaster.recurrent_recipe import NAME
from producers.base import Event as Happening
from producers.base import SessionEnd
from producers.catalog import Choice
from streams import bus, codec, lake
from streams.bus import Record
from streams.clock import MINUTE_US
from streams.errors import ModelError
from streams.messages import Event, Features, Forecast, ModelAnnouncement, Score
from streams.settings import Settings

HORIZON_MIN = 5
LARGEST_RATIO = 3.0  # of the p99 while the network is trained to that before
WARM_UP_S = 60.0  # of the run, before latencies count: Spark's plan is compiled
ROLLING_MIN = 60  # of the plotted skill


@dataclass(frozen=True)
class Plan:
    """A market, how much of it is known beforehand, how fast the rest is replayed, and the arguments of `tickcast retrain`."""

    change: Change
    known_min: int
    speed: float
    retrain: tuple[str, ...]


FULL = Plan(
    Change(turn_min=3_200, total_min=4_800),
    known_min=3_000,
    speed=120.0,
    retrain=("--every", "20m", "--on-drift", "--settle", "400s", "--newest", "800m", "--no-ablation"),
)


def run(settings: Settings, plan: Plan, console: Console, plot: Path | None = None) -> dict[str, Any]:
    """Return the figures of `plan`, and draw them where `plot` says; `holds` says whether everything does."""
    home = settings.home / "verify" / "retrain"
    shutil.rmtree(home, ignore_errors=True)
    own = msgspec.structs.replace(
        settings.unconnected(),
        home=home,
        archive=str(home / "lake"),
        symbols=",".join(plan.change.symbols),
        topic_prefix="retrain.",
    )
    console.print("the market as it was: simulated, archived, and learnt by a champion")
    _learn(own, plan)
    regimes.write_tape(_between(plan, plan.known_min, plan.change.total_min), home / "tape")
    minutes = (plan.change.total_min - plan.known_min) / plan.speed
    console.print(f"the market as it becomes: a tape of {minutes:.0f} minutes, everything running", highlight=False)
    with supervisor.with_broker(own) as named:
        up.Run(named, _options(home / "tape", plan), console).run()
        seen = Seen()
        for record in bus.read_all(named, "features", "forecasts", "scores", "models", "events"):
            seen.take(record)
    figures = judged(seen, plan)
    if plot is not None:
        draw(seen, figures, plan, plot)
    return figures


def _learn(settings: Settings, plan: Plan) -> None:
    known = [*_between(plan, 0, plan.known_min), SessionEnd(START_US + plan.known_min * MINUTE_US - 1)]
    lake.write(settings, "features", markets.rows(settings, {"known": known})["known"], "history", lake.archive_root(settings))
    command = [sys.executable, "-m", "deploy", "train", "--epochs", "8", "--no-ablation"]
    done = subprocess.run(command, env=settings.inherited(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"the first champion could not be trained: {done.stderr.strip().splitlines()[-1:]}")


def _between(plan: Plan, begin_min: int, end_min: int) -> Iterator[Happening]:
    begin_us, end_us = (START_US + minute * MINUTE_US for minute in (begin_min, end_min))
    happened = takewhile(lambda event: event.event_ts_us < end_us, plan.change.events())
    return (event for event in happened if event.event_ts_us >= begin_us)


def _options(tape: Path, plan: Plan) -> up.Options:
    source = ("replay", str(tape))
    named = f"replay:{tape}"
    arguments = ("--ticks", named, "--headlines", named, "--speed", str(plan.speed))
    return up.Options(Choice(source, source), arguments, headless=True, until_drained=True, retrain=plan.retrain)


@dataclass
class Seen:
    """What the topics hold, as far as it is looked at. Wall times are in milliseconds, minutes in microseconds."""

    finals: dict[tuple[str, int], int] = field(default_factory=dict)  # (symbol, minute) to wall time
    issued: Counter[tuple[str, int, str]] = field(default_factory=Counter)  # (symbol, minute, role)
    served: dict[tuple[str, int], str] = field(default_factory=dict)  # the champion of each final row
    latencies: list[tuple[int, float]] = field(default_factory=list)  # wall time, milliseconds since the newest tick
    losses: dict[tuple[str, int, str], float] = field(default_factory=dict)  # (symbol, minute, role) to pinball loss
    announced: list[tuple[int, ModelAnnouncement]] = field(default_factory=list)
    drifts: list[tuple[int, str]] = field(default_factory=list)
    training: list[tuple[int, str]] = field(default_factory=list)  # wall time, state

    def take(self, record: Record) -> None:
        """Take one record of any of the topics."""
        match record.topic:
            case "features":
                row = codec.decode(Features, record.value)
                if row.final:
                    self.finals.setdefault((row.symbol, row.minute_ts_us), record.timestamp_ms)
            case "forecasts":
                self._forecast(codec.decode(Forecast, record.value), record)
            case "scores":
                score = codec.decode(Score, record.value)
                if score.horizon_min == HORIZON_MIN:
                    self.losses[score.symbol, score.as_of_ts_us - MINUTE_US, score.role] = score.pinball
            case "models":
                announcement = codec.decode(ModelAnnouncement, record.value)
                if announcement.name == NAME and record.key == NAME.encode():
                    self.announced.append((record.timestamp_ms, announcement))
            case _:
                self._event(codec.decode(Event, record.value), record.timestamp_ms)

    def _forecast(self, forecast: Forecast, record: Record) -> None:
        if ingest := record.header(bus.INGEST_HEADER):
            self.latencies.append((record.timestamp_ms, record.timestamp_ms - int(ingest) / 1_000))
        if not forecast.provisional:
            minute = forecast.as_of_ts_us - MINUTE_US
            self.issued[forecast.symbol, minute, forecast.role] += 1
            if forecast.role == "champion":
                self.served[forecast.symbol, minute] = forecast.model_id

    def _event(self, event: Event, wall_ms: int) -> None:
        if event.kind == "drift":
            self.drifts.append((wall_ms, event.detail))
        elif event.kind == "status" and event.role == "train":
            self.training.append((wall_ms, event.state))

    def spans(self) -> list[tuple[int, int]]:
        """Return begin and end of each training that the run saw from its first to its last word, wall time."""
        found: list[tuple[int, int]] = []
        begun = 0
        for wall_ms, state in self.training:
            if state == "training":
                begun = begun or wall_ms
            elif begun:
                found.append((begun, wall_ms))
                begun = 0
        return found

    def without_forecast(self) -> list[tuple[str, int]]:
        """Return the final rows that lack a forecast of the baseline, or, once a champion has answered, one of the champion."""
        first: dict[str, int] = {}
        for symbol, minute in sorted(self.served, key=lambda place: place[1]):
            first.setdefault(symbol, minute)
        return [
            (symbol, minute)
            for symbol, minute in sorted(self.finals)
            for role in ("baseline", "champion")
            if (role == "baseline" or minute >= first.get(symbol, minute + 1))
            and self.issued[symbol, minute, role] != len(HORIZONS_MIN)
        ]

    def minute_at(self, wall_ms: int) -> int:
        """Return up to which minute rows were final at a time of the wall clock."""
        walls, minutes = zip(*sorted((wall, minute) for (_, minute), wall in self.finals.items()), strict=True)
        return int(minutes[max(0, bisect_right(walls, wall_ms) - 1)])

    def skill(self, begin_us: int, end_us: int) -> float:
        """Return 1 - the champion's pinball loss over the random walk's, of minutes from `begin_us` to before `end_us`."""
        pairs = [
            (loss, self.losses[symbol, minute, "baseline"])
            for (symbol, minute, role), loss in self.losses.items()
            if role == "champion" and begin_us <= minute < end_us and (symbol, minute, "baseline") in self.losses
        ]
        ours, theirs = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (np.nan, np.nan)
        return float(1 - ours / theirs)


def judged(seen: Seen, plan: Plan) -> dict[str, Any]:
    """Return the figures of a run; `holds` says whether everything that is claimed does."""
    turn_us, end_us = plan.change.turn_us, START_US + plan.change.total_min * MINUTE_US
    turn_ms = min((wall for (_, minute), wall in seen.finals.items() if minute >= turn_us), default=0)
    first, promoted = seen.announced[0][1].model_id, [(wall, told) for wall, told in seen.announced if wall > turn_ms]
    successor = next(((wall, told) for wall, told in promoted if told.model_id != first), None)
    swap_us = min((minute for (_, minute), model in seen.served.items() if model != first), default=end_us)
    drifts = [(wall, detail) for wall, detail in seen.drifts if wall > turn_ms]
    begun_ms = min((wall for _, wall in seen.finals.items()), default=0) + round(WARM_UP_S * 1_000)
    spans = [span for span in seen.spans() if span[1] > begun_ms]
    before = [value for wall, value in seen.latencies if begun_ms < wall < min((begin for begin, _ in spans), default=0)]
    during = [value for wall, value in seen.latencies if any(begin <= wall <= end for begin, end in spans)]
    p99 = {"before": _p99(before), "during": _p99(during)}
    skills = {
        "before_the_change": seen.skill(0, turn_us),
        "after_it_until_the_swap": seen.skill(turn_us, swap_us),
        "after_the_swap": seen.skill(swap_us, end_us),
    }
    missing = seen.without_forecast()
    claims = {
        "drift_seen": bool(drifts),
        "promoted": successor is not None,
        "switched": swap_us < end_us,
        "recovered": skills["after_the_swap"] > max(0.0, skills["after_it_until_the_swap"]),
        "nothing_without_forecast": bool(seen.finals) and not missing,
        "p99_kept": p99["during"] <= LARGEST_RATIO * p99["before"],
    }
    return {
        "final_rows": len(seen.finals),
        "ticks_per_s": plan.change.trades_per_min * len(plan.change.symbols) * plan.speed / 60,
        "turn_min": 0,
        "first_drift_min": _minutes(seen, drifts[0][0], turn_us) if drifts else None,
        "first_drift": drifts[0][1] if drifts else None,
        "trainings_min": [[_minutes(seen, wall, turn_us) for wall in span] for span in spans],
        "swap_min": (swap_us - turn_us) // MINUTE_US if claims["switched"] else None,
        "reason": successor[1].reason if successor else None,
        "skill_pinball_5m": skills,
        "without_forecast": len(missing),
        "latency_p99_ms": p99,
        "claims": claims,
        "holds": all(claims.values()),
    }


def _minutes(seen: Seen, wall_ms: int, turn_us: int) -> int:
    return (seen.minute_at(wall_ms) - turn_us) // MINUTE_US


def _p99(values: Iterable[float]) -> float:
    found = list(values)
    return round(float(np.percentile(found, 99)), 1) if found else float("nan")


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("claim", "holds", "figures", title="minutes are of the market, from its change on")
    skills = ", ".join(f"{name.replace('_', ' ')} {value:+.1%}" for name, value in figures["skill_pinball_5m"].items())
    told = {
        "drift_seen": f"minute {figures['first_drift_min']}: {figures['first_drift']}",
        "promoted": figures["reason"] or f"trainings: {figures['trainings_min']}",
        "switched": f"minute {figures['swap_min']}; trainings {figures['trainings_min']}",
        "recovered": skills,
        "nothing_without_forecast": f"{figures['without_forecast']} of {figures['final_rows']:,} final rows",
        "p99_kept": "tick to forecast, p99 ms: " + ", ".join(f"{k} {v}" for k, v in figures["latency_p99_ms"].items()),
    }
    for claim, holds in figures["claims"].items():
        shown.add_row(claim.replace("_", " "), "yes" if holds else "NO", told[claim])
    return shown


def draw(seen: Seen, figures: dict[str, Any], plan: Plan, path: Path) -> None:
    """Draw the champion's rolling skill and the latency of forecasts over the run, and what happened when."""
    turn_us = plan.change.turn_us
    figure = plots.figure_class()(figsize=(9.0, 5.4), layout="constrained")
    skill, latency = figure.subplots(2, 1, sharex=True)
    ends = range(min(minute for _, minute in seen.finals), max(minute for _, minute in seen.finals), 5 * MINUTE_US)
    x = [(end - turn_us) / MINUTE_US for end in ends]
    skill.plot(x, [seen.skill(end - ROLLING_MIN * MINUTE_US, end) for end in ends])
    skill.axhline(0, color="0.6", linewidth=0.8)
    skill.set_ylabel(f"skill against the random walk\n(pinball, 5 min ahead, last {ROLLING_MIN} min)")
    by_minute: defaultdict[int, list[float]] = defaultdict(list)
    for wall, value in seen.latencies:
        by_minute[wall // 10_000].append(value)
    at = [_minutes(seen, key * 10_000, turn_us) for key in sorted(by_minute)]
    latency.semilogy(at, [np.percentile(by_minute[key], 99) for key in sorted(by_minute)])
    latency.set_ylabel("tick to forecast, p99 of 10 s, ms")
    latency.set_xlabel("minutes of the market, from its change on")
    for axes in (skill, latency):
        axes.axvline(0, color="k", linestyle="--", label="the market changes")
        if figures["first_drift_min"] is not None:
            axes.axvline(figures["first_drift_min"], color="C1", linestyle=":", label="drift is seen")
        for number, (begin, end) in enumerate(figures["trainings_min"]):
            axes.axvspan(begin, end, color="C2", alpha=0.25, label="" if number else "the network is trained")
        if figures["swap_min"] is not None:
            axes.axvline(figures["swap_min"], color="C3", label="the challenger serves")
    skill.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)
