"""Every topic: its message, key, partitions, retention and compaction, declared once and created from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streams import messages
from streams.messages import Message

DAY_MS = 24 * 60 * 60 * 1_000
DEAD_LETTER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the contract.

    Attributes
    ----------
    name : str
        Without the namespace prefix; see :meth:`streams.settings.Settings.topic`.
    message : type[Message]
        What its values hold.
    key : str
        What its keys are, in words.
    spread : bool
        True where the topic has `Settings.partitions` partitions; False where it has one.
    retention_ms : int
        How long the broker keeps a record, by the broker's own clock; -1 for ever.
    """

    name: str
    message: type[Message]
    key: str
    purpose: str
    spread: bool = True
    retention_ms: int = 7 * DAY_MS
    cleanup: Literal["delete", "compact"] = "delete"
    max_message_bytes: int = 1024 * 1024

    def configs(self) -> dict[str, str]:
        """Return the broker's settings of this topic."""
        common = {"cleanup.policy": self.cleanup, "max.message.bytes": str(self.max_message_bytes)}
        if self.cleanup == "compact":
            return common
        return common | {"retention.ms": str(self.retention_ms)}


_TOPICS = (
    Topic("ticks", messages.Tick, "symbol", "Trades, and the closings that end their minutes."),
    Topic("headlines", messages.Headline, "headline id", "News, and closings sent to every partition."),
    Topic("sentiment", messages.Sentiment, "symbol", "What each headline means for each symbol that it names."),
    Topic("features", messages.Features, "symbol", "Minute bars with rolling features; the highest revision counts."),
    Topic("forecasts", messages.Forecast, "symbol", "Prices expected 1, 5 and 15 minutes ahead, with intervals."),
    Topic("scores", messages.Score, "symbol", "Matured forecasts against what came and against a random walk."),
    Topic("models", messages.ModelAnnouncement, "model name", "Which model serves, and why.", spread=False, cleanup="compact"),
    Topic(
        "dead_letters",
        messages.DeadLetter,
        "source topic",
        "Whatever a stage could not use, with its bytes and the reason.",
        spread=False,
        retention_ms=30 * DAY_MS,
        max_message_bytes=DEAD_LETTER_BYTES,
    ),
    Topic(
        "calibration",
        messages.Calibration,
        "symbol, horizon and model",
        "State of the intervals' calibration.",
        cleanup="compact",
    ),
    Topic("events", messages.Event, "kind", "Status of the processes, alerts, drift, audit counts.", spread=False),
    Topic(
        "control",
        messages.Control,
        "command id",
        "Orders: replay, retrain, promote, roll back, redrive.",
        spread=False,
        retention_ms=31 * DAY_MS,  # longer than dead letters are kept: it says which were redriven
    ),
)

TOPICS: Mapping[str, Topic] = {topic.name: topic for topic in _TOPICS}
