"""Which stories go on: each once, however it comes, and about followed symbols only."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.base import Story
from producers.companies import Companies
from producers.intake import Intake
from streams.errors import SourceError

NAMES = Companies(["AAPL", "AMZN", "GOOGL", "META", "TSLA"])
PROFIT = "Apple quarterly profit rises 12 percent on strong iPhone sales in China"


def story(number: int, text: str, *symbols: str) -> Story:
    return Story(number, f"s{number}", symbols, text)


def told(*texts: str) -> list[str]:
    intake = Intake(NAMES)
    return [text for number, text in enumerate(texts) if intake.take(story(number, text))]


@pytest.mark.parametrize(
    "again",
    [
        PROFIT,
        "UPDATE 2-Apple quarterly profit rises 12 percent on strong iPhone sales in China",
        "Apple's quarterly profit rises 12 percent on strong iPhone sales in China",
        "Apple quarterly profit rises 12 percent, on strong iPhone sales in China",
    ],
)
def test_the_same_story_in_nearly_the_same_words_goes_on_once(again: str) -> None:
    assert told(PROFIT, again) == [PROFIT]


@pytest.mark.parametrize(
    "other",
    [
        "Apple quarterly profit rises 21 percent on strong iPhone sales in China",
        "Tesla recalls cars over faulty brakes in Europe and China",
        "Apple to hold annual shareholder meeting in March",
    ],
)
def test_another_number_or_matter_is_another_story(other: str) -> None:
    assert told(PROFIT, other) == [PROFIT, other]


def test_short_texts_are_known_by_their_very_words() -> None:
    assert told("Apple", "Tesla", "Apple rises", "Apple falls", "Apple rises!") == [
        "Apple",
        "Tesla",
        "Apple rises",
        "Apple falls",
    ]


def test_a_predecessors_stories_are_known_by_id_and_by_text() -> None:
    intake = Intake(NAMES)
    intake.remember("old", PROFIT)
    assert intake.take(Story(1, "old", (), "Apple opens stores")) is None
    assert intake.take(story(2, PROFIT)) is None
    assert intake.counts == {"stories alike": 1}


def test_the_vendors_tags_come_before_names_and_only_followed_symbols_stay() -> None:
    intake = Intake(NAMES, ["AAPL", "TSLA"])
    tagged = intake.take(story(1, "Amazon and others rise on strong demand", "tsla", "AMZN", "TSLA"))
    named = intake.take(story(2, "Apple and Amazon fall on weak demand"))
    assert (tagged and tagged.symbols, named and named.symbols) == (("TSLA",), ("AAPL",))
    assert intake.take(story(3, "Wheat prices fall on good weather in Kansas")) is None
    assert intake.counts == {"stories of no symbol": 1}


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Apple, Google settle suit", ("AAPL", "GOOGL")),
        ("An apple a day; pineapples", ()),
        ("Tropical storm nears Amazon basin", ()),
        ("Fires in the Amazon rainforest; Amazon.com's cloud grows", ("AMZN",)),
        ("Nikola Tesla's letters sold at auction", ()),
        ("Tesla's shares fall", ("TSLA",)),
        ("Facebook-owner sued", ("META",)),
        ("Shares of $TSLA and (AAPL.O) rise", ("AAPL", "TSLA")),
        ("Apple Hospitality REIT names chief; Apple rises", ("AAPL",)),
        ("METAL prices; TESLAQ", ()),
    ],
)
def test_names_are_found_as_companies_write_them(text: str, symbols: tuple[str, ...]) -> None:
    assert NAMES.named(text) == symbols


def test_a_users_own_companies_are_added(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("symbol,names,not\nSAP.DE,SAP|S.A.P.,tree SAP\nAAPL,Cupertino,\n")
    mine = Companies(["SAP.DE", "AAPL"], file)
    assert mine.named("SAP and Cupertino") == ("SAP.DE", "AAPL")
    assert mine.named("Apple") == ()
    file.write_text("symbol,name\n")
    with pytest.raises(SourceError, match="lacks one of the columns names, not, symbol"):
        Companies(["AAPL"], file)
    with pytest.raises(SourceError, match="cannot be read"):
        Companies(["AAPL"], tmp_path / "none.csv")


def test_the_words_of_forgotten_stories_are_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.intake.KEPT", 3)
    intake = Intake()
    for number in range(10):
        intake.remember(str(number), f"words {number}")
    assert len(intake._texts) == 3  # noqa: SLF001 - it would grow for ever


def test_a_story_of_megabytes_is_cut_to_a_headline_and_known_again() -> None:
    intake = Intake(NAMES)
    huge = Story(
        0, "i" * 2_000_000, (), "Apple profit rises again in " + "China " * 400_000, "http://127.0.0.1/" + "u" * 2_000_000
    )
    taken = intake.take(huge)
    assert taken is not None
    assert taken.symbols == ("AAPL",)
    assert len(taken.id) + len(taken.text) + len(taken.url) < 10_000
    assert huge.text.startswith(taken.text)
    assert intake.take(huge) is None
