"""`tickcast bench sentiment`: its accounts by hand, and one small run of the real thing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from rich.console import Console

from deploy import bench_crashes, bench_headlines, bench_sentiment
from deploy.bench_headlines import Text
from streams import bus
from streams.errors import SourceError
from streams.messages import Sentiment
from streams.settings import Settings


def sentiment(headline: str, symbol: str, positive: float = 1.0) -> bus.Outgoing:
    message = Sentiment(
        event_ts_us=0,
        clock_ts_us=0,
        headline_id=headline,
        symbol=symbol,
        model_id="m",
        p_positive=positive,
        p_neutral=1 - positive,
        score=positive,
    )
    return bus.outgoing("sentiment", symbol, message)


def test_our_own_headlines_are_distinct_and_some_have_two_symbols() -> None:
    texts = bench_headlines.read(None, 2_000)
    assert len({item.text for item in texts}) == 2_000
    assert {len(item.symbols) for item in texts} == {1, 2}


def test_a_file_is_read_with_its_repeats_and_all_its_symbols(tmp_path: Path) -> None:
    path = tmp_path / "news.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("title,tickers_by_name_match\nrose,AAPL;MSFT\nrose,AAPL\nfell,\n")
    assert bench_headlines.read(path, 0) == [Text("rose", ("AAPL", "MSFT")), Text("rose", ("AAPL",)), Text("fell", ("NEWS",))]
    assert len(bench_headlines.read(path, 2)) == 2


@pytest.mark.parametrize("content", [None, b"time,price\n1,2\n", b"\xff\xfe\x00"])
def test_what_holds_no_headlines_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "news.csv").write_bytes(content)
    with pytest.raises(SourceError):
        bench_headlines.read(tmp_path / "news.csv", 0)


def test_the_audit_finds_what_is_missing_extra_repeated_and_changed(config: Settings) -> None:
    with bus.producing(config) as client:
        records = [
            sentiment("1", "A"),
            sentiment("1", "B"),
            sentiment("1", "A"),
            sentiment("2", "A"),
            sentiment("2", "A", 0.5),
            sentiment("9", "A"),
        ]
        bus.send_all(client, config, records)
    found = bench_crashes.audit(config, {("1", "A"), ("1", "B"), ("2", "A"), ("3", "A")})
    expected = {"pairs": 4, "missing": 1, "unexpected": 1, "repeats": 2, "repeats_that_differ": 1, "dead": 0}
    assert found == expected


@pytest.mark.slow
def test_kills_and_rebalances_lose_nothing() -> None:
    from streams import settings  # noqa: PLC0415 - shadows the fixture's name otherwise

    own = settings.load({}, offline=True, sentiment="minilm")
    figures = bench_sentiment.run(own, bench_headlines.read(None, 1_000), 500, Console(quiet=True))
    exact = figures["exactness"]
    assert (exact["kills"], exact["rebalances"], exact["pairs"]) == (3, 2, 1_500)
    assert (exact["missing"], exact["unexpected"], exact["dead"]) == (0, 0, 0)
    assert figures["exact"]
    assert figures["speed"]["consumer_per_s"] > 0
    assert bench_sentiment.table(figures).row_count > 5
