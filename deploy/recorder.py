"""`tickcast record`: what the topics hold, or go on to get, into a recording (`streams/recording.py`)."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from producers.recorded import model_folder
from streams import bus, codec
from streams.clock import wall_ts_us
from streams.errors import BadMessage, SourceError
from streams.messages import ModelAnnouncement
from streams.recording import INPUTS, OUTPUTS, Manifest, Writer
from streams.settings import Settings

LOOK_S = 1.0  # how often a recording that follows asks for more

Offsets = dict[TopicPartition, int]


@dataclass(frozen=True)
class Wanted:
    """What to record: from when, until when (milliseconds of the broker's clock; None: all), and whether to go on."""

    from_ms: int | None = None
    to_ms: int | None = None
    follow: bool = False


def record(settings: Settings, folder: Path, wanted: Wanted, stop: threading.Event) -> Manifest:
    """Record until the topics' ends as they are now, or, where it follows, until `stop`; return what there is then.

    Raises
    ------
    SourceError
        The folder holds a recording already, or the topics hold no tick.
    """
    with closing(bus.consumer(settings)) as client:
        places = bus.partitions_of(client, settings, *OUTPUTS, *INPUTS)
        oldest = client.beginning_offsets(places)
        start = oldest if wanted.from_ms is None else _at(client, places, wanted.from_ms, _ends(client, settings))
        if not any(place.topic == settings.topic("ticks") for place in places):
            raise SourceError(f"there are no topics in the namespace {settings.topic_prefix or '(none)'}; `tickcast topics`")
        writer = Writer(folder)
        with _bar() as progress:
            _read(client, settings, wanted, start, writer, progress, stop)
    _keep_models(folder, writer.announced)
    partitions = sum(place.topic == settings.topic("ticks") for place in places)
    whole = wanted.from_ms is None and not any(oldest.values())
    return writer.finish(wall_ts_us(), settings.topic_prefix, partitions, whole=whole)


def _read(  # noqa: PLR0913, PLR0917 - the parts of one loop
    client: KafkaConsumer,
    settings: Settings,
    wanted: Wanted,
    start: Offsets,
    writer: Writer,
    progress: Progress,
    stop: threading.Event,
) -> None:
    bar = progress.add_task("recording", total=None)
    while True:
        last = not wanted.follow or stop.is_set() or _is_past(wanted.to_ms)
        end = _ends(client, settings)
        if wanted.to_ms is not None:
            until = _at(client, list(end), wanted.to_ms, end)
            end = {place: min(end[place], until[place]) for place in end}
        progress.update(bar, total=writer.records + sum(max(0, end[place] - start[place]) for place in end))
        for one in bus.read_between(client, settings, start, end):
            writer.add(one)
            progress.advance(bar)
        start = {place: max(start[place], end[place]) for place in end}
        if last:
            return
        stop.wait(LOOK_S)


def _ends(client: KafkaConsumer, settings: Settings) -> Offsets:
    """Return the topics' ends, the outputs' first: whatever of them is recorded, what caused it is recorded too."""
    ends: Offsets = {}
    for topic in ("scores", "forecasts", "features", "dead_letters", "sentiment", "models", "headlines", "ticks"):
        ends |= client.end_offsets(bus.partitions_of(client, settings, topic))
    return ends


def _at(client: KafkaConsumer, places: list[TopicPartition], time_ms: int, ends: Offsets) -> Offsets:
    """Return the offset of the first record of each place at or behind a time; its end where there is none yet."""
    found = client.offsets_for_times(dict.fromkeys(places, time_ms))
    return {place: ends[place] if found.get(place) is None else int(found[place].offset) for place in places}


def _is_past(to_ms: int | None) -> bool:
    return to_ms is not None and wall_ts_us() // 1_000 > to_ms


def _keep_models(folder: Path, announced: list[bus.Record]) -> None:
    """Copy the files of the models that were announced, where they are on this machine."""
    for one in announced:
        with suppress(BadMessage):
            said = codec.decode(ModelAnnouncement, one.value)
            place = urlparse(said.uri)
            source, kept = Path(unquote(place.path)), model_folder(folder, said.name, said.model_id)
            if place.scheme in {"", "file"} and source.is_dir() and not kept.exists():
                shutil.copytree(source, kept)


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


@contextmanager
def until_interrupted() -> Iterator[threading.Event]:
    """Lend what Ctrl-C and SIGTERM set; a second Ctrl-C breaks off at once."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
