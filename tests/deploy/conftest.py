"""What several tests of `deploy` share, because it takes a Spark session and a minute to make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl
import pytest

from deploy.verify import controls, lookahead, markets
from producers.base import Event
from streams import settings
from streams.settings import Settings

Rows = dict[str, pl.DataFrame]
LOOKAHEAD_SEED = 1


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Return the feature rows of the markets of both honesty checks, in their quick form, made in one batch of Spark."""
    own = settings.load({}, home=tmp_path_factory.mktemp("simulated"), sentiment="minilm", offline=True)
    return markets.rows(own, controls.happenings(controls.QUICK) | lookahead.happenings(lookahead.QUICK, LOOKAHEAD_SEED))


@pytest.fixture
def made(simulated: Rows, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Have the checks take the rows of `simulated` where they would make them again; return those."""

    def taken(_settings: Settings, happenings: Mapping[str, Iterable[Event]]) -> Rows:
        return {name: simulated[name] for name in happenings}

    monkeypatch.setattr(markets, "rows", taken)
    return simulated
