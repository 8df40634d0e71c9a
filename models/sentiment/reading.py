"""Many texts to their scores, each text read by the model once in its life: for studies and for the outlook.

The consumer of `headlines` has its own way (`consumers/sentiment.py`), because it must not keep a batch waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.sentiment import base
from models.sentiment.base import SentimentModel
from models.sentiment.known_texts import KnownTexts, file_of, rounded
from streams.settings import Settings

AT_ONCE = 512  # texts after which what was learnt is kept: a run that is killed goes on from there

Tell = Callable[[int, int], None]


def _told_nobody(_done: int, _total: int) -> None:
    """Tell nobody."""


class Reader:
    """A sentiment model and what it said before; for one thread at a time.

    Parameters
    ----------
    model : SentimentModel
        Reads what is not known.
    known : KnownTexts
        Remembers for this model alone.
    """

    def __init__(self, model: SentimentModel, known: KnownTexts) -> None:
        self.model_id = model.model_id
        self._model = model
        self._known = known

    def scores(self, texts: Sequence[str], tell: Tell = _told_nobody) -> dict[str, float | None]:
        """Return P(positive) - P(negative) of each text, None where the model knows no word of it.

        `tell` is called with how many texts are done, of how many that the model had not seen.
        """
        wanted = list(dict.fromkeys(texts))
        found = self._known.recall(wanted)
        new = [text for text in wanted if text not in found]
        for start in range(0, len(new), AT_ONCE):
            tell(start, len(new))
            part = new[start : start + AT_ONCE]
            learnt = dict(zip(part, map(rounded, self._model.score(part)), strict=True))
            self._known.learn(learnt)
            found |= learnt
        return {text: None if (said := found[text]) is None else round(said[0] - said[1], 4) for text in wanted}


def reader(settings: Settings) -> Reader:
    """Return the reader with the model that `settings` asks for; errors as for :func:`models.sentiment.base.load`."""
    model = base.load(settings)
    return Reader(model, KnownTexts(file_of(settings.cache, model.model_id)))
