"""What every training shares, whatever it trains: one at a time, telling how it goes, and carrying out what was decided."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator

import msgspec
from kafka import KafkaProducer

from models import registry
from models.registry import StoredModel
from streams import bus
from streams.errors import EnvironmentFault, TickcastError
from streams.messages import ModelAnnouncement, State
from streams.settings import Settings

Say = Callable[[State, str, dict[str, int]], None]
ROLE = "train"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the challenger takes over, why in words, and the numbers that it was decided by."""

    promoted: bool
    reason: str
    metrics: dict[str, float]


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home's trainings, and clear away what a killed one left half written.

    Raises
    ------
    EnvironmentFault
        Another process holds it.
    """
    folder = settings.home / "training"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentFault(f"another training runs in {settings.home}; wait for its end") from error
        registry.tidy(settings)
        yield


@contextlib.contextmanager
def reporting(settings: Settings) -> Iterator[tuple[KafkaProducer | None, Say]]:
    """Yield a producer and a way to say how it goes, or None and silence where no broker is set."""
    if not settings.broker:
        yield None, lambda _state, _detail, _counts: None
        return
    client = bus.producer(settings)
    reporter = bus.StatusReporter(settings, ROLE, client)
    try:
        yield client, reporter.say
    except TickcastError as error:
        reporter.say("failed", str(error))
        raise
    finally:
        client.flush()
        client.close()


def already(settings: Settings, champion: StoredModel | None, model_id: str) -> Decision | None:
    """Return the decision that made the challenger `model_id` the `champion` before its training was killed; else None."""
    if champion is None or champion.card.model_id != model_id:
        return None
    reason = registry.promotions(settings, champion.card.name)[-1].reason
    return Decision(promoted=True, reason=reason, metrics=champion.card.metrics)


def told(model: StoredModel, decision: Decision, uri: str) -> ModelAnnouncement:
    """Return what to announce of `model`, which others find at `uri`."""
    announcement = model.announcement(promoted=decision.promoted, reason=decision.reason)
    return msgspec.structs.replace(announcement, uri=uri, metrics=model.card.metrics | decision.metrics)


def carry_out(settings: Settings, model: StoredModel, announcement: ModelAnnouncement, client: KafkaProducer | None) -> None:
    """Make `model` champion where the announcement says so, and announce it where there is a `client`."""
    if announcement.promoted:
        registry.promote(settings, model, announcement.reason)
    if client is not None:
        of_minutes = announcement.promoted and bool(model.card.horizons_min)
        registry.announce(settings, registry.scheduled(settings, announcement) if of_minutes else announcement, client)
