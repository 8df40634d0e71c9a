"""`tickcast bench outlook`: what it says of its figures, and a short run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from deploy import bench_outlook
from deploy import outlook as wiring
from producers.daily_files import DailyFiles
from producers.daily_yahoo import DailyYahoo
from streams import settings
from streams.errors import EnvironmentFault, SettingsError


def test_one_slow_answer_in_twenty_is_allowed_and_two_are_not() -> None:
    assert bench_outlook.judged([10.0] * 97 + [900.0] * 3, [5_000.0])["holds"]
    assert not bench_outlook.judged([10.0] * 90 + [900.0] * 10, [5_000.0])["holds"]


def test_the_feed_is_the_files_that_are_set_else_yahoo_and_none_offline(tmp_path: Path) -> None:
    plain = settings.load({})
    assert isinstance(wiring.feed(msgspec.structs.replace(plain, outlook=str(tmp_path), offline=True)), DailyFiles)
    assert isinstance(wiring.feed(msgspec.structs.replace(plain, offline=False)), DailyYahoo)
    with pytest.raises(EnvironmentFault, match="TICKCAST_OUTLOOK"):
        wiring.demanded(msgspec.structs.replace(plain, offline=True))
    with pytest.raises(SettingsError, match="there is no folder"):
        wiring.feed(msgspec.structs.replace(plain, outlook=str(tmp_path / "none")))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_run_answers_for_every_stock(tmp_path: Path, sentiment_cache: Path) -> None:
    own = settings.load({}, home=tmp_path, cache=sentiment_cache, offline=True)
    figures = bench_outlook.run(own, 24, None, lambda _what: None)
    assert (figures["requests"], len(figures["first_ms"])) == (24, bench_outlook.STOCKS)
    assert 0 < figures["p50_ms"] <= figures["p95_ms"]
