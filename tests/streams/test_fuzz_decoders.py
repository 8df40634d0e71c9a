"""The decoder under libFuzzer, for a bounded time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SECONDS = 15


def test_no_bytes_make_the_decoder_fail_otherwise_than_it_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.streams.fuzz_decoders", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS * 10)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    assert executed, done.stderr[-3000:]
    assert int(executed.group(1)) > 1_000
