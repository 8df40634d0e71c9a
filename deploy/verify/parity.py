"""`tickcast verify parity`: what streams out of a disturbed tape equals a sorted, whole computation, row by row.

Two things are compared with the rows that the engine has on `features` in the end: an independent computation in polars
(`truth.py`, no code shared), and the same plan run over the recorded topics as one batch. On request the archive runs beside
the engine, and the lake is compared with the topics (`archived.py`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from deploy import first_model
from deploy.local import supervisor
from deploy.local.processes import Process
from deploy.verify import archived, truth
from deploy.verify.disturbed import Disturbance, Disturbed, Interrupted, Limited
from producers import tapes
from producers.base import SessionEnd, Source, Trade
from producers.pace import BehindFinals
from producers.run import Producing
from streams import bus, checkpoint, codec, job
from streams.bus import Outgoing
from streams.errors import EnvironmentFault
from streams.messages import Features, Sentiment
from streams.settings import Engine, Settings

SETTLE_TIMEOUT_S = 120.0
SETTLE_PER_KILL_S = 20.0  # a start of Spark, on a busy machine
CHECKPOINT_S = 10  # of a trial with kills: they shall fall before, between and into checkpoints
FAULTS = ("mismatches_against_truth", "mismatches_against_batch", "not_final")
LAKE_FAULTS = ("lake_ticks_missing", "lake_ticks_doubled", "lake_features_mismatches")


@dataclass(frozen=True)
class Trial:
    """What to put the engine through.

    Attributes
    ----------
    kills : int
        How often the engine, and the archive where it runs, are killed (-9) on the way, each at random places of its own.
    switches : bool
        Whether the engine changes from real time to micro-batches and back on the way.
    lake : bool
        Whether the archive runs too, and the lake is compared.
    """

    disturbance: Disturbance
    kills: int = 0
    switches: bool = False
    lake: bool = False

    def actions(self, length: int, processes: Sequence[Process]) -> dict[int, Callable[[], None]]:
        """Return what happens to `processes`, the engine first, by the number of the event before which it happens."""
        chance = random.Random(self.disturbance.seed)  # noqa: S311 - reproducible, not secret
        places = chance.sample(range(length), len(processes) * self.kills)
        planned: dict[int, Callable[[], None]] = {
            place: processes[number % len(processes)].kill for number, place in enumerate(places)
        }
        if self.switches:
            planned[length // 3] = partial(_change, processes[0], "microbatch")
            planned[2 * length // 3] = partial(_change, processes[0], "realtime")
        return planned

    @property
    def patience_s(self) -> float:
        """How long to wait for the last rows after the tape's end: the last kills may have come just before it."""
        return SETTLE_TIMEOUT_S + SETTLE_PER_KILL_S * self.kills

    def holds(self, figures: Mapping[str, Any]) -> bool:
        """Return whether `figures` are those of an exact run; of what arrives in order, a final row must also never change."""
        in_order = self.disturbance.shuffle_s == self.disturbance.late == 0
        faults = FAULTS + LAKE_FAULTS * self.lake + ("finals_changed",) * in_order
        return not any(figures[name] for name in faults)


def _change(engine: Process, to: Engine) -> None:
    engine.stop()
    engine.settings = msgspec.structs.replace(engine.settings, engine=to)
    engine.start()


def run(settings: Settings, tape: Source, trial: Trial) -> dict[str, Any]:
    """Stream `tape`, disturbed, through the engine of `settings`, and return compared rows and mismatches."""
    own = msgspec.structs.replace(settings, topic_prefix=f"parity-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.", archive="")
    if trial.kills:
        own = msgspec.structs.replace(own, checkpoint_s=min(own.checkpoint_s, CHECKPOINT_S))
    with _running(own, lake=trial.lake) as (config, processes):
        started_s = time.monotonic()
        feed = Disturbed(tape, trial.disturbance)
        length = sum(1 for _ in feed.events())
        _send(config, Interrupted(feed, trial.actions(length, processes)), processes)
        expected = batch(config)
        found = _settled(config, expected, trial.patience_s)
        seconds = time.monotonic() - started_s
        processes[0].stop()
        kept = _lake(config, processes[-1], trial.patience_s) if trial.lake else {}
        moods = [message for message in _sentiment(config) if not message.closes]
        changed = archived.finals_changed(codec.decode(Features, record.value) for record in bus.read_all(config, "features"))
    wanted = truth.minutes(*facts(tape, moods))
    figures = {
        "engine": "realtime, microbatch, realtime" if trial.switches else settings.engine,
        "kills": trial.kills,
        "disturbance": asdict(trial.disturbance),
        "rows": wanted.height,
        "mismatches_against_truth": mismatches(found, wanted),
        "mismatches_against_batch": mismatches(found, expected.select(*truth.KEY, *truth.EXACT, *truth.NEAR)),
        "not_final": found.filter(~pl.col("final")).height,
        "finals_changed": changed,
        "checkpoints": (checkpoint.last_commit(job.folder(config)) or 0) + 1,
        "seconds": round(seconds, 1),
    } | kept
    return figures | {"holds": trial.holds(figures)}


def _send(settings: Settings, tape: Source, processes: Sequence[Process]) -> None:
    """Send `tape`, paced by the final rows; stop where a process has died of itself, or it would wait for ever."""
    stop, died = threading.Event(), list[Process]()

    def watch() -> None:
        dead = 0
        while not stop.wait(1):
            broken = [process for process in processes if process.broken]
            dead = dead + 1 if broken else 0
            if dead > 1:  # for a moment between a kill and the next start it is broken on purpose
                died.extend(broken)
                stop.set()

    threading.Thread(target=watch, daemon=True, name="engine").start()
    try:
        Producing(settings, tape, BehindFinals(settings, stop.is_set), stop).run()
    finally:
        stop.set()
    for process in died:
        raise EnvironmentFault(f"{process.role} died and did not come back; {process.log_path} says why")


@contextmanager
def _running(settings: Settings, *, lake: bool) -> Iterator[tuple[Settings, list[Process]]]:
    """Run the engine, on request the archive, the sentiment consumer, and a broker where none is set, for a `with` block.

    It lends the settings that name the broker, and the engine with, behind it, the archive.
    """
    with supervisor.with_broker(settings) as named:
        bus.ensure_topics(named)
        processes = [Process(role, named) for role in ("stream", *["archive"] * lake)]
        every = [Process("sentiment", named), *processes]
        try:
            for process in every:
                process.start()
            yield named, processes
        finally:
            for process in reversed(every):
                process.stop()


def _lake(settings: Settings, archive: Process, patience_s: float) -> dict[str, int]:
    """Return the lake's figures once the archive has taken everything, or after a while as it is."""
    deadline_s = time.monotonic() + patience_s
    while archived.is_behind(settings) and time.monotonic() < deadline_s and not archive.broken:
        time.sleep(1)
    archive.stop()
    return archived.figures(settings)


def batch(settings: Settings) -> pl.DataFrame:
    """Return the rows of the batch plan over all that `ticks` and `sentiment` hold."""
    ticks, sentiment = (_outgoing(settings, topic) for topic in ("ticks", "sentiment"))
    return first_model.batch_features(settings, ticks, sentiment)


def _outgoing(settings: Settings, topic: str) -> list[Outgoing]:
    return [Outgoing(topic, record.key or b"", record.value or b"") for record in bus.read_all(settings, topic)]


def _sentiment(settings: Settings) -> Iterator[Sentiment]:
    return (codec.decode(Sentiment, record.value) for record in bus.read_all(settings, "sentiment"))


def _settled(settings: Settings, expected: pl.DataFrame, patience_s: float) -> pl.DataFrame:
    """Return the newest row of each minute once all have the revision of the batch plan, or after a while as they are."""
    newest: dict[tuple[str, int], Features] = {}
    wanted = {(symbol, minute): revision for symbol, minute, revision in expected.select(*truth.KEY, "revision").rows()}
    deadline_s = time.monotonic() + patience_s

    def settled() -> bool:
        behind = any(newest[key].revision < revision if key in newest else True for key, revision in wanted.items())
        return not behind or time.monotonic() > deadline_s

    for records in bus.follow(settings, "features", stop=settled):
        for record in records:
            row = codec.decode(Features, record.value)
            key = (row.symbol, row.minute_ts_us)
            if key not in newest or row.revision >= newest[key].revision:
                newest[key] = row
    if not newest:
        raise EnvironmentFault(f"the engine made no row; {settings.state / 'logs' / 'stream.log'} says why")
    return pl.DataFrame([msgspec.structs.asdict(row) for row in newest.values()])


def facts(tape: Source, moods: list[Sentiment]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the undisturbed trades but those excluded, the scores and the sessions of `tape`, as `truth.minutes` takes them."""
    trades: list[tuple[str, int, int, float, float]] = []
    sessions: list[tuple[str, int, int]] = []
    session: list[Trade] = []
    for event in tape.events():
        if isinstance(event, Trade):
            session.append(event)
        elif isinstance(event, SessionEnd) and session:
            trades += [(one.symbol, one.event_ts_us, one.seq, one.price, one.size) for one in session if not one.excluded]
            start_us = min(one.event_ts_us for one in session)
            sessions += [(symbol, start_us, event.event_ts_us) for symbol in sorted({one.symbol for one in session})]
            session = []
    scores = [(mood.symbol, mood.event_ts_us, mood.score) for mood in moods]
    return (
        pl.DataFrame(trades, schema=["symbol", "event_ts_us", "seq", "price", "size"], orient="row"),
        pl.DataFrame(scores, schema={"symbol": pl.String, "event_ts_us": pl.Int64, "score": pl.Float64}, orient="row"),
        pl.DataFrame(sessions, schema=["symbol", "start_us", "end_us"], orient="row"),
    )


def mismatches(found: pl.DataFrame, wanted: pl.DataFrame) -> int:
    """Return how many minutes differ or are in only one of the two; counts and prices exactly, means to 1e-12 of 1."""
    pairs = wanted.join(found, on=truth.KEY, how="full", suffix="_found", coalesce=True)
    exact = [pl.col(name).cast(pl.Float64).eq_missing(pl.col(f"{name}_found").cast(pl.Float64)) for name in truth.EXACT]
    near = [
        pl.col(name).eq_missing(pl.col(f"{name}_found"))
        | ((pl.col(name) - pl.col(f"{name}_found")).abs() <= 1e-12 * pl.max_horizontal(pl.col(name).abs(), 1.0)).fill_null(False)
        for name in truth.NEAR
    ]
    return pairs.filter(~pl.all_horizontal(*exact, *near)).height


def open_tape(folder: Path, quick: bool) -> Source:
    """Return the tape in `folder`; with `quick` its first 4,000 trades."""
    tape = tapes.open_tape(folder)
    return Limited(tape, 4_000) if quick else tape
