"""When a cold start has enough history of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from deploy import first_model
from models.forecaster.windows import WINDOW
from models.training.dataset import LONGEST
from streams import settings
from tests.models.forecaster.samples import rows
from tests.models.training.lakes import fill


@pytest.mark.parametrize(("minutes", "windows"), [(0, 0), (5, 0), (WINDOW + LONGEST, 1), (WINDOW + LONGEST + 30, 31)])
def test_windows_are_counted_and_a_young_lake_has_none(tmp_path: Path, minutes: int, windows: int) -> None:
    own = msgspec.structs.replace(settings.load({}), home=tmp_path)
    if minutes:
        fill(own, rows(minutes))
    assert first_model.windows_in_lake(own) == windows
