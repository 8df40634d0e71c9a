"""The grammar of sources: NAME[:ARG], none, and what cannot go together."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from producers.base import SessionEnd, Story, Trade
from producers.catalog import Choice, Part, open_source, parse
from producers.market import Market
from producers.prints import Regular
from producers.replay import Replay
from producers.simulated import Simulated
from streams import settings
from streams.errors import SourceError

CONFIG = settings.load({}, symbols="AAPL,TSLA")
TICKS = "event_ts_us,symbol,price,size\n1340285400000000,AAPL,1,1\n"
HEADLINES = "event_ts_us,symbols,text\n1340285400000000,AAPL,Apple rises\n"


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    (tmp_path / "ticks.csv").write_text(TICKS)
    (tmp_path / "headlines.csv").write_text(HEADLINES)
    return tmp_path


def kinds(ticks: str, headlines: str) -> list[type]:
    source = open_source(Choice(parse(ticks), parse(headlines)), CONFIG)
    return [type(event) for event in source.events()]


def test_a_word_is_a_name_and_perhaps_an_argument() -> None:
    assert parse("simulated") == ("simulated", "")
    assert parse("replay:C:/tapes/june") == ("replay", "C:/tapes/june")
    assert parse("none") is None


@pytest.mark.parametrize("word", ["", "yfinanse", ":x", "Simulated"])
def test_an_unknown_name_is_answered_with_those_that_exist(word: str) -> None:
    with pytest.raises(SourceError, match=r"there are alpaca, .+, replay, simulated and none"):
        parse(word)


@pytest.mark.parametrize(
    ("ticks", "headlines", "reason"),
    [
        ("none", "none", "cannot both be none"),
        ("simulated", "replay:x", "replay and simulated cannot be mixed"),
        ("simulated", "rss:http://x", "only live vendors can"),
        ("rss:http://x", "none", "rss has no ticks"),
        ("simulated:fast", "simulated:fast", "takes no argument"),
        ("replay", "replay", "needs a folder or a file"),
        ("replay:/not/here", "replay:/not/here", "does not exist"),
        ("replay:/not/here", "none", "does not exist"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(ticks: str, headlines: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        open_source(Choice(parse(ticks), parse(headlines)), CONFIG)
    assert "\n" not in str(caught.value)


def test_a_folder_is_both_parts_and_a_part_is_only_itself(tape: Path) -> None:
    assert kinds(f"replay:{tape}", f"replay:{tape}") == [Trade, SessionEnd, Story]
    assert kinds(f"replay:{tape}", "none") == [Trade, SessionEnd]
    assert kinds("none", f"replay:{tape}") == [Story]


def test_the_parts_may_be_two_files(tape: Path) -> None:
    assert kinds(f"replay:{tape}/ticks.csv", f"replay:{tape}/headlines.csv") == [Trade, SessionEnd, Story]


def test_a_part_that_was_asked_for_must_be_there(tape: Path) -> None:
    (tape / "headlines.csv").unlink()
    assert kinds(f"replay:{tape}", f"replay:{tape}") == [Trade, SessionEnd]
    with pytest.raises(SourceError, match="has no headlines"):
        kinds("none", f"replay:{tape}")


def test_the_simulated_market_takes_its_symbols_from_the_settings() -> None:
    source = open_source(Choice(parse("simulated"), parse("simulated"), rate=7.0, seed=3), CONFIG)
    assert isinstance(source, Simulated)
    assert (source.market.symbols, source.market.rate, source.market.seed) == (("AAPL", "TSLA"), 7.0, 3)


@pytest.mark.parametrize(("ticks", "headlines", "kept"), [("simulated", "none", Trade), ("none", "simulated", Story)])
def test_one_part_of_the_simulated_market(ticks: str, headlines: str, kept: type) -> None:
    source = open_source(Choice(parse(ticks), parse(headlines)), CONFIG)
    assert isinstance(source, Part)
    assert (source.name, source.live, source.kept) == ("simulated", True, kept)


@pytest.mark.parametrize(("kept", "dropped"), [(Trade, Story), (Story, Trade)])
def test_a_part_keeps_its_kind_and_the_clock(kept: type[Trade] | type[Story], dropped: type) -> None:
    market = Simulated(Market(rate=1.0, headlines_per_hour=600.0, session_min=3, break_min=1), clock=Idle(), sleep=lambda _: None)
    found = {type(event) for event in islice(Part(market, kept).events(), 2_000)}
    assert kept in found
    assert SessionEnd in found
    assert dropped not in found


def test_irregular_prints_are_marked_where_that_is_asked_for(tape: Path) -> None:
    choice = Choice(parse(f"replay:{tape}"), None)
    assert isinstance(open_source(choice, CONFIG), Replay)
    assert isinstance(open_source(replace(choice, prints="regular"), CONFIG), Regular)


class Idle:
    """A wall clock that goes on by half a second each time it is read."""

    def __init__(self) -> None:
        self._now_us = 1_750_082_400_000_000

    def __call__(self) -> int:
        self._now_us += 500_000
        return self._now_us
