"""What a Spark checkpoint must be for us to go on from it, and how far it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from streams.errors import EnvironmentFault

NOTE = "made_for.json"
PROBE_BYTES = 4 * 2**20


def prepare(folder: Path, made_for: Mapping[str, object]) -> None:
    """Make `folder` one that a query can go on from, or start in.

    A checkpoint of which no batch was ever finished is removed: Spark refuses its state, and it holds nothing to go on from.

    Parameters
    ----------
    made_for : Mapping[str, object]
        What the state in it depends on, as JSON.

    Raises
    ------
    EnvironmentFault
        It was made for something else, or cannot be written.
    """
    try:
        if folder.exists() and last_commit(folder) is None:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _check(folder, dict(made_for))
        _write(folder / NOTE, json.dumps(made_for))
    except OSError as error:
        raise EnvironmentFault(
            f"the checkpoint {folder} cannot be written ({error}); mend that and start again: nothing is lost"
        ) from error


def _write(path: Path, text: str) -> None:
    """Write `path` whole or not at all: half a note would be in the way of every start after a kill."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(text)
    scratch.rename(path)


def _check(folder: Path, made_for: dict[str, object]) -> None:
    note = folder / NOTE
    unnoted = {} if last_commit(folder) is not None else made_for  # batches, but no note: from before there were notes
    made = json.loads(note.read_text()) if note.exists() else unnoted
    if other := [name for name, value in made_for.items() if made.get(name) != value]:
        was = ", ".join(f"{name} was {made.get(name, 'another')} and is {made_for[name]}" for name in other)
        raise EnvironmentFault(
            f"the checkpoint {folder} cannot be gone on from: {was}; set it back, "
            "or remove that folder, and the engine computes everything again from the beginning of the topics"
        )


def unwritable(folder: Path) -> str:
    """Return why a file of the size of a state's part cannot be written to `folder` now; empty where it can."""
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return ""


def last_commit(folder: Path) -> int | None:
    """Return the number of the last finished batch, None where there is none."""
    return max((int(path.name) for path in (folder / "commits").glob("[0-9]*")), default=None)


def finished_offsets(folder: Path) -> dict[str, dict[int, int]]:
    """Return, by topic and partition, the offset up to which batches are finished; empty where none is."""
    number = last_commit(folder)
    if number is None:
        return {}
    # one line of version and one of settings, then one of offsets for each source
    lines = (folder / "offsets" / str(number)).read_text().splitlines()[2:]
    sources = [json.loads(line) for line in lines if line != "-"]
    return {topic: {int(place): at for place, at in ends.items()} for source in sources for topic, ends in source.items()}
