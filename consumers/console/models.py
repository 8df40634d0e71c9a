"""What is known of the models: the store of this home, who was promoted and why, and what `models` announced."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from models import registry
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

# As in `models.forecaster.recurrent_recipe` and `models.sentiment.base`, whose import takes seconds.
FAMILIES = ("forecaster", "sentiment")
MAX_CARDS = 200


class Card(msgspec.Struct, frozen=True):
    """One stored model."""

    model_id: str
    data_cutoff_ts_us: int
    metrics: dict[str, float]


class Promoted(msgspec.Struct, frozen=True):
    """A model became champion, and why."""

    model_id: str
    reason: str


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


def known_models(settings: Settings, announced: Sequence[ModelAnnouncement]) -> Models:
    """Return what is known; where the store is damaged or elsewhere, the announcements alone say who serves."""
    return Models([_family(settings, name, announced) for name in FAMILIES], list(announced))


def _family(settings: Settings, name: str, announced: Sequence[ModelAnnouncement]) -> Family:
    promotions: list[registry.Promotion] = []
    with contextlib.suppress(ModelError):
        promotions = registry.promotions(settings, name)
    cards = [Card(card.model_id, card.data_cutoff_ts_us, card.metrics) for card in registry.stored(settings, name)[:MAX_CARDS]]
    told = next((word.model_id for word in announced if word.promoted and word.name == name), None)
    champion = told or (promotions[-1].model_id if promotions else None)
    return Family(name, champion, cards, [Promoted(one.model_id, one.reason) for one in promotions])
