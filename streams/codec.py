"""Messages to bytes and back: JSON by msgspec, strict about types, lenient about unknown fields."""

from __future__ import annotations

import base64
from functools import cache
from typing import TypeVar

import msgspec

from streams.errors import BadMessage
from streams.messages import DeadLetter, Message

M = TypeVar("M", bound=Message)

_encoder = msgspec.json.Encoder()


@cache
def _decoder(kind: type[M]) -> msgspec.json.Decoder[M]:
    return msgspec.json.Decoder(kind)


def encode(message: Message) -> bytes:
    """Return `message` as JSON bytes; fields in their declared order, so equal messages are equal bytes."""
    return _encoder.encode(message)


def decode(kind: type[M], value: bytes | None) -> M:
    """Return the message that `value` holds.

    Raises
    ------
    BadMessage
        Not JSON, a missing or mistyped field, a number out of its range, or an unknown version.
    """
    if value is None:
        raise BadMessage("the message has no value", "no_value")
    try:
        if not value.isascii():
            value.decode()  # msgspec passes over unknown fields without a look at their bytes
        message: M = _decoder(kind).decode(value)
    except msgspec.ValidationError as error:
        raise BadMessage(str(error), "contract") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadMessage(str(error), "not_json") from error
    except RecursionError as error:  # unknown fields are skipped by recursion, so anybody can nest them too deep
        raise BadMessage("the JSON is nested too deep", "not_json") from error
    return message


def dead_letter(  # noqa: PLR0913 - a dead letter names its whole origin
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    stage: str,
    error: Exception,
    timestamp_us: int = 0,
    headers: dict[str, str] | None = None,
) -> DeadLetter:
    """Return the dead letter of one record that `stage` could not use, its bytes whole."""
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        stage=stage,
        error_class=error.error_class if isinstance(error, BadMessage) else type(error).__name__,
        message=str(error),
        value_base64=base64.b64encode(value or b"").decode(),
        key_base64=None if key is None else base64.b64encode(key).decode(),
        headers=headers or {},
        timestamp_us=timestamp_us,
    )
