"""What is known of the models: the store of this home, who was promoted and why, and what `models` announced."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from models import registry
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

# As `NAME` in `models.forecaster.recurrent_recipe`, `models.sentiment.base`, `models.outlook.pretrained` and
# `models.studies.daily_model`, whose import takes seconds.
FAMILIES = ("forecaster", "sentiment", "monthly", "daily")
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
