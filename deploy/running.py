"""Which replays run from this home: a note in the folder of each, for those who steer them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams import bus
from streams.errors import SettingsError
from streams.settings import Settings

NOTE = "running.json"


class Running(msgspec.Struct, frozen=True):
    """A replay that runs; `page` is the port of its web page, 0 without one."""

    namespace: str
    broker: str
    source: str
    page: int
    pid: int


@contextmanager
def noted(own: Settings, source: str, page: int) -> Iterator[None]:
    """Keep a note for the length of a block that a replay runs in the namespace of `own`."""
    note = own.state / NOTE
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(msgspec.json.encode(Running(own.topic_prefix, own.broker, source, page, os.getpid())))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def replays(settings: Settings) -> list[Running]:
    """Return the replays that run from this home, the newest last; notes of killed ones do not count."""
    notes = (_read(path) for path in sorted((settings.home / "runs").glob(f"*/{NOTE}")))
    return [note for note in notes if note is not None and _lives(note.pid)]


def _read(path: Path) -> Running | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None  # it has just ended


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def steerable(settings: Settings, namespace: str) -> Settings:
    """Return the settings of the run that is meant: `namespace`, else the one replay that runs here, else what `up` runs.

    Raises
    ------
    SettingsError
        Several replays run, or none of that name does.
    EnvironmentFault
        Nothing runs here.
    """
    if settings.broker and namespace:
        return msgspec.structs.replace(settings, topic_prefix=namespace)
    found = [one for one in replays(settings) if namespace in {"", one.namespace}]
    if len(found) > 1:
        raise SettingsError(f"several replays run: --namespace says which of {', '.join(one.namespace for one in found)}")
    if found:
        return msgspec.structs.replace(settings, broker=found[0].broker, topic_prefix=found[0].namespace)
    if namespace:
        raise SettingsError(f"no replay runs in {namespace!r} from this home")
    return bus.find_broker(settings)
