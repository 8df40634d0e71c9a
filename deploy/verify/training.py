"""`tickcast verify training`: a training that is killed at random points of every step, and what the next one makes of it.

Each case begins with the same lake in an empty home. A training process gets SIGKILL at a random point of one step: the ETL,
the training, the registration (export, store, comparison, record) or the promotion. Another process then trains with the
same choice. What it leaves must be what one that nobody disturbed leaves: shards, store, promotions, MLflow's record, the last
words on `models`, and no unfinished job.

Equal trainings have equal ids; one in some hundred has another (docs/training.md says so). Such a model is told apart, and
holds where it forecasts the same.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.local import supervisor
from deploy.verify import markets
from models import registry, tracking
from models.forecaster.onnx_model import OnnxForecaster
from models.forecaster.recurrent_recipe import NAME
from models.forecaster.windows import Array, Windows
from models.training import dataset, shards
from models.training.job import Choice
from models.training.train import STEPS, How, Step, train
from producers.market import Market
from streams import bus, codec, lake
from streams.errors import ModelError, SettingsError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

CHOICE = Choice(epochs=3, seed=5)
MINUTES = 900
SYMBOLS = ("AAPL", "MSFT")
TRADES_PER_S = 0.5
TOLERANCE = 1e-4  # of log returns, relative: what another order of sums makes of the same training
COMPARED = 200  # of the newest windows, forecast by either model
ATTEMPTS = 6  # to kill a training in a step that takes it less time than it took the undisturbed one
SHARE = 0.95  # of a step's undisturbed length: the latest point at which it is killed

SAID = ("stored", "recorded", "promoted", "announced")  # fields of a `State`

Outcome = Literal["same", "same forecasts, another id", "differs"]


class Word(NamedTuple):
    """What is said of a model, under which key: by the store, the record, the list of champions, or on `models`."""

    key: str
    model_id: str
    promoted: bool = False
    reason: str = ""


@dataclass(frozen=True)
class State:
    """What a training leaves; `forecasts` is what the champion says, `left` what is unfinished."""

    left: tuple[str, ...]
    shards: str
    stored: tuple[Word, ...]
    recorded: tuple[Word, ...]
    promoted: tuple[Word, ...]
    announced: tuple[Word, ...]
    forecasts: Array

    def outcome(self, undisturbed: State) -> Outcome:
        """Return how this compares with what an undisturbed training left."""
        if self.differences(undisturbed):
            return "differs"
        return "same" if self.stored == undisturbed.stored else "same forecasts, another id"

    def differences(self, undisturbed: State) -> list[str]:
        """Return in words what differs from what an undisturbed training left, but for what another id explains."""
        found = [f"left unfinished: {', '.join(self.left)}"] if self.left else []
        if self.shards != undisturbed.shards:
            found.append("other shards")
        if not self._forecasts_as(undisturbed):
            found.append("the champion forecasts something else")
        return found + [f"{what}: {said}" for what in SAID if (said := self._said_else(undisturbed, what))]

    def _forecasts_as(self, undisturbed: State) -> bool:
        ours, theirs = self.forecasts, undisturbed.forecasts
        return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=TOLERANCE, atol=1e-9)

    def _said_else(self, undisturbed: State, what: str) -> str:
        ours, theirs = getattr(self, what), getattr(undisturbed, what)
        by_id = self.stored == undisturbed.stored  # else reasons differ, too: they have figures in them
        equal = ours == theirs if by_id else _nameless(ours) == _nameless(theirs)
        return "" if equal else f"{_shown(ours)} instead of {_shown(theirs)}"


def _nameless(words: Sequence[Word]) -> list[tuple[str, bool]]:
    return [(word.key, word.promoted) for word in words]


def _shown(words: Sequence[Word]) -> str:
    return "; ".join(" ".join(map(str, filter(None, word))) for word in words) or "nothing"


def run(settings: Settings, kills: int, seed: int, console: Console, steps: Sequence[Step] = STEPS) -> dict[str, Any]:
    """Return the figures of `kills` killed trainings of each of `steps`; `holds`: all left what an undisturbed one does."""
    home = settings.home / "verify" / "training"
    shutil.rmtree(home, ignore_errors=True)
    base = msgspec.structs.replace(settings, home=home, archive="", topic_prefix="", symbols=",".join(SYMBOLS), broker="")
    past = home / "past"
    _simulate(msgspec.structs.replace(base, home=past))
    with supervisor.with_broker(base) as named, Progress(console=console, transient=True) as progress:
        task = progress.add_task("an undisturbed training", total=1 + kills * len(steps))
        trial = _Trial(named, past)
        undisturbed, begun = trial.whole("undisturbed.")
        progress.advance(task)
        points = _points(begun, kills, seed, steps)
        cases = []
        for number, (step, delay_s) in enumerate(points):
            progress.update(task, description=f"killed in {step}")
            cases.append(trial.killed(f"killed-{number}.", step, delay_s, undisturbed))
            progress.advance(task)
    holds = all(case["outcome"] != "differs" and case["killed"] for case in cases)
    return {"kills": kills, "seed": seed, "step_s": _lengths(begun), "cases": cases, "holds": holds}


def steps_of(name: str) -> tuple[Step, ...]:
    """Return the step called `name`, and all of them for an empty one."""
    found = tuple(step for step in STEPS if name in {"", step})
    if not found:
        raise SettingsError(f"there is no step {name!r} of a training; there are {', '.join(STEPS)}")
    return found


def _simulate(settings: Settings) -> None:
    market = Market(symbols=SYMBOLS, rate=TRADES_PER_S, path="history")
    found = markets.rows(settings, {"past": markets.events(market, MINUTES)})["past"]
    lake.write(settings, "features", found, "history", lake.archive_root(settings))


def _lengths(begun: dict[str, float]) -> dict[str, float]:
    """Return how long each step of an undisturbed training took, seconds."""
    times = [*begun.values()]
    return {name: round(after - at, 3) for (name, at), after in zip(begun.items(), times[1:], strict=False)}


def _points(begun: dict[str, float], kills: int, seed: int, steps: Sequence[Step] = STEPS) -> list[tuple[Step, float]]:
    """Return in which step, and how many seconds behind its begin, each training is killed."""
    lengths, chance = _lengths(begun), random.Random(seed)  # noqa: S311 - a choice to repeat, no secret
    return [(step, chance.uniform(0, SHARE * lengths[step])) for step in steps for _ in range(kills)]


class _Trial:
    """Trainings in homes of their own, all at one path, on the same lake and broker."""

    def __init__(self, settings: Settings, past: Path) -> None:
        self._settings = settings
        self._past = past

    def whole(self, prefix: str) -> tuple[State, dict[str, float]]:
        """Return what a training leaves that nobody disturbs, and when its steps began."""
        own = self._fresh(prefix)
        ended = _train(own, "", 0.0)
        if ended.code:
            raise ModelError(f"the undisturbed training failed: {ended.last_words}; `tickcast train` says more")
        return state_of(own), ended.begun

    def killed(self, prefix: str, step: Step, delay_s: float, undisturbed: State) -> dict[str, Any]:
        """Return how a training ended that was killed `delay_s` after `step` began, or sooner, and what the next one left."""
        for attempt in range(ATTEMPTS):
            after_s = delay_s / 2**attempt
            own = self._fresh(f"{prefix}{attempt}.")
            ended = _train(own, step, after_s)
            if ended.code:
                break
        again = _train(own, "", 0.0) if ended.code else ended
        outcome, differences = _judged(own, again, undisturbed)
        return {
            "step": step,
            "after_s": round(after_s, 3),
            "killed": ended.code == -signal.SIGKILL,
            "died_in": [*ended.begun][-1] if ended.begun else "",
            "outcome": outcome,
            "differences": differences,
        }

    def _fresh(self, prefix: str) -> Settings:
        """Return settings of an empty home with the lake in it; what the one before held is gone."""
        home = self._past.with_name("home")
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self._past / "lake", home / "lake")
        own = msgspec.structs.replace(self._settings, home=home, archive=str(home / "lake"), topic_prefix=prefix)
        bus.ensure_topics(own)
        return own


class _Ended(NamedTuple):
    """When a training's steps began, the exit code of its process, and the last line that it said."""

    begun: dict[str, float]
    code: int
    last_words: str


def _train(settings: Settings, step: str, delay_s: float) -> _Ended:
    """Train in a process that kills itself `delay_s` after `step` began (empty: never)."""
    command = [sys.executable, "-m", "deploy.verify.training", step, str(delay_s)]
    environment = settings.inherited()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    pairs = (line.split() for line in done.stdout.splitlines())
    last_words = next(reversed(done.stderr.strip().splitlines()), "")
    return _Ended({pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2}, done.returncode, last_words)


def _judged(settings: Settings, last: _Ended, undisturbed: State) -> tuple[Outcome, list[str]]:
    if last.code:
        return "differs", [f"the next training failed: {last.last_words}"]
    left = state_of(settings)
    return left.outcome(undisturbed), left.differences(undisturbed)


def state_of(settings: Settings) -> State:
    """Return what the trainings of a home have left."""
    champion = registry.champion(settings, NAME)
    left = [*settings.home.glob("training/job/*"), *settings.home.glob(f"models/*/{registry.UNFINISHED}*")]
    recorded = tracking.versions(settings, NAME)
    return State(
        left=tuple(str(path.relative_to(settings.home)) for path in left),
        shards=shards.read_index(shards.folder(settings)).fingerprint(),
        stored=tuple(Word("", card.model_id) for card in registry.stored(settings, NAME)),
        recorded=tuple(Word(one["version"], one["model_id"], one["promoted"] == "true", one["reason"]) for one in recorded),
        promoted=tuple(Word("", one.model_id, promoted=True, reason=one.reason) for one in registry.promotions(settings, NAME)),
        announced=tuple(_announced(settings)),
        forecasts=OnnxForecaster(champion).forecast(_newest_windows(settings)).quantiles if champion else np.empty(0),
    )


def _newest_windows(settings: Settings) -> Windows:
    rows = dataset.final_rows(settings)
    return dataset.part(rows, dataset.window_ends(rows)[-COMPARED:]).windows


def _announced(settings: Settings) -> list[Word]:
    """Return the last word on each key of `models`."""
    last: dict[str, ModelAnnouncement] = {}
    for record in bus.read_all(settings, "models"):
        last[(record.key or b"").decode()] = codec.decode(ModelAnnouncement, record.value)
    return [Word(key, said.model_id, said.promoted, said.reason) for key, said in sorted(last.items())]


def as_table(figures: dict[str, Any]) -> Table:
    """Return the figures for people."""
    shown = Table("killed in", "s after its begin", "of", "the next training left")
    for case in figures["cases"]:
        outcome = case["outcome"] if case["killed"] else "it was not killed"
        length_s = figures["step_s"][case["step"]]
        said = "\n".join([outcome, *case["differences"]])
        shown.add_row(case["died_in"] or case["step"], f"{case['after_s']:.3f}", f"{length_s:.3f}", said)
    return shown


def _entering(step: str, delay_s: float) -> Callable[[Step], None]:
    def enter(name: Step) -> None:
        sys.stdout.write(f"{name} {time.monotonic()}\n")
        sys.stdout.flush()
        if name == step:
            killer = threading.Timer(delay_s, os.kill, [os.getpid(), signal.SIGKILL])
            killer.daemon = True
            killer.start()

    return enter


def main(step: str, delay_s: float) -> None:
    """Train with the settings of the environment; die `delay_s` after `step` began."""
    from streams import settings  # noqa: PLC0415 - of the child alone

    train(settings.load(), CHOICE, How(progress=False, ablation=False), _entering(step, delay_s))
    sys.stdout.write(f"end {time.monotonic()}\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
