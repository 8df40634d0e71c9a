"""Fixtures that every part of the suite shares: a real broker, and a namespace of topics for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import triton  # noqa: F401 - PyTorch's compiler; loaded after TensorFlow, as some orders of tests would, it aborts the process

from deploy.local import broker as local_broker
from streams import bus, settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real embedded broker on a free port, started once a run."""
    with local_broker.running(settings.load({}), tmp_path_factory.mktemp("broker")) as running:
        yield running.address


@pytest.fixture
def config(broker: str, tmp_path: Path) -> settings.Settings:
    """Return settings with a home and topics of the test's own; the topics exist."""
    own = msgspec.structs.replace(
        settings.load({}), home=tmp_path / "home", broker=broker, topic_prefix=f"t{uuid.uuid4().hex[:8]}.", offline=True
    )
    bus.ensure_topics(own)
    return own


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder with real market data, or skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real market data is not here ({SHARED_DATA} is absent)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sentiment_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that keeps the exported sentiment models of this run: an export takes seconds."""
    return tmp_path_factory.mktemp("sentiment_cache")
