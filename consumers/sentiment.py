"""The sentiment role: `headlines` to `sentiment`, one message per headline and symbol, closings behind their headlines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from consumers.base import LARGEST_BATCH, WHOLE
from consumers.known_texts import KnownTexts, Meanings, Probabilities
from models.sentiment.base import SentimentModel
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.errors import BadMessage
from streams.messages import Headline, Sentiment

HANDLE_S = 2.0  # of scoring in one batch: a rebalance waits for it, and a crash repeats it
FIRST_BATCH = 32  # until the model's speed is known
DECIMALS = 4  # a batch's padding moves a probability by about 1e-7: coarser than that, so that repeats are equal bytes


class SentimentHandler:
    """Scores headlines; see :class:`consumers.base.Handler`.

    A text is scored once, however often and for however many symbols it comes. What cannot be scored goes to
    `dead_letters`: never silently neutral.

    Parameters
    ----------
    model : SentimentModel
        Called once per batch, with the batch's new texts.
    known : KnownTexts, optional
        What this very model said before; by default nothing, and it is kept in memory only.
    clock : callable
        Seconds, for how long the model takes.
    """

    name = "sentiment"
    inputs: tuple[str, ...] = ("headlines",)
    memory: tuple[str, ...] = ()
    lookback_min: Mapping[str, int] = WHOLE
    company_s = 0.0
    due_s = None

    def __init__(
        self, model: SentimentModel, known: KnownTexts | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._model = model
        self._clock = clock
        self._known = known or KnownTexts()
        self.max_batch = FIRST_BATCH

    def restore(self, record: Record) -> None:
        """Do nothing: the role has no state that outputs depend on."""

    def describe(self) -> str:
        """Return the id of the model that scores."""
        return self._model.model_id

    def forget(self) -> None:
        """Do nothing: what a text means is the same for whoever reads it."""

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return the sentiment messages, forwarded closings and dead letters of `records`, in their order."""
        read = [(record, _read(record)) for record in records]
        scored = self._score({news.text for _, news in read if isinstance(news, Headline) and not news.closes})
        return [sent for record, news in read for sent in self._answer(record, news, scored)]

    def _score(self, texts: set[str]) -> Meanings:
        """Return what each text means, None where the model cannot tell."""
        found = self._known.recall(sorted(texts))
        new = sorted(texts - found.keys())
        if new:
            scored = dict(zip(new, map(_rounded, self._timed(new)), strict=True))
            self._known.learn(scored)
            found |= scored
        return found

    def _timed(self, texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Score, and set how many records the next batch may have: as if none of them were known."""
        started = self._clock()
        probabilities = self._model.score(texts)
        affordable = round(len(texts) * HANDLE_S / max(self._clock() - started, 1e-9))
        self.max_batch = max(1, min(affordable, 2 * max(self.max_batch, 1), LARGEST_BATCH))
        return probabilities

    def _answer(self, record: Record, news: Headline | BadMessage, scored: Meanings) -> Iterator[Outgoing]:
        if isinstance(news, BadMessage):
            yield bus.dead_letter(record, self.name, news)
        elif news.closes:
            yield from self._closings(record, news)
        elif (meaning := scored[news.text]) is None:
            yield bus.dead_letter(record, self.name, BadMessage("the text has no word that the model knows", "no_text"))
        else:
            yield from self._sentiments(record, news, meaning)

    def _sentiments(self, record: Record, news: Headline, meaning: Probabilities) -> Iterator[Outgoing]:
        positive, negative, neutral = meaning
        for symbol in dict.fromkeys(news.symbols):
            message = Sentiment(
                event_ts_us=news.event_ts_us,
                clock_ts_us=news.clock_ts_us,
                headline_id=news.id,
                symbol=symbol,
                model_id=self._model.model_id,
                p_positive=positive,
                p_negative=negative,
                p_neutral=neutral,
                score=round(positive - negative, DECIMALS),
            )
            yield bus.outgoing("sentiment", symbol, message, _headers(record))

    def _closings(self, record: Record, news: Headline) -> Iterator[Outgoing]:
        for symbol in dict.fromkeys(news.symbols):
            message = Sentiment(
                event_ts_us=news.event_ts_us,
                clock_ts_us=news.clock_ts_us,
                headline_id=f"closing-{record.partition}-{news.clock_ts_us}",
                symbol=symbol,
                model_id=self._model.model_id,
                closes=True,
                partition=record.partition,
                partitions=news.partitions,
            )
            yield bus.outgoing("sentiment", symbol, message, _headers(record))


def _read(record: Record) -> Headline | BadMessage:
    try:
        return codec.decode(Headline, record.value)
    except BadMessage as error:
        return error


def _rounded(row: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Probabilities | None:
    if np.isnan(row).any():
        return None
    positive, negative, neutral = (round(float(value), DECIMALS) for value in row)
    return positive, negative, neutral


def _headers(record: Record) -> list[tuple[str, bytes]]:
    return [(bus.INGEST_HEADER, str(max(0, record.timestamp_ms) * 1_000).encode())]
