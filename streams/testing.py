"""Helpers for tests of this project and of programs that build on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], timeout_s: float = 30.0, interval_s: float = 0.1) -> T:
    """Return the first truthy answer of `probe`; raise AssertionError with the last one after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout_s} s")
        time.sleep(interval_s)
    return answer
