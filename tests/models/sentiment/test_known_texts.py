"""The memory of scored texts and its file."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from models.sentiment.known_texts import KnownTexts, Meanings, file_of

GOOD = (0.5, 0.25, 0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return file_of(tmp_path, "some/model: 1")


def rows(path: Path) -> int:
    with sqlite3.connect(path) as file:
        (count,) = file.execute("SELECT count(*) FROM texts").fetchone()
    file.close()
    return int(count)


def test_what_is_learnt_is_known_to_the_next_process(path: Path) -> None:
    meanings: Meanings = {"rose": GOOD, "🚀": None, "half a pair \ud83d": GOOD}
    KnownTexts(path).learn(meanings)
    assert KnownTexts(path).recall([*meanings, "fell"]) == meanings


def test_models_do_not_share_a_file(tmp_path: Path) -> None:
    assert file_of(tmp_path, "a") != file_of(tmp_path, "b")
    assert file_of(tmp_path, "../../etc").parent == file_of(tmp_path, "a").parent


def test_memory_and_file_are_bounded(path: Path) -> None:
    known = KnownTexts(path, in_memory=3, in_file=10)
    for number in range(25):
        known.learn({f"text {number}": GOOD})
    assert rows(path) == 10
    assert set(known.recall(f"text {number}" for number in range(25))) == {f"text {number}" for number in range(15, 25)}


def test_many_texts_are_asked_for_at_once(path: Path) -> None:
    texts = {f"text {number}": GOOD for number in range(2_345)}
    KnownTexts(path, in_memory=5).learn(texts)
    assert KnownTexts(path, in_memory=5).recall(texts) == texts


def test_two_workers_share_the_file(path: Path) -> None:
    one, other = KnownTexts(path), KnownTexts(path)
    one.learn({"a": GOOD, "b": None})
    other.learn({"a": GOOD, "c": GOOD})
    assert one.recall("abc") == other.recall("abc") == {"a": GOOD, "b": None, "c": GOOD}


def test_a_damaged_file_is_made_again(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 1_000)
    KnownTexts(path).learn({"rose": GOOD})
    assert rows(path) == 1


def test_without_a_file_memory_goes_on_after_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sentiment").write_text("a file where a folder should be", encoding="utf-8")
    known = KnownTexts(file_of(tmp_path, "model"))
    known.learn({"rose": GOOD})
    assert known.recall(["rose"]) == {"rose": GOOD}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
