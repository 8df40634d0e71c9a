"""The archive as a process, for tests that kill it: `python -m tests.streams.archive_worker`, settings from the environment."""

from __future__ import annotations

from deploy import roles
from streams import settings

if __name__ == "__main__":
    roles.archive(settings.load())
