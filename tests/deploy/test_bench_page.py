"""The bench of the page in a real Chromium: its second part, short; and what counts as held."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deploy import bench_page
from streams.settings import Settings
from tests.pipeline import tickcast


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here: install the package `chromium`")
def test_it_watches_the_memory_of_the_console_and_of_the_page(config: Settings, tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    done = tickcast(config, "bench", "page", "--seconds", "0", "--minutes", "8", "--json", str(report), timeout_s=380)
    figures = json.loads(report.read_text())
    assert all(len(figures["growth"][name]) == 3 and min(figures["growth"][name]) > 1 for name in ("console_mib", "page_mib"))
    assert done.returncode == (0 if figures["holds"] else 1)  # how this machine is now is not what is tested


def test_what_holds() -> None:
    assert bench_page.pixels([100.0] * 99, [900.0])["holds"]
    assert not bench_page.pixels([160.0] * 99, [900.0])["holds"]
    assert not bench_page.pixels([100.0] * 90 + [400.0] * 10, [900.0])["holds"]
    assert not bench_page.pixels([100.0] * 99, [900.0, 1_600.0])["holds"]
    flat = [{"console_mib": 100.0, "page_mib": 10.0}] * 3
    assert bench_page.growth(flat)["holds"]
    assert not bench_page.growth([*flat[:2], {"console_mib": 100.0, "page_mib": 12.0}])["holds"]
