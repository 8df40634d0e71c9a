"""The contract itself: bounds that hold, closings, frozen messages, and old bytes that still decode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams import codec, messages
from streams.errors import BadMessage
from streams.messages import Message
from streams.topics import TOPICS
from tests.streams.strategies import SAMPLES, as_json

KINDS = pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
GOLDEN = Path(__file__).parent / "golden" / "v1.jsonl"
OLD = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def properties(kind: type[Message]) -> dict[str, dict[str, Any]]:
    _, components = msgspec.json.schema_components((kind,))
    found: dict[str, dict[str, Any]] = components[kind.__name__]["properties"]
    return found


def just_outside(field: dict[str, Any]) -> Iterator[object]:
    """Yield values that are one step beyond each declared bound of `field`."""
    for part in field.get("anyOf", [field]):
        steps = {"minimum": -1, "maximum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
        yield from (part[bound] + step for bound, step in steps.items() if bound in part)
        yield from ("x" * (part["minLength"] - 1) for _ in range("minLength" in part))
        yield from ("x" * (part["maxLength"] + 1) for _ in range("maxLength" in part))
        yield from ("not one of them" for _ in range("enum" in part or "pattern" in part))


def test_every_struct_of_the_contract_has_a_topic_and_a_sample() -> None:
    declared = set(Message.__subclasses__())
    assert declared == {topic.message for topic in TOPICS.values()} == set(SAMPLES)
    assert len(declared) == 11


@KINDS
def test_a_value_just_outside_its_bounds_breaks_the_contract(kind: type[Message]) -> None:
    cases = [(name, value) for name, field in properties(kind).items() for value in just_outside(field)]
    assert cases
    for name, value in cases:
        with pytest.raises(BadMessage) as caught:
            codec.decode(kind, json.dumps(as_json(kind) | {name: value}).encode())
        assert caught.value.error_class == "contract", (name, value)


@KINDS
def test_every_number_of_events_prices_and_probabilities_is_bounded(kind: type[Message]) -> None:
    bounded = {name for name, field in properties(kind).items() if list(just_outside(field))}
    asked = {name for name in properties(kind) if name.endswith("_ts_us") or "price" in name or name.startswith(("p_", "prob_"))}
    assert asked <= bounded


@KINDS
def test_messages_are_frozen(kind: type[Message]) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        SAMPLES[kind].v = 1  # type: ignore[misc] # that is the point


@KINDS
def test_field_names_carry_no_processing_time_unless_they_tell_of_machinery(kind: type[Message]) -> None:
    walls = [name for name in kind.__struct_fields__ if "wall" in name]
    assert bool(walls) == (kind in {messages.Event, messages.Control})


def test_the_golden_file_has_every_type() -> None:
    assert {old["topic"] for old in OLD} == set(TOPICS)


@pytest.mark.parametrize("old", OLD, ids=lambda old: str(old["case"]))
def test_old_bytes_still_decode_to_what_they_said(old: dict[str, str]) -> None:
    message = msgspec.to_builtins(codec.decode(TOPICS[old["topic"]].message, old["value"].encode()))
    said = json.loads(old["value"])
    assert {name: message[name] for name in said if name in message} == {
        name: value for name, value in said.items() if name != "from_a_later_version"
    }
