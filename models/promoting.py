"""What a person does to the choice of the champion: promote, roll back, shadow. Announced where a broker is set."""

from __future__ import annotations

import msgspec

from models import registry, tracking
from models.forecaster.recurrent_recipe import NAME as FORECASTER
from models.registry import StoredModel
from streams import bus
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings


def promote(settings: Settings, model_id: str, reason: str) -> ModelAnnouncement:
    """Make a stored model the champion.

    Raises
    ------
    ModelError
        There is none with that id, or it is damaged.
    EnvironmentFault
        The models' record is down; nothing has changed.
    """
    name = registry.name_of(settings, model_id)
    model = registry.find(settings, name, model_id)
    tracking.name_champion(settings, name, model_id)
    registry.promote(settings, model, reason)
    return _announced(settings, model.announcement(promoted=True, reason=reason))


def rollback(settings: Settings, name: str, reason: str) -> ModelAnnouncement:
    """Make the predecessor of the champion called `name` the champion: the last one before it that was another model.

    Raises
    ------
    ModelError
        There is no predecessor, or it is damaged.
    EnvironmentFault
        As :func:`promote`.
    """
    past = registry.promotions(settings, name)
    others = [one.model_id for one in past if one.model_id != past[-1].model_id]
    if not others:
        raise ModelError("there is no champion before this one to go back to; `tickcast models promote ID` takes any other")
    return promote(settings, others[-1], reason)


def shadow(settings: Settings, model_id: str, *, on: bool) -> ModelAnnouncement:
    """Let a stored forecaster forecast beside the champion, or end that.

    Raises
    ------
    ModelError
        There is none with that id, or it is damaged.
    """
    model: StoredModel = registry.find(settings, FORECASTER, model_id)
    reason = "it forecasts beside the champion, as challenger" if on else "it forecasts no more beside the champion"
    announcement = model.announcement(promoted=False, reason=reason)
    return _announced(settings, msgspec.structs.replace(announcement, shadow=on))


def _announced(settings: Settings, announcement: ModelAnnouncement) -> ModelAnnouncement:
    if settings.broker:
        if announcement.promoted and announcement.name == FORECASTER:
            announcement = registry.scheduled(settings, announcement)
        with bus.producing(settings) as client:
            registry.announce(settings, announcement, client)
    return announcement
