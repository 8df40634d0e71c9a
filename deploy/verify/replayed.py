"""`tickcast verify replay`: one tape, replayed twice, says the same to the last byte; and what was recorded of it, where it was.

What is compared, and what not, is in `said.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy import replaying
from deploy.replaying import Wish
from deploy.verify import said
from deploy.verify.said import Difference, Said
from producers import tapes
from producers.recorded import RecordedTape
from producers.tapes import Cut
from streams import bus
from streams.errors import EnvironmentFault
from streams.recording import Recording
from streams.settings import Settings

QUICK_TICKS = 4_000


class Outcome(NamedTuple):
    """What a replay said, and its figures."""

    said: Said
    report: dict[str, Any]


def run(settings: Settings, tape: Path, console: Console, *, quick: bool) -> dict[str, Any]:
    """Replay `tape` and compare; return the figures, `holds` among them.

    `quick` takes the first ticks of a tape, or one replay of a recording that can be held to its outputs.
    """
    began_s = time.monotonic()
    recorded = recorded_outputs(tape)
    cut = Cut(source=str(tape.resolve()), ticks=QUICK_TICKS if quick and recorded is None else 0)
    passes = 1 if quick and recorded is not None else 2
    with replaying.with_broker(settings) as config:
        outcomes = [replayed(config, Wish(cut), console) for _ in range(passes)]
    compared = {f"replay {number} against replay 1": (one.said, outcomes[0].said, False) for number, one in _others(outcomes)}
    if recorded is not None:
        compared |= {f"replay {n} against the recording": (one.said, recorded, True) for n, one in enumerate(outcomes, start=1)}
    found = {name: said.differences(one, other, recording=cut_off) for name, (one, other, cut_off) in compared.items()}
    return figures(outcomes, found) | {"seconds": round(time.monotonic() - began_s, 1)}


def _others(outcomes: list[Outcome]) -> Iterator[tuple[int, Outcome]]:
    yield from ((number, one) for number, one in enumerate(outcomes, start=1) if number > 1)


def figures(outcomes: list[Outcome], found: dict[str, list[Difference]]) -> dict[str, Any]:
    """Return the figures of comparisons by name; they hold where nothing differs and there was something to compare."""
    compared = said.counts(outcomes[0].said)
    whole = compared["features"] > 0 and compared["forecasts"] > 0
    return {
        "replays": [one.report for one in outcomes],
        "compared": compared,
        "comparisons": {name: said.figures(some) for name, some in found.items()},
        "holds": whole and bool(found) and not any(found.values()),
    }


def recorded_outputs(tape: Path) -> Said | None:
    """Return what a recording holds of outputs; None where `tape` is none, or does not begin where its topics did."""
    opened = tapes.open_tape(tape)
    if not isinstance(opened, RecordedTape) or not opened.recording.manifest.whole:
        return None
    return said_by(opened.recording)


def said_by(recording: Recording) -> Said:
    """Return what a recording holds of outputs."""
    return said.of(one.record for one in recording.merged(*said.TOPICS))


def replayed(settings: Settings, wish: Wish, console: Console) -> Outcome:
    """Replay in a namespace that is removed afterwards, and return what came out.

    Raises
    ------
    EnvironmentFault
        It was stopped before its end.
    """
    with namespace(settings, wish.cut) as own:
        played = replaying.play(own, wish, console)
        if played is None:
            raise EnvironmentFault("the replay was stopped before its end: nothing can be compared")
        return Outcome(said.of(bus.read_all(own, *said.TOPICS)), played.report())


@contextmanager
def namespace(settings: Settings, cut: Cut) -> Iterator[Settings]:
    """Lend settings of a namespace of its own; it is removed at the end, and stays where something went wrong."""
    own = replaying.namespaced(settings, cut, "verify")
    yield own
    replaying.forget(own)


def as_table(found: dict[str, Any]) -> Table:
    """Return the figures for people."""
    table = Table("compared", *said.TOPICS, "differing", "for example", title_justify="left")
    for name, comparison in found["comparisons"].items():
        by_topic = (f"{found['compared'][topic]:,}" for topic in said.TOPICS)
        example = escape("\n".join(comparison["named"][:3]))
        table.add_row(name, *by_topic, f"{comparison['differing']:,}", example)
    models = ", ".join(found["replays"][0]["models"]) or "none: the baseline alone (`tickcast train --ensure` makes one)"
    table.caption = f"model: {models}"
    return table
