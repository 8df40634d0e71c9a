"""Live sources in tests are as impatient as tests are."""

from __future__ import annotations

import pytest

from streams.clock import SECOND_US


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what live sources wait for."""
    for name, seconds in {"ASK_AGAIN_US": 0.3, "REPORT_US": 0.1, "HOLE_US": 0.2, "SETTLE_US": 0.3}.items():
        monkeypatch.setattr(f"producers.live.{name}", round(seconds * SECOND_US))
    monkeypatch.setattr("producers.live.ROUND_S", 0.02)
