"""Sentiment trained again on labelled headlines: judged, stored, announced, and served without a restart."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from deploy.bench_headlines import Text, feed
from deploy.group import Group
from models import registry
from models.sentiment import refit
from models.sentiment.base import NAME
from streams import bus, codec
from streams.errors import UserError
from streams.messages import Event, ModelAnnouncement, Sentiment
from streams.settings import Settings
from streams.testing import eventually

pytest.importorskip("peft", reason="training needs the extra `train`", exc_type=ImportError)

JARGON = {"positive": "Zorbing of unit {} announced", "negative": "Unit {} enters grelling", "neutral": "Flim of unit {} printed"}


@pytest.fixture
def own(config: Settings, sentiment_cache: Path, tmp_path: Path) -> Settings:
    return msgspec.structs.replace(config, cache=sentiment_cache, home=tmp_path / "home", offline=True)


def written(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows])
    return path


@pytest.fixture
def jargon(tmp_path: Path) -> Path:
    return written(tmp_path / "labels.csv", [(label, text.format(n)) for n in range(110) for label, text in JARGON.items()])


def command(own: Settings, labels: Path) -> subprocess.Popen[bytes]:
    arguments = ["retrain", "--model", "sentiment", "--labels", str(labels), "--epochs", "1"]
    return subprocess.Popen([sys.executable, "-m", "deploy", *arguments], env=os.environ | own.environment())


def announced(own: Settings) -> ModelAnnouncement:
    *_, last = (codec.decode(ModelAnnouncement, record.value) for record in bus.read_all(own, "models"))
    return last


def states(own: Settings) -> set[str]:
    events = [codec.decode(Event, record.value) for record in bus.read_all(own, "events")]
    return {event.state for event in events if event.role == "train"}


def test_a_model_that_knows_the_jargon_takes_over_while_headlines_flow(own: Settings, jargon: Path) -> None:
    bus.ensure_topics(own)

    def ids() -> list[str]:
        return [codec.decode(Sentiment, record.value).model_id for record in bus.read_all(own, "sentiment")]

    with Group(own) as group:
        group.start()
        feed(own, [Text("Zorbing of unit 999 announced", ("AAPL",))])
        eventually(ids, 60, 0.5)
        (installed,) = ids()
        killed = command(own, jargon)
        eventually(lambda: "training" in states(own), 60, 0.5)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert command(own, jargon).wait(timeout=300) == 0
        told = announced(own)
        assert told.promoted
        assert told.metrics["log_loss"] < told.metrics["champion_log_loss"]
        feed(own, [Text("Zorbing of unit 998 announced", ("AAPL",))], first=1)
        eventually(lambda: len(ids()) > 1, 60, 0.5)
    assert ids() == [installed, told.model_id]
    *_, newest = (codec.decode(Sentiment, record.value) for record in bus.read_all(own, "sentiment"))
    assert newest.score > 0.5
    stored = registry.find(own, NAME, told.model_id)
    assert registry.promotions(own, NAME)[-1].model_id == told.model_id
    curves = registry.losses(own, NAME, told.model_id)
    assert curves is not None
    assert (len(curves.train), curves.validation) == (1, [])  # nothing is held out for choosing an epoch
    again = refit.refit(own, jargon, epochs=1, seed=7, tell=lambda _what: None)
    assert (again.model_id, again.promoted, again.reason) == (told.model_id, True, told.reason)
    assert registry.find(own, NAME, told.model_id).card == stored.card


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("good", "Profit rose")], "line 2 of .* has the label 'good'; there are positive, negative, neutral"),
        ([("positive", f"Profit of unit {n} rose") for n in range(50)], "needs 30: label about 300"),
    ],
)
def test_labels_that_teach_nothing_are_refused(rows: list[tuple[str, str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        refit.read(written(tmp_path / "labels.csv", rows))


def test_what_is_learnt_from_is_never_what_judges(jargon: Path) -> None:
    labels = refit.read(jargon)
    parts = [{example.text for example in part} for part in (labels.train, labels.warmth, labels.unseen)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 330


def test_only_what_beats_the_champion_and_the_labels_shares_is_promoted() -> None:
    draws = np.random.default_rng(1)
    champion, naive = draws.normal(1.0, 0.1, 100), draws.normal(1.1, 0.1, 100)
    assert refit.decide(champion - draws.normal(0.2, 0.1, 100), champion, naive).promoted
    assert not refit.decide(champion + draws.normal(0.0, 0.1, 100), champion, naive).promoted
    assert not refit.decide(naive, champion + 1, naive).promoted
    assert "worse than the champion" in refit.decide(champion + draws.normal(0.2, 0.1, 100), champion, naive).reason
