"""Which networks make outlooks: those that were promoted last, else the ones that are shipped."""

from __future__ import annotations

import logging
from collections.abc import Callable

from models import registry
from models.follower import ModelFollower
from models.outlook.estimator import Estimator
from models.outlook.pretrained import NAME
from streams.errors import ModelError
from streams.messages import ModelAnnouncement
from streams.settings import Settings

log = logging.getLogger(__name__)


def champion(settings: Settings) -> Callable[[], Estimator]:
    """Return what answers with the networks to use now: it follows `models`, or where no broker is set looks into the store.

    Networks that cannot be used leave those in place that were.

    Raises
    ------
    EnvironmentFault
        The broker that is set does not answer.
    """
    if not settings.broker:
        return Stored(settings)
    shipped = Estimator()
    follower: ModelFollower[Estimator] = ModelFollower(NAME, _announced)
    follower.start(settings)
    return lambda: follower.current() or shipped


class Stored:
    """The networks that the store's list of promotions names last; for one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held = Estimator()

    def __call__(self) -> Estimator:
        """Return them; only after a promotion is more read than that list."""
        try:
            past = registry.promotions(self._settings, NAME)
            if past and past[-1].model_id != self._held.model_id:
                self._held = Estimator(registry.find(self._settings, NAME, past[-1].model_id).served)
        except ModelError as error:
            log.warning("the networks in place stay: %s", error)
        return self._held


def _announced(word: ModelAnnouncement) -> Estimator:
    return Estimator(registry.load(word.uri, word.sha256).served)
