"""What is known of the forecasters: the store of this home, who was promoted and why, and what `models` announced."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from models import registry
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

NAME = "forecaster"  # as in `models.forecaster.recurrent_recipe`, which needs a second and onnx to be imported
MAX_CARDS = 200


class Card(msgspec.Struct, frozen=True):
    """One stored model."""

    model_id: str
    data_cutoff_ts_us: int
    window: int
    horizons_min: tuple[int, ...]
    metrics: dict[str, float]


class Promoted(msgspec.Struct, frozen=True):
    """A model became champion, and why."""

    model_id: str
    reason: str


class Models(msgspec.Struct, frozen=True):
    """All of it: `stored` the newest data first, `promotions` the present champion last, `announced` the newest word first."""

    champion: str | None
    stored: list[Card]
    promotions: list[Promoted]
    announced: list[ModelAnnouncement]


def known_models(settings: Settings, announced: Sequence[ModelAnnouncement]) -> Models:
    """Return what is known; where the store is damaged or elsewhere, the announcements alone say who serves."""
    promotions: list[Any] = []
    with contextlib.suppress(ModelError):
        promotions = registry.promotions(settings, NAME)
    cards = [
        Card(card.model_id, card.data_cutoff_ts_us, card.window, card.horizons_min, card.metrics)
        for card in registry.stored(settings, NAME)[:MAX_CARDS]
    ]
    champion = next((word.model_id for word in announced if word.promoted), promotions[-1].model_id if promotions else None)
    return Models(champion, cards, [Promoted(one.model_id, one.reason) for one in promotions], list(announced))
