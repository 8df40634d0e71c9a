"""Messages to bytes and back: nothing is lost, and whatever breaks the contract is a BadMessage of the right class."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import codec
from streams.errors import BadMessage
from streams.messages import Message, Sentiment, Tick
from streams.topics import TOPICS
from tests.streams.strategies import SAMPLES, as_json, message_of

KINDS = pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: kind.__name__)
GOOD = codec.encode(SAMPLES[Tick])


def refusal(kind: type[Message], value: bytes | None) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        codec.decode(kind, value)
    assert str(caught.value)
    return caught.value


def refuse_fields(kind: type[Message], fields: dict[str, object]) -> BadMessage:
    return refusal(kind, json.dumps(fields).encode())


@KINDS
@given(data=st.data())
def test_what_is_encoded_is_decoded_unchanged(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(message_of(kind))
    value = codec.encode(message)
    assert codec.decode(kind, value) == message
    assert codec.encode(codec.decode(kind, value)) == value


@KINDS
@given(unknown=st.dictionaries(st.text().map("later_".__add__), st.integers() | st.text() | st.lists(st.none()), min_size=1))
def test_unknown_fields_are_ignored(kind: type[Message], unknown: dict[str, object]) -> None:
    assert codec.decode(kind, json.dumps(as_json(kind) | unknown).encode()) == SAMPLES[kind]


@KINDS
def test_fields_with_a_default_may_be_absent_and_all_others_may_not(kind: type[Message]) -> None:
    for field in msgspec.structs.fields(kind):
        # only a closing may come without its probabilities and score
        closing = {"closes": True, "partitions": 1} if field.name.startswith("p_") or field.name == "score" else {}
        rest = {name: value for name, value in (as_json(kind) | closing).items() if name != field.name}
        if field.required:
            error = refuse_fields(kind, rest)
            assert (error.error_class, field.name in str(error)) == ("contract", True)
        else:
            assert codec.decode(kind, json.dumps(rest).encode()).v == 1


@KINDS
def test_a_field_of_another_type_breaks_the_contract(kind: type[Message]) -> None:
    for name in as_json(kind):
        error = refuse_fields(kind, as_json(kind) | {name: [["neither"]]})
        assert error.error_class == "contract"
        assert name in str(error)


@KINDS
@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_an_unknown_version_breaks_the_contract(kind: type[Message], version: object) -> None:
    error = refuse_fields(kind, as_json(kind) | {"v": version})
    assert error.error_class == "contract"
    assert "$.v" in str(error)


@pytest.mark.parametrize("price", [0, -1, -0.01, 1e12, 1e400, "12", None, True])
def test_an_impossible_price_breaks_the_contract(price: object) -> None:
    wrong = json.dumps(price).replace("Infinity", "1e400").encode()
    assert refusal(Tick, GOOD.replace(b"585.33", wrong)).error_class == "contract"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"nan", b"1,5", b"1x10", b".5", b"+1"])
def test_a_number_that_json_does_not_have_is_not_json(number: bytes) -> None:
    assert refusal(Tick, GOOD.replace(b"585.33", number)).error_class == "not_json"


@KINDS
def test_a_truncated_message_is_not_json_wherever_it_ends(kind: type[Message]) -> None:
    value = codec.encode(SAMPLES[kind])
    assert {refusal(kind, value[:end]).error_class for end in range(len(value))} == {"not_json"}


@pytest.mark.parametrize(
    "value",
    [
        GOOD.replace(b"AAPL", b"AAP\xff"),
        GOOD.replace(b"AAPL", rb"\ud800"),
        GOOD.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + GOOD,
        GOOD + GOOD,
        b"AAPL,585.33,100",
        b"\x00\x00\x00\x00\x01avro",
    ],
    ids=["invalid utf-8", "lone surrogate", "utf-16", "byte order mark", "two messages", "csv", "schema registry"],
)
def test_bytes_that_are_not_json_in_utf8_are_refused(value: bytes) -> None:
    assert refusal(Tick, value).error_class == "not_json"


@pytest.mark.parametrize("value", [b"null", b"[]", b"1", b'"text"', b"true"])
def test_json_that_is_not_an_object_breaks_the_contract(value: bytes) -> None:
    assert refusal(Tick, value).error_class == "contract"


@pytest.mark.parametrize(
    "wrong",
    [
        {"p_neutral": 0.0},
        {"p_positive": 0.9},
        {"p_positive": 0, "p_negative": 0, "p_neutral": 0},
        {"closes": True},
        {"closes": True, "partition": 2, "partitions": 2},
    ],
)
def test_a_sentiment_that_would_be_silently_neutral_or_close_nothing_breaks_the_contract(wrong: dict[str, object]) -> None:
    assert refuse_fields(Sentiment, as_json(Sentiment) | wrong).error_class == "contract"


def test_a_tombstone_has_a_class_of_its_own() -> None:
    assert refusal(Tick, None).error_class == "no_value"


def test_an_unknown_field_nested_without_end_is_refused_and_does_not_stop_the_stage() -> None:
    bomb = GOOD[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refusal(Tick, bomb).error_class == "not_json"


@given(value=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_bad_message(value: bytes) -> None:
    for kind in SAMPLES:
        try:
            codec.decode(kind, value)
        except BadMessage as error:
            assert error.error_class in {"not_json", "contract"}


@given(key=st.none() | st.binary(), value=st.binary(), offset=st.integers(0, 2**63 - 1))
def test_a_dead_letter_holds_the_record_whole(key: bytes | None, value: bytes, offset: int) -> None:
    error = BadMessage("why", "contract")
    letter = codec.dead_letter(topic="ticks", partition=1, offset=offset, key=key, value=value, stage="stream", error=error)
    assert codec.decode(type(letter), codec.encode(letter)) == letter
    assert base64.b64decode(letter.value_base64) == value
    assert (letter.key_base64 is None) == (key is None)
    assert base64.b64decode(letter.key_base64 or "") == (key or b"")
    assert (letter.error_class, letter.message, letter.offset) == ("contract", "why", offset)


def test_a_dead_letter_of_another_error_is_counted_by_its_type() -> None:
    letter = codec.dead_letter(topic="ticks", partition=0, offset=0, key=None, value=b"", stage="s", error=ZeroDivisionError("0"))
    assert letter.error_class == "ZeroDivisionError"


def test_the_dead_letter_of_the_largest_message_fits_its_topic() -> None:
    largest = max(topic.max_message_bytes for name, topic in TOPICS.items() if name != "dead_letters")
    letter = codec.dead_letter(
        topic="ticks",
        partition=0,
        offset=0,
        key=b"k" * 1000,
        value=b"\xff" * largest,
        stage="stream",
        error=BadMessage("x" * 1000),
        headers={"a": "b" * 1000},
    )
    assert len(codec.encode(letter)) < TOPICS["dead_letters"].max_message_bytes
