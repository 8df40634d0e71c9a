"""The generated documents follow the code, and are what their formats ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy import documents
from streams import codec
from streams.topics import TOPICS, Topic
from tests.streams.strategies import SAMPLES

# asyncapi3 names fields of its own models `schema`, of which pydantic complains
pytestmark = pytest.mark.filterwarnings("ignore:Field name .schema. in:UserWarning")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    documents.write(tmp_path)
    return tmp_path


@pytest.fixture
def described(written: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((written / "asyncapi.yaml").read_text())
    return loaded


def validate_asyncapi(document: dict[str, Any]) -> None:
    from asyncapi3 import AsyncAPI3  # type: ignore[import-untyped] # noqa: PLC0415 - under this test's filter of warnings

    AsyncAPI3.model_validate(document)


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(child)


def resolve(document: object, pointer: str) -> object:
    for part in pointer.removeprefix("#/").split("/"):
        assert isinstance(document, dict)
        document = document[part]
    return document


def test_the_documents_in_the_repository_are_what_the_code_says() -> None:
    assert documents.stale() == []


def test_fresh_documents_pass_the_check(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert documents.main(["--check"], written) == 0
    assert capsys.readouterr().err == ""


def test_the_check_names_what_is_changed_missing_or_left_over(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (written / "topics.md").write_text("an older table")
    (written / "schemas" / "Tick.json").unlink()
    (written / "schemas" / "Gone.json").write_text("{}")
    assert documents.main(["--check"], written) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "schemas/Gone.json, schemas/Tick.json, topics.md" in said


def test_writing_again_mends_everything(written: Path) -> None:
    (written / "schemas" / "Gone.json").write_text("{}")
    (written / "asyncapi.yaml").unlink()
    assert documents.main([], written) == 0
    assert documents.stale(written) == []


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_a_schema_takes_what_the_codec_takes_and_refuses_what_it_refuses(topic: Topic, written: Path) -> None:
    schema = json.loads((written / "schemas" / f"{topic.message.__name__}.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    sample = json.loads(codec.encode(SAMPLES[topic.message]))
    validator.validate(sample)
    validator.validate(sample | {"a_later_field": 1})
    assert not validator.is_valid(sample | {"v": 2})
    for name in schema["required"]:
        assert not validator.is_valid({key: value for key, value in sample.items() if key != name})
        assert not validator.is_valid(sample | {name: [["neither"]]})


def test_the_asyncapi_document_is_one(described: dict[str, Any]) -> None:
    validate_asyncapi(described)
    assert described["asyncapi"] == "3.0.0"


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("#/channels/ticks", "adress", "ticks"),
        ("#/operations/send_ticks", "action", "publish"),
        ("#/components/messages/Tick", "paylod", {}),
        ("#/channels/ticks/bindings/kafka/topicConfiguration", "cleanup.policy", "delete"),
    ],
)
def test_the_asyncapi_validator_refuses_a_planted_error(described: dict[str, Any], place: str, key: str, value: object) -> None:
    planted = resolve(described, place)
    assert isinstance(planted, dict)
    planted[key] = value
    with pytest.raises(ValueError, match=key):
        validate_asyncapi(described)


def test_every_reference_of_the_asyncapi_document_leads_somewhere(described: dict[str, Any], written: Path) -> None:
    found = set(references(described))
    assert len(found) >= 3 * len(TOPICS)
    for reference in found:
        if reference.startswith("#/"):
            assert resolve(described, reference)
        else:
            assert (written / reference).is_file()


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda topic: topic.name)
def test_a_channel_declares_the_topic_as_the_broker_gets_it(topic: Topic, described: dict[str, Any]) -> None:
    kafka = described["channels"][topic.name]["bindings"]["kafka"]
    configuration = {
        key: ",".join(value) if isinstance(value, list) else str(value) for key, value in kafka["topicConfiguration"].items()
    }
    assert configuration == topic.configs()
    assert kafka["partitions"] == (2 if topic.spread else 1)


def test_the_table_for_people_names_every_topic_and_every_field(written: Path) -> None:
    table = (written / "topics.md").read_text()
    for topic in TOPICS.values():
        assert f"| `{topic.name}` | {topic.key} |" in table
        assert all(f"| `{name}` |" in table for name in topic.message.__struct_fields__)
