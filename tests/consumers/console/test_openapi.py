"""Schemathesis asks of the OpenAPI document whatever it allows, and what it does not: nothing of it may make the console fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance, unsupported_method

from consumers.console import guard
from streams.settings import Secret, Settings
from streams.testing import eventually
from tests.consumers.console.conftest import Produce, serving
from tests.consumers.console.samples import bar, forecast, headline, score, sentiment, status
from tests.consumers.console.test_outlook import listed
from tests.consumers.console.test_rest import got
from tests.models.outlook.samples import model_file

pytestmark = pytest.mark.timeout(240)

# Starlette's 405 says nothing in a body; on loopback reading is free, so no token is no refusal; JSON Schema takes 1.0 for an
# integer, we do not.
UNSAID = [unsupported_method, ignored_auth, positive_data_acceptance]


@pytest.fixture
def document(config: Settings, produce: Produce, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Return the document of a console that has read a little of everything and takes orders, however many questions come."""
    monkeypatch.setattr(guard, "PER_S", 1e6)
    monkeypatch.setattr(guard, "BURST", 1e6)
    produce(bar(0), forecast(0), score(0), headline(1), sentiment(1), status("produce", detail="replay:x", speed_milli=1))
    produce(status("steward"), status("retrain"))
    outlooks = listed(model_file(tmp_path))
    with serving(msgspec.structs.replace(config, console_token=Secret("secret")), outlooks=outlooks) as address:
        eventually(lambda: len(got(address, "/v1/health")["health"]["roles"]) == 4)
        yield schemathesis.openapi.from_url(f"{address}/v1/openapi.json", config=SchemathesisConfig(seed=7)).exclude(
            path="/v1/stream"  # it never ends
        )


ASKED = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
def test_whatever_is_asked_is_answered_as_the_document_says(document: Any, mode: GenerationMode) -> None:
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 25
    for operation in operations:

        @ASKED
        @given(case=operation.as_strategy(generation_mode=mode))
        def asked(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers={"Authorization": "Bearer secret"}, excluded_checks=UNSAID)

        with suppress(Unsatisfiable):  # there is nothing that the operation does not allow
            asked()
