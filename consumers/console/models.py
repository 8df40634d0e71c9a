"""What is known of the models: the store of this home with its loss curves, who was promoted and why, what `models` announced.

The curves are read from the store, not from MLflow, whose import alone takes seconds and 200 MB.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, get_args

import msgspec

from models import registry
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

# As `NAME` in `models.forecaster.recurrent_recipe`, `models.sentiment.base`, `models.outlook.pretrained` and
# `models.studies.daily_model`, whose import takes seconds.
Kind = Literal["forecaster", "sentiment", "monthly", "daily"]
FAMILIES: tuple[Kind, ...] = get_args(Kind)
MAX_CARDS = 200


class Card(msgspec.Struct, frozen=True):
    """One stored model."""

    model_id: str
    data_cutoff_ts_us: int
    metrics: dict[str, float]
    stored_at_us: int = 0


class Promoted(msgspec.Struct, frozen=True):
    """A model became champion, and why; `at_us` is the wall clock's, 0 where it is not known."""

    model_id: str
    reason: str
    at_us: int = 0


class Family(msgspec.Struct, frozen=True):
    """The models of one kind: `stored` the newest data first, `promotions` the present champion last."""

    name: str
    champion: str | None
    stored: list[Card]
    promotions: list[Promoted]


class Models(msgspec.Struct, frozen=True):
    """All families, and what was announced of them, the newest word first."""

    families: list[Family]
    announced: list[ModelAnnouncement]


class Curves(msgspec.Struct, frozen=True):
    """The loss of each epoch of one model's training; `validation` is empty where nothing was held out.

    A forecaster's is the pinball and Huber loss in volatilities, a sentiment model's the log loss: not one scale.
    """

    name: str
    model_id: str
    train: list[float]
    validation: list[float]


def curves(settings: Settings, names: Sequence[Kind], limit: int) -> list[Curves]:
    """Return the loss curves of the stored models that keep some: of each name at most `limit`, the newest data first."""
    return [curve for name in names for curve in islice(_kept(settings, name), limit)]


def _kept(settings: Settings, name: str) -> Iterator[Curves]:
    for card in registry.stored(settings, name)[:MAX_CARDS]:
        found = _losses(settings, name, card.model_id)
        if found is not None:
            yield Curves(name, card.model_id, found.train, found.validation)


def _losses(settings: Settings, name: str, model_id: str) -> registry.Losses | None:
    with contextlib.suppress(ModelError):  # a damaged picture is no reason to show none of the others
        return registry.losses(settings, name, model_id)
    return None


def known_models(settings: Settings, announced: Sequence[ModelAnnouncement]) -> Models:
    """Return what is known; where the store is damaged or elsewhere, the announcements alone say who serves."""
    return Models([_family(settings, name, announced) for name in FAMILIES], list(announced))


def _family(settings: Settings, name: str, announced: Sequence[ModelAnnouncement]) -> Family:
    promotions: list[registry.Promotion] = []
    with contextlib.suppress(ModelError):
        promotions = registry.promotions(settings, name)
    cards = [
        Card(card.model_id, card.data_cutoff_ts_us, card.metrics, registry.stored_at_us(settings, name, card.model_id))
        for card in registry.stored(settings, name)[:MAX_CARDS]
    ]
    told = next((word.model_id for word in announced if word.promoted and word.name == name), None)
    champion = told or (promotions[-1].model_id if promotions else None)
    return Family(name, champion, cards, [Promoted(one.model_id, one.reason, one.at_us) for one in promotions])
