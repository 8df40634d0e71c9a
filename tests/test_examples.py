"""The programs in examples/ run as they stand, against topics as a reader has them: without a namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deploy.local import jars
from streams import bus
from streams.settings import Settings
from tests.consumers.console.samples import forecast, score, sent

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def plain(config: Settings) -> Settings:
    """Return settings of topics without a namespace, that hold a forecast twice and its score."""
    own = msgspec.structs.replace(config, topic_prefix="")
    bus.ensure_topics(own)
    with bus.producing(own) as client:
        bus.send_all(client, own, map(sent, [forecast(7, provisional=True), forecast(7), forecast(7), score(7)]))
    return own


def has_compiler(config: Settings) -> bool:
    """Return whether this Java runs source files; a JRE does not."""
    modules = subprocess.run([jars.java(config), "--list-modules"], capture_output=True, text=True, check=True).stdout
    return "jdk.compiler" in modules


def lines_until(command: list[str], own: Settings, wanted: str) -> list[str]:
    """Run a program that never ends, until it has printed `wanted`; return its lines."""
    variables = os.environ | own.environment() | {"PYTHONPATH": str(EXAMPLES.parent)}
    seen: list[str] = []
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        for line in program.stdout:
            seen.append(line.strip())
            if wanted in line:
                break
        program.kill()
    return seen


@pytest.mark.timeout(60)
def test_python(plain: Settings) -> None:
    file = EXAMPLES / "print_forecasts.py"
    assert len(file.read_text().splitlines()) < 15
    made = forecast(7)
    low, high = made.quantiles["0.1"], made.quantiles["0.9"]
    wanted = f"AAPL in 5 min: {made.mean:.2f}, {low:.2f} to {high:.2f}"
    assert lines_until([sys.executable, str(file)], plain, wanted).count(wanted) == 1


@pytest.mark.timeout(60)
def test_python_async(plain: Settings) -> None:
    wanted = "AAPL, lstm-1: not nearer than the random walk"
    assert wanted in lines_until([sys.executable, str(EXAMPLES / "print_scores_async.py")], plain, wanted)


@pytest.mark.timeout(90)
def test_java(plain: Settings) -> None:
    if not has_compiler(plain):
        pytest.skip("this Java is a JRE: a JDK (Debian: openjdk-17-jdk-headless) runs source files")
    class_path = str(jars.folder(plain, "broker") / "*")
    command = [jars.java(plain), "-cp", class_path, str(EXAMPLES / "PrintForecasts.java"), plain.broker]
    wanted = f"AAPL in 5 min: {forecast(7).mean:.2f}"
    assert lines_until(command, plain, wanted)[-1] == wanted
