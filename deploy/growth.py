"""Whether the memory of roles stays flat while they work."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from deploy.bench_engine import memory_mib
from deploy.local.processes import Process

FLAT = 1.25  # what memory may grow by from the middle of a run to its end
SLACK_MIB = 64.0  # and what a cache, or a heap that is still filling up, may take besides
SAMPLE_S = 1.0

Sizes = dict[str, list[float]]
"""By role its resident memory, MiB, second by second."""


@contextmanager
def watched(roles: Sequence[Process]) -> Iterator[Sizes]:
    """Lend what grows in the `with` block by the memory of `roles`."""
    sizes: Sizes = {role.role: [memory_mib(role.pid)] for role in roles}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            for role in roles:
                if role.pid:
                    sizes[role.role].append(memory_mib(role.pid))

    thread = threading.Thread(target=watch, daemon=True, name="memory")
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()


def parts(sizes: Sizes) -> dict[str, list[float]]:
    """Return by role the memory at begin, middle and end."""
    return {role: [some[0], some[len(some) // 2], some[-1]] for role, some in sizes.items()}


def is_flat(found: Mapping[str, Sequence[float]]) -> bool:
    """Return whether of :func:`parts` none has grown from the middle on."""
    return all(end <= FLAT * middle + SLACK_MIB for _, middle, end in found.values())
