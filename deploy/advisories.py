"""`make audit`: which of the pinned packages have known holes, as the OSV database knows them.

Where the database cannot be reached nothing is audited, which is said and is no failure: a machine without a network builds too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
TIMEOUT_S = 15
UNREACHED = ("ConnectionError", "Could not connect", "Failed to establish", "ProxyError", "timed out", "Max retries")


def main() -> int:
    """Return 0 where no hole is known, or where nobody can be asked."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--timeout", str(TIMEOUT_S), "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and any(sign in done.stderr for sign in UNREACHED):
        sys.stderr.write("the database of known holes cannot be reached from here: nothing was audited\n")
        return 0
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
