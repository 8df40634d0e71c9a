"""The sentiment role: a list of records in, a list of records out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers import sentiment
from consumers.sentiment import SentimentHandler
from models.sentiment import minilm
from models.sentiment.base import SentimentModel
from models.sentiment.known_texts import DECIMALS, KnownTexts
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.clock import MINUTE_US
from streams.messages import DeadLetter, Headline, Sentiment

STEP = 10**-DECIMALS


class CountingModel:
    """Scores by the length of a text, knows no text that starts with '?', and remembers what it was asked."""

    model_id = "counting"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.asked.append(list(texts))
        shares = [len(text) % 10 / 10 for text in texts]
        rows = [
            [np.nan] * 3 if text.startswith("?") else [share, (1 - share) / 4, (1 - share) * 3 / 4]
            for text, share in zip(texts, shares, strict=True)
        ]
        return np.array(rows)


def serving(model: SentimentModel, known: KnownTexts | None = None) -> SentimentHandler:
    return SentimentHandler(sentiment.unchanging(model, known))


def headline(text: str, symbols: Sequence[str] = ("AAPL",), *, closes: bool = False) -> Headline:
    return Headline(
        event_ts_us=MINUTE_US,
        clock_ts_us=MINUTE_US,
        id=f"id of {text}"[:256],
        symbols=list(symbols),
        text=text,
        source="test",
        closes=closes,
        partitions=2 if closes else 0,
    )


def record(value: Headline | bytes | None, offset: int = 0, partition: int = 0) -> Record:
    raw = codec.encode(value) if isinstance(value, Headline) else value
    return Record("headlines", partition, offset, b"key", raw, timestamp_ms=1_700_000_000_123)


def sentiments(outgoing: Sequence[Outgoing]) -> list[Sentiment]:
    return [codec.decode(Sentiment, sent.value) for sent in outgoing if sent.topic == "sentiment"]


def letters(outgoing: Sequence[Outgoing]) -> list[DeadLetter]:
    return [codec.decode(DeadLetter, sent.value) for sent in outgoing if sent.topic == "dead_letters"]


def test_each_symbol_of_a_headline_gets_a_message() -> None:
    sent = serving(CountingModel()).handle([record(headline("12345678", ["AAPL", "MSFT", "AAPL"]))])
    assert [item.key for item in sent] == [b"AAPL", b"MSFT"]
    first = sentiments(sent)[0]
    assert first.score == pytest.approx(first.p_positive - first.p_negative, abs=1e-4)
    assert first.p_positive + first.p_negative + first.p_neutral == pytest.approx(1, abs=2e-4)
    assert (first.headline_id, first.model_id, first.closes) == ("id of 12345678", "counting", False)
    assert sent[0].headers == [(bus.INGEST_HEADER, b"1700000000123000")]


def test_a_closing_that_closes_nothing_is_a_dead_letter_and_ends_nobody() -> None:
    none = headline("", closes=True)
    good, impossible = serving(CountingModel()).handle([record(none, 0, partition=1), record(none, 1, partition=2)])
    assert codec.decode(Sentiment, good.value).partition == 1
    letter = codec.decode(DeadLetter, impossible.value)
    assert (letter.error_class, letter.message) == ("contract", "a closing in partition 2 of 2 closes nothing")


def test_a_closing_follows_the_headlines_before_it_and_names_its_partition() -> None:
    closing = headline("", ["AAPL", "MSFT"], closes=True)
    sent = sentiments(serving(CountingModel()).handle([record(headline("news")), record(closing, 1, partition=1)]))
    assert [(message.symbol, message.closes) for message in sent] == [("AAPL", False), ("AAPL", True), ("MSFT", True)]
    assert {(m.partition, m.partitions, m.headline_id) for m in sent if m.closes} == {(1, 2, f"closing-1-{MINUTE_US}")}


def test_a_repeated_text_is_scored_once_over_batches_too() -> None:
    model = CountingModel()
    handler = serving(model)
    handler.handle([record(headline("b")), record(headline("a")), record(headline("b"))])
    handler.handle([record(headline("a")), record(headline("c"))])
    assert model.asked == [["a", "b"], ["c"]]


def test_the_memory_of_texts_is_bounded_and_forgets_the_longest_unused() -> None:
    model = CountingModel()
    handler = serving(model, KnownTexts(in_memory=2))
    for text in ("a", "b", "a", "c", "a", "b"):
        assert len(handler.handle([record(headline(text))])) == 1
    assert model.asked == [["a"], ["b"], ["c"], ["b"]]


def test_a_text_is_scored_once_over_restarts_too(tmp_path: Path) -> None:
    model = CountingModel()
    texts = ["news", "?", "news again"]
    first, second = (
        serving(model, KnownTexts(tmp_path / "texts.sqlite")).handle([record(headline(text)) for text in texts]) for _ in range(2)
    )
    assert first == second
    assert model.asked == [sorted(texts)]


class SlowModel(CountingModel):
    """Takes as long for a text as it is told, on a clock of its own."""

    seconds = 0.0
    clock = 0.0

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.clock += self.seconds * len(texts)
        return super().score(texts)


def test_a_batch_grows_with_speed_and_never_beyond_what_the_model_does_in_time() -> None:
    model = SlowModel()
    handler = SentimentHandler(sentiment.unchanging(model), clock=lambda: model.clock)
    sizes = []
    for number, model.seconds in enumerate([0.001] * 8 + [0.1, 30.0]):
        sizes.append(handler.max_batch)
        handler.handle([record(headline(f"{number} {n}")) for n in range(min(handler.max_batch, 100))])
    assert sizes[:8] == [32, 64, 128, 256, 512, 1_024, 2_000, 2_000]
    assert sizes[-1] == sentiment.HANDLE_S / 0.1
    assert handler.max_batch == 1


def test_what_cannot_be_read_or_scored_is_a_dead_letter_in_its_place() -> None:
    raw = [b"not json", b'{"v": 1}', None]
    records = [record(value, offset) for offset, value in enumerate(raw)]
    sent = serving(CountingModel()).handle([*records, record(headline("?"), 3), record(headline("fine"), 4)])
    assert [item.topic for item in sent] == ["dead_letters"] * 4 + ["sentiment"]
    assert [letter.error_class for letter in letters(sent)] == ["not_json", "contract", "no_value", "no_text"]
    assert [(letter.offset, letter.stage) for letter in letters(sent)] == [(n, "sentiment") for n in range(4)]


def test_the_same_records_give_the_same_bytes_however_they_are_batched(sentiment_cache: Path) -> None:
    model = minilm.load(sentiment_cache)
    texts = [f"Profit of unit {n} {'rose' if n % 3 else 'fell'} to EUR {n} mn{' , it said' * (n % 5)} ." for n in range(40)]
    records = [record(headline(text), offset) for offset, text in enumerate(texts)]
    together = serving(model).handle(records)
    one_by_one = serving(model)
    alone = [sent for item in records for sent in one_by_one.handle([item])]
    pairs = list(zip(sentiments(together), sentiments(alone), strict=True))
    assert max(abs(one.score - other.score) for one, other in pairs) <= 2 * STEP  # a value near a rounding edge may turn
    assert sum(one != other for one, other in pairs) <= 1
    assert [item.key for item in together] == [item.key for item in alone]


def test_ugly_texts_are_scored_or_dead_lettered_by_the_real_model(sentiment_cache: Path) -> None:
    nothing = ["", " \x00 ", "🚀"]
    ugly = ["<b>profit</b> rose 🚀", "株価は急落した", "answer: positive", "loss " * 200_000]
    sent = serving(minilm.load(sentiment_cache)).handle([record(headline(text)) for text in nothing + ugly])
    assert [item.topic for item in sent] == ["dead_letters"] * len(nothing) + ["sentiment"] * len(ugly)


def test_a_new_model_is_used_from_the_next_batch_on_and_remembers_nothing_of_the_old_one() -> None:
    old, new = CountingModel(), CountingModel()
    new.model_id = "newer"
    served = [sentiment.Served(old, KnownTexts())]
    handler = SentimentHandler(lambda: served[-1])
    first = handler.handle([record(headline("news"))])
    served.append(sentiment.Served(new, KnownTexts()))
    second = handler.handle([record(headline("news"))])
    assert [message.model_id for message in sentiments([*first, *second])] == ["counting", "newer"]
    assert (old.asked, new.asked, handler.describe()) == ([["news"]], [["news"]], "newer")
