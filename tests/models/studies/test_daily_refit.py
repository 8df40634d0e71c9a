"""The daily network trained again: on its own days alone, judged on those that nobody has seen, stored, announced, resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from consumers.console.models import known_models
from deploy.models_cli import app
from models import registry, tracking
from models.registry import ModelCard
from models.studies import daily, daily_decision, daily_model, daily_network, daily_refit, pool
from models.studies.base import Options
from models.studies.daily_decision import Answers
from models.studies.daily_model import NAME, Asked
from models.studies.daily_network import SCALE, WEIGHTS, Task
from models.studies.daily_windows import COLUMNS, WINDOW, Windows
from models.studies.resume import Parts
from models.tensor_file import SERVED
from models.training import tfrecord
from models.training.checkpoint import Checkpoint
from streams import bus, codec
from streams.errors import SourceError
from streams.messages import ModelAnnouncement
from streams.settings import Settings
from streams.testing import eventually
from tests.models.studies.files import bars, stock, weekdays
from tests.models.studies.test_daily import windows

DAYS = 1_000  # weekdays up to the end of 2024
EPOCHS = 3  # enough for a kill between the first checkpoint and the end
MARK = 123.0  # a loss that no training has
TWO_SYMBOLS = "from models.studies import daily; daily.SYMBOLS = daily.QUICK_SYMBOLS; from deploy.cli import main; main()"
KNOWN_UNTIL = 150  # of the days of `windows`, these are learnt from
NEVER = "1969-12-31"  # before all days of `windows`


def retrain(own: Settings, folder: Path) -> subprocess.Popen[bytes]:
    arguments = ["retrain", "--model", "daily", "--data", str(folder), "--epochs", str(EPOCHS)]
    return subprocess.Popen([sys.executable, "-c", TWO_SYMBOLS, *arguments], env=os.environ | own.environment())


def killed(process: subprocess.Popen[bytes], home: Path) -> Path:
    """Kill a training after its first epoch; return its checkpoint, which nobody writes any more."""
    try:
        [found] = eventually(lambda: list(home.glob("training/daily/*/*.checkpoint")), 300, 0.02)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not psutil.wait_procs(children, 60)[1]
    return found


def marked(path: Path) -> None:
    """Change the first training loss in a checkpoint: only a training that goes on from it can tell of that one."""
    with np.load(path, allow_pickle=False) as held:
        standing = Checkpoint(path, str(held["made_for"]))
    found = standing.read()
    assert found is not None
    standing.write([MARK, *found.train[1:]], found.validation, found.best, found.state)


def losses(own: Settings) -> list[float]:
    """Return the training losses that are on record."""
    with tracking.client(own) as mlflow:
        [version] = mlflow.search_model_versions(f"name = '{NAME}'")
        return [one.value for one in mlflow.get_metric_history(version.run_id, "train_loss")]


@pytest.mark.slow
def test_a_killed_training_goes_on_and_its_network_is_stored_and_announced(config: Settings, tmp_path: Path) -> None:
    for seed, symbol in enumerate(daily.QUICK_SYMBOLS):
        stock(tmp_path, symbol, bars(DAYS, seed))
    marked(killed(retrain(config, tmp_path), config.home))
    assert retrain(config, tmp_path).wait(300) == 0
    assert losses(config)[0] == MARK
    *_, told = (codec.decode(ModelAnnouncement, record.value) for record in bus.read_all(config, "models"))
    assert (told.name, told.promoted) == (NAME, True)
    assert told.metrics["unseen_forecasts"] == daily_refit.UNSEEN_DAYS * len(daily.QUICK_SYMBOLS)
    assert told.reason.startswith("promoted unchallenged: there was no champion; on 250 unseen days")
    assert told.reason.endswith(("edge", "worse than naive"))
    stored = registry.find(config, NAME, told.model_id)
    held = daily_model.read(stored.served)
    assert held.about.trained_until == str(weekdays(DAYS)[-daily_refit.UNSEEN_DAYS - 1])
    assert held.about.symbols == daily.QUICK_SYMBOLS
    assert (stored.card.features, stored.card.window, stored.card.files[SERVED]) == (COLUMNS, WINDOW, told.sha256)
    assert not (config.home / "training" / "daily").exists()
    family = next(one for one in known_models(config, [told]).families if one.name == NAME)
    assert (family.champion, [card.model_id for card in family.stored]) == (told.model_id, [told.model_id])


@pytest.mark.slow
def test_the_newest_days_teach_nothing_and_what_is_stored_forecasts_what_was_trained(tmp_path: Path) -> None:
    made = windows()
    later = made.day >= KNOWN_UNTIL
    other = made._replace(next_close=np.where(later, 2 * made.next_close, made.next_close))
    tasks = [task(tmp_path / name, one) for name, one in (("made", made), ("other", other))]
    pool.each(daily_network.train_alone, tasks, lambda _done: None)
    part, same = (Parts(Path(one.parts)).finished(one.name, dict) for one in tasks)
    assert all(np.array_equal(part[name], same[name]) for name in (*WEIGHTS, *SCALE, "loss_validation"))
    assert not np.array_equal(part["came"], same["came"])
    daily_model.write(tmp_path / SERVED, part, "1970-05-30", seed=7)
    asked = Asked(name="again", model=str(tmp_path / SERVED), windows=tasks[0].windows, parts=tasks[0].parts, since=KNOWN_UNTIL)
    pool.each(daily_model.forecast_alone, [asked], lambda _done: None)
    again = Parts(Path(asked.parts)).finished(asked.name, dict)
    assert np.allclose(again["said"], part["said"], rtol=1e-6)
    assert not np.allclose(again["said"], part["naive"], rtol=1e-6)
    assert all(np.array_equal(again[name], part[name]) for name in ("came", "naive", "day"))


def task(folder: Path, made: Windows) -> Task:
    """Return a training on `made`, written as Spark would, one epoch long."""
    place = folder / "windows"
    place.mkdir(parents=True)
    for symbol in np.unique(made.symbols):
        own = made.take(made.symbols == symbol)
        rows = zip(own.rows, own.next_close, own.day, strict=True)
        values = [{"rows": one.tobytes(), "next_close": close.tobytes(), "day": int(day)} for one, close, day in rows]
        tfrecord.write(place / f"symbol={symbol}.tfrecord", map(tfrecord.example, values))
    places = {"windows": str(place), "parts": str(folder)}
    return Task(name="one", **places, view="returns", seed=7, epochs=1, known_until=KNOWN_UNTIL, until=len(made.day))


def test_files_that_are_missing_or_too_short_leave_nothing_behind(config: Settings, tmp_path: Path) -> None:
    options = Options(msgspec.structs.replace(config, broker=""), tmp_path, quick=True)
    with pytest.raises(SourceError, match="no daily prices of AAPL"):
        daily_refit.refit(options, seed=1)
    for symbol in daily.QUICK_SYMBOLS:
        stock(tmp_path, symbol, bars(400, 1))
    with pytest.raises(SourceError, match="the files have 400 days since 2010-01-01, of which 250 judge, and 500 are needed"):
        daily_refit.refit(options, seed=1)
    assert not registry.stored(config, NAME)


def says(moves: float, rise: float, trained_until: str = NEVER) -> Answers:
    """Return what a network says that expects every stock to move by `moves` a day, of stocks that rise by `rise`."""
    made = windows(rise=rise)
    return Answers(made.last * np.exp(moves), made.next_close, made.last, made.day, trained_until)


@pytest.mark.parametrize(
    ("challenger", "champion", "rise", "promoted", "said"),
    [
        (0.01, 0.001, 0.01, True, "better than the champion .* better than persistence .*: edge$"),
        (0.001, 0.01, 0.01, False, "^not promoted: on 200 unseen days it is worse than the champion"),
        (0.01, 0.01, 0.01, False, "not demonstrably different from the champion"),
        (0.03, 0.06, 0.01, False, "better than the champion .*, but worse than persistence .*: worse than naive$"),
        (0.01, None, 0.01, True, "^promoted unchallenged: .* better than persistence .*: edge$"),
        (0.0005, None, 0.0, True, "^promoted unchallenged: .* persistence .*: no demonstrated edge$"),
    ],
)
def test_the_rule_of_the_forecasters_decides(
    challenger: float, champion: float | None, rise: float, promoted: bool, said: str
) -> None:
    before = None if champion is None else says(champion, rise)
    decision = daily_decision.decide(says(challenger, rise), before)
    assert decision.promoted == promoted
    assert re.search(said, decision.reason)


@pytest.mark.parametrize(("challenger", "champion"), [("1970-06-30", NEVER), (NEVER, "1970-06-30")])
def test_days_that_either_has_learnt_from_do_not_judge(challenger: str, champion: str) -> None:
    decision = daily_decision.decide(says(0.01, 0.01, challenger), says(0.001, 0.01, champion))
    assert not decision.promoted
    assert decision.reason == "not promoted: 19 days that neither model has seen are too few for a test; no demonstrated edge"


def test_the_commands_on_models_know_the_family(config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = msgspec.structs.replace(config, broker="")
    monkeypatch.setenv("TICKCAST_HOME", str(own.home))
    first, second = (saved(own, tmp_path / str(bias), bias) for bias in (0.1, 0.2))
    for model_id in (first, second):
        called("promote", model_id)
    assert re.search(rf"{second}.*champion.*1\.500", called("list", "--model", "daily"))
    assert json.loads(called("show", second))["scaling"] == daily_model.SCALING
    called("rollback", "--model", "daily")
    assert re.search(rf"{first}.*champion", called("list", "--model", "daily"))


def saved(own: Settings, folder: Path, bias: float) -> str:
    """Store a network whose weights are `bias`; return its id."""
    folder.mkdir()
    scales = (np.array(["A"]), *(np.ones((1, len(COLUMNS))) for _ in range(2)), np.ones(1))
    part = {name: np.full(1, bias) for name in WEIGHTS} | dict(zip(SCALE, scales, strict=True)) | {"windows": np.array(1)}
    daily_model.write(folder / SERVED, part, "2023-12-29", 1)
    figures = {"rmse_per_cent": 1.5, "unseen_days": 250.0}
    card = ModelCard(name=NAME, seed=1, served=SERVED, scaling=daily_model.SCALING, metrics=figures)
    return registry.save(own, card, NAME, folder).card.model_id


def called(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output
