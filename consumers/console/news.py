"""Recent headlines with what the sentiment model said of them. Pure and bounded; `views.py` feeds it."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from streams.messages import Headline, Sentiment

MAX_HEADLINES = 200
MAX_EARLY = 1_000  # scores whose headline has not been read yet: another topic, read at its own pace


class SymbolScore(msgspec.Struct, frozen=True):
    """What one headline means for one symbol."""

    symbol: str
    score: float
    p_positive: float
    p_negative: float
    p_neutral: float
    model_id: str


class HeadlineRow(msgspec.Struct, frozen=True):
    """One headline; `scores` is empty until the sentiment model was heard."""

    id: str
    event_ts_us: int
    text: str
    source: str
    url: str
    symbols: list[str]
    scores: list[SymbolScore]


class NewsView:
    """The last headlines in order of arrival, joined with their scores by id."""

    def __init__(self) -> None:
        self._headlines: OrderedDict[str, Headline] = OrderedDict()
        self._scores: OrderedDict[str, dict[str, SymbolScore]] = OrderedDict()
        self._changed: dict[str, None] = {}

    def add_headline(self, headline: Headline) -> None:
        """Take one headline; a closing is not one."""
        if headline.closes:
            return
        self._headlines[headline.id] = headline
        self._changed[headline.id] = None
        if len(self._headlines) > MAX_HEADLINES:
            oldest, _ = self._headlines.popitem(last=False)
            self._changed.pop(oldest, None)
            self._scores.pop(oldest, None)

    def add_sentiment(self, sentiment: Sentiment) -> None:
        """Take one score; a closing is not one."""
        if sentiment.closes:
            return
        scores = self._scores.setdefault(sentiment.headline_id, {})
        scores[sentiment.symbol] = SymbolScore(
            sentiment.symbol,
            sentiment.score,
            sentiment.p_positive,
            sentiment.p_negative,
            sentiment.p_neutral,
            sentiment.model_id,
        )
        if sentiment.headline_id in self._headlines:
            self._changed[sentiment.headline_id] = None
        while len(self._scores) > MAX_HEADLINES + MAX_EARLY:
            self._scores.popitem(last=False)

    def _row(self, headline: Headline) -> HeadlineRow:
        scores = list(self._scores.get(headline.id, {}).values())
        return HeadlineRow(
            headline.id, headline.event_ts_us, headline.text, headline.source, headline.url, headline.symbols, scores
        )

    def snapshot(self) -> list[HeadlineRow]:
        """Return the headlines, in order of arrival."""
        return [self._row(headline) for headline in self._headlines.values()]

    def changes(self) -> list[HeadlineRow]:
        """Return the headlines that came or were scored since the last call."""
        rows = [self._row(self._headlines[id_]) for id_ in self._changed]
        self._changed.clear()
        return rows
