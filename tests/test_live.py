"""`tickcast up` as a user starts it: embedded broker, simulated market, every role, and the page in a real browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import psutil
import pytest
from playwright.sync_api import Page, expect

from deploy.local.broker import free_port
from streams.settings import Settings, load
from streams.testing import eventually
from tests.consumers.console.test_page import ARTIFACTS, CHROMIUM, browser, page
from tests.pipeline import tickcast

__all__ = ["browser", "page"]  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Up:
    """A running `tickcast up`."""

    def __init__(self, settings: Settings, log: IO[bytes], *arguments: str) -> None:
        variables = os.environ | settings.environment()
        command = [sys.executable, "-m", "deploy", "up", *arguments]
        self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=90)


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Return settings with a home and a page of the test's own, and an embedded broker."""
    config = load({}, home=tmp_path / "home", console_port=free_port(), symbols="AAPL,MSFT")
    return msgspec.structs.replace(config, offline=True)


@pytest.fixture
def up(own: Settings, tmp_path: Path) -> Iterator[Up]:
    """Start everything on the simulated market; whatever a test leaves is stopped."""
    with (tmp_path / "up.log").open("wb") as log:
        running = Up(own, log, "--rate", "20")
        yield running
        if running.process.poll() is None:
            running.interrupt()


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium here: install the package `chromium`")
def test_the_page_shows_forecasts_a_dead_role_comes_back_and_ctrl_c_leaves_nothing(up: Up, own: Settings, page: Page) -> None:
    address = f"http://127.0.0.1:{own.console_port}"
    eventually(lambda: tickcast(own, "doctor", "--role", "console").returncode == 0, 120)
    page.goto(address)
    expect(page.locator("#mode")).to_have_text("SIMULATED", timeout=60_000)
    expect(page.locator("#price")).to_have_text(re.compile(r"\d+\.\d\d"), timeout=120_000)
    expect(page.locator("#chart-summary")).to_contain_text("orecast", timeout=60_000)
    kill_and_see_it_return(up)
    page.screenshot(path=ARTIFACTS / "live.png")
    see_every_tab(page)
    page.goto("about:blank")  # its console goes now, and that is no complaint
    left = up.children()
    assert up.interrupt() == 0
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []


def see_every_tab(page: Page) -> None:
    """Open each tab on the running pipeline, and keep a picture of it."""
    for tab in ("Skill", "Pipeline", "Models", "Replay", "Outlook"):
        page.get_by_role("link", name=tab, exact=True).click()
        expect(page.locator(f"#tab-{tab.lower()}")).to_be_visible()
        if tab == "Pipeline":
            expect(page.locator("#lags tbody tr", has_text="forecast")).not_to_have_count(0, timeout=20_000)
            expect(page.locator("#topics tbody tr", has_text="ticks").first).not_to_contain_text("0.0", timeout=20_000)
        page.screenshot(path=ARTIFACTS / f"live-{tab.lower()}.png")


def kill_and_see_it_return(up: Up) -> None:
    """Kill -9 the scorer and wait for its successor."""

    def scorers() -> set[int]:
        living = [child for child in up.children() if child.status() != psutil.STATUS_ZOMBIE]
        return {child.pid for child in living if "score" in child.cmdline()}

    first = eventually(scorers, 120)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: scorers() - first, 60)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("up", "--replay", "/no/such/folder"), "does not exist"),
        (("up", "--source", "moon"), "there is no source 'moon'"),
        (("up", "--speed", "fast"), "--speed is a number above 0 or max"),
        (("up", "--until-drained"), "--until-drained needs a tape"),
        (("tail", "nothing"), "there is no topic 'nothing'"),
        (("topics",), "no broker runs here"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(own: Settings, arguments: tuple[str, ...], says: str) -> None:
    done = tickcast(own, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_missing_java_is_one_sentence(own: Settings) -> None:
    done = tickcast(msgspec.structs.replace(own, java_home="/no/java"), "up", "--headless")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "Java 17 or newer is needed" in done.stderr


def test_a_taken_broker_port_is_one_sentence(own: Settings, broker: str) -> None:
    taken = int(broker.rpartition(":")[2])
    done = tickcast(msgspec.structs.replace(own, broker_port=taken), "up", "--headless")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert f"port {taken} is taken" in done.stderr
