"""`tickcast bench`: measures this machine on the whole pipeline, every process on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from deploy import up
from producers.catalog import Choice
from streams.settings import Settings


def latency(settings: Settings, rate: float, seconds: float, json: Path | None, console: Console) -> dict[str, Any] | None:
    """Run the simulated market at `rate` ticks a second for `seconds`, once everything runs, and time the ticks.

    Latencies are differences of the broker's own time stamps, in milliseconds, checkpoints and everything else included.
    The run has topics of its own, so that it neither disturbs nor is disturbed by what is there.
    """
    own = msgspec.structs.replace(settings, topic_prefix=f"bench-{datetime.now(UTC):%Y%m%d-%H%M%S}.")
    market = Choice(("simulated", ""), ("simulated", ""), rate=rate)
    arguments = ("--source", "simulated", "--rate", str(rate))
    return up.run(own, up.Options(market, arguments, headless=True, duration_s=seconds, report=json), console)


def latency_table(figures: dict[str, Any]) -> Table:
    """Return the figures of :func:`latency` for people."""
    table = Table("from tick to", "p50 ms", "p90 ms", "p99 ms", "records")
    for name, row in figures["latency_ms"].items():
        times = [f"{row[level]:.1f}" for level in ("p50", "p90", "p99")]
        table.add_row(name.removeprefix("tick_to_"), *times, f"{row['n']:,}")
    return table
