"""`tickcast verify faults` and `verify all`: kills and stalls change nothing, and what changed would be seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deploy.cli import app
from deploy.verify import everything, faults, said
from deploy.verify.said import Item
from streams.errors import SettingsError
from streams.testing import eventually
from tests.deploy.conftest import MINUTES, SYMBOLS, Ran, logs_of
from tests.pipeline import tickcast


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_stalled_roles_and_a_killed_broker_change_nothing(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    arguments = ("verify", "faults", "--tape", str(ran.folder), "--quick", "--kills", "3", "--seed", "4", "--json", str(path))
    done = tickcast(ran.own, *arguments, timeout_s=800)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(logs_of(ran.own))
    figures = json.loads(path.read_text())
    assert figures["kills"]["broker"] == 1
    assert sum(figures["kills"].values()) == 3
    assert sum(figures["cuts"].values()) == 1
    assert figures["differing"] == 0
    assert figures["compared"]["forecasts"] == len(SYMBOLS) * MINUTES * 3
    assert figures["compared"]["dead_letters"] == 2
    assert figures["lake"]["lake_features"] == len(SYMBOLS) * MINUTES
    assert not list((ran.own.home / "runs").glob("faults-*")), "the broker's data were left"


def test_a_plan_is_its_seed_s_and_every_role_has_its_turn() -> None:
    planned = faults.plan(14, 3, faults.ROLES)
    assert planned == faults.plan(14, 3, faults.ROLES) == sorted(planned)
    assert planned != faults.plan(14, 4, faults.ROLES)
    assert Counter(fault.role for fault in planned if fault.kind == faults.KILL) == dict.fromkeys(faults.ROLES, 2)
    assert [sum(fault.kind == kind for fault in planned) for kind in (faults.STALL, faults.CUT)] == [5, 5]
    assert not any(fault.role == faults.BROKER for fault in planned if fault.kind == faults.CUT)
    assert all(0 <= fault.share <= faults.LATEST for fault in planned)


def test_a_process_and_all_that_it_started_stall_and_wake() -> None:
    """The grandchild has a session of its own, as the broker's Java has."""
    grandchild = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    script = f"import subprocess, sys; subprocess.run({grandchild}, start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        eventually(lambda: len(faults.family(process.pid)) == 2)
        pids = faults.family(process.pid)
        faults._signal(pids, signal.SIGSTOP)  # noqa: SLF001 - what a stall does
        eventually(lambda: {state(pid) for pid in pids} == {"T"})
        faults._signal(pids, signal.SIGCONT)  # noqa: SLF001
        eventually(lambda: {state(pid) for pid in pids} == {"S"})
    finally:
        for pid in faults.family(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes disks slow, and is not installed")
def test_a_slow_disk_delays_what_is_written_until_it_ends(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "while True:\n"
        "    began_s = time.monotonic(); os.fsync(file); print(time.monotonic() - began_s, flush=True); time.sleep(0.01)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            end = faults._slow([process.pid])  # noqa: SLF001
            eventually(lambda: float(process.stdout.readline()) > 0.045)  # type: ignore[union-attr]
            end()
            eventually(lambda: float(process.stdout.readline()) < 0.03)  # type: ignore[union-attr]
        finally:
            process.kill()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_row_that_a_kill_has_lost_is_a_difference() -> None:
    whole: said.Said = {("features", "A", str(at)): Item(b"x", ("A",), at) for at in range(3)}
    less: said.Said = {name: item for name, item in whole.items() if item.at != 1}
    assert said.figures(said.differences(less, whole))["named"] == ["features A 1970-01-01T00:00:00.000001+00:00 is missing"]


def test_every_check_is_a_command_that_there_is() -> None:
    runner = CliRunner()
    for name in everything.FULL:
        command = everything.command(name, Path("tape"), quick=True)[3:]
        assert command[:2] == ["verify", name]
        help_text = runner.invoke(app, [*command[:2], "--help"], env={"COLUMNS": "200"}).output
        for option in ("--quick", "--json", *(part for part in command if part.startswith("--"))):
            assert option in help_text, (name, option)


def test_one_check_that_does_not_hold_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = "import json, sys; open(sys.argv[-1], 'w').write(json.dumps({'n': 1})); sys.exit(int(sys.argv[1]))"
    codes = {"replay": "0", "contract": "1"}
    monkeypatch.setattr(everything, "command", lambda name, *_, **__: [sys.executable, "-c", writes, codes[name]])
    figures = everything.run(tmp_path, Console(stderr=True), quick=True, only=["replay", "contract"])
    assert {name: (check["holds"], check["figures"]) for name, check in figures["checks"].items()} == {
        "replay": (True, {"n": 1}),
        "contract": (False, {"n": 1}),
    }
    assert not figures["holds"]
    assert everything.run(tmp_path, Console(stderr=True), quick=True, only=["replay"])["holds"]
    with pytest.raises(SettingsError, match="there is no check 'speed'"):
        everything.run(tmp_path, Console(stderr=True), quick=True, only=["speed"])
