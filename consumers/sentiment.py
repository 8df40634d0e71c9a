"""The sentiment role: `headlines` to `sentiment`, one message per headline and symbol, closings behind their headlines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from consumers.base import LARGEST_BATCH, WHOLE
from models import registry
from models.follower import ModelFollower
from models.sentiment import base
from models.sentiment.base import NAME, SentimentModel
from models.sentiment.known_texts import DECIMALS, KnownTexts, Meanings, Probabilities, file_of, rounded
from streams import bus, codec
from streams.bus import Outgoing, Record
from streams.errors import BadMessage
from streams.messages import Headline, ModelAnnouncement, Sentiment
from streams.settings import Settings

HANDLE_S = 2.0  # of scoring in one batch: a rebalance waits for it, and a crash repeats it
FIRST_BATCH = 32  # until the model's speed is known


class Served(NamedTuple):
    """A model, and what it said before."""

    model: SentimentModel
    known: KnownTexts


class SentimentHandler:
    """Scores headlines; see :class:`consumers.base.Handler`.

    A text is scored once, however often and for however many symbols it comes. What cannot be scored goes to
    `dead_letters`: never silently neutral.

    Parameters
    ----------
    served : Callable[[], Served]
        Asked once per batch for the model to use, which is called with the batch's new texts.
    clock : callable
        Seconds, for how long the model takes.
    """

    name = "sentiment"
    inputs: tuple[str, ...] = ("headlines",)
    memory: tuple[str, ...] = ()
    lookback_min: Mapping[str, int] = WHOLE
    company_s = 0.0
    due_s = None

    def __init__(self, served: Callable[[], Served], clock: Callable[[], float] = time.perf_counter) -> None:
        self._served = served
        self._clock = clock
        self.max_batch = FIRST_BATCH

    def restore(self, record: Record) -> None:
        """Do nothing: the role has no state that outputs depend on."""

    def describe(self) -> str:
        """Return the id of the model that scores."""
        return self._served().model.model_id

    def forget(self) -> None:
        """Do nothing: what a text means is the same for whoever reads it."""

    def handle(self, records: Sequence[Record]) -> list[Outgoing]:
        """Return the sentiment messages, forwarded closings and dead letters of `records`, in their order."""
        read = [(record, _read(record)) for record in records]
        served = self._served()
        scored = self._score(served, {news.text for _, news in read if isinstance(news, Headline) and not news.closes})
        answer = _Answer(self.name, served.model.model_id, scored)
        return [sent for record, news in read for sent in answer.to(record, news)]

    def _score(self, served: Served, texts: set[str]) -> Meanings:
        """Return what each text means, None where the model cannot tell."""
        found = served.known.recall(sorted(texts))
        new = sorted(texts - found.keys())
        if new:
            scored = dict(zip(new, map(rounded, self._timed(served.model, new)), strict=True))
            served.known.learn(scored)
            found |= scored
        return found

    def _timed(self, model: SentimentModel, texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Score, and set how many records the next batch may have: as if none of them were known."""
        started = self._clock()
        probabilities = model.score(texts)
        affordable = round(len(texts) * HANDLE_S / max(self._clock() - started, 1e-9))
        self.max_batch = max(1, min(affordable, 2 * max(self.max_batch, 1), LARGEST_BATCH))
        return probabilities


class _Answer(NamedTuple):
    """What is sent for each headline of a batch."""

    stage: str
    model_id: str
    scored: Meanings

    def to(self, record: Record, news: Headline | BadMessage) -> Iterator[Outgoing]:
        """Yield what is sent for `record`, which holds `news`."""
        if isinstance(news, BadMessage):
            yield bus.dead_letter(record, self.stage, news)
        elif news.closes:
            yield from self._closings(record, news)
        elif (meaning := self.scored[news.text]) is None:
            yield bus.dead_letter(record, self.stage, BadMessage("the text has no word that the model knows", "no_text"))
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
                model_id=self.model_id,
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
                model_id=self.model_id,
                closes=True,
                partition=record.partition,
                partitions=news.partitions,
            )
            yield bus.outgoing("sentiment", symbol, message, _headers(record))


def _read(record: Record) -> Headline | BadMessage:
    try:
        news = codec.decode(Headline, record.value)
    except BadMessage as error:
        return error
    if news.closes and record.partition >= news.partitions:
        return BadMessage(f"a closing in partition {record.partition} of {news.partitions} closes nothing", "contract")
    return news


def _headers(record: Record) -> list[tuple[str, bytes]]:
    return [(bus.INGEST_HEADER, str(max(0, record.timestamp_ms) * 1_000).encode())]


def unchanging(model: SentimentModel, known: KnownTexts | None = None) -> Callable[[], Served]:
    """Return what always serves `model`; by default it remembers texts in memory only."""
    served = Served(model, known or KnownTexts())
    return lambda: served


def make_handler(settings: Settings) -> SentimentHandler:
    """Return the handler that serves the newest promoted model; where none was, or another is asked for, the one installed.

    Raises
    ------
    EnvironmentFault
        No broker answers, or FinBERT was asked for and cannot be had.
    """
    bus.ensure_topics(settings)
    installed = _served(base.load(settings), settings)
    if settings.sentiment != "auto":
        return SentimentHandler(lambda: installed)
    follower: ModelFollower[Served] = ModelFollower(NAME, lambda announced: _served(_loaded(announced), settings))
    follower.start(settings)
    return SentimentHandler(lambda: follower.current() or installed)


def _served(model: SentimentModel, settings: Settings) -> Served:
    return Served(model, KnownTexts(file_of(settings.cache, model.model_id)))


def _loaded(announced: ModelAnnouncement) -> SentimentModel:
    from models.sentiment import onnx_runtime  # noqa: PLC0415 - ONNX Runtime takes a second to import

    model: SentimentModel = onnx_runtime.load(registry.load(announced.uri, announced.sha256).folder)
    model.score(["Operating profit rose."])
    return model
