"""Merges the lake's part files: many small ones of one folder become one of each writer.

The merged copy of a folder is made aside and then exchanged for the folder in one step of the operating system, so a
reader lists either the parts or what was made of them, never both, and a crash leaves one of the two. What is left aside
is swept by the next run. A reader that listed the old folder and opens a file of it later is told that the file is gone.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from streams import lake as lakes
from streams.errors import EnvironmentFault
from streams.lake import Part

AT_CURRENT_FOLDER = -100  # AT_FDCWD of Linux
EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
MERGE_AT = 64  # parts of one batch each; the archive merges a folder that has so many


class Merged(NamedTuple):
    """How many files there were in the folders that were merged, and how many there are now."""

    before: int
    after: int


def compact(lake: Path, topic: str) -> Merged:
    """Merge the parts of each folder of `topic` in `lake` into one of each writer; return the numbers of files.

    The lock is held for one folder at a time, so an archive that runs meanwhile waits for moments only.
    """
    done = [_compact_folder(lake, place, single=False) for place in list(_folders(lake / topic))]
    return Merged(sum(one.before for one in done), sum(one.after for one in done))


def compact_busy(lake: Path, topic: str) -> None:
    """Merge the single batches of each folder of `topic` that has `MERGE_AT` of them or more."""
    for place in list(_folders(lake / topic)):
        if sum(len(group) for group in _groups(place, single=True).values()) >= MERGE_AT:
            _compact_folder(lake, place, single=True)


def _folders(topic: Path) -> Iterator[Path]:
    """Yield the folders under `topic` that hold files: dates of headlines, else symbols of dates."""
    for date in sorted(topic.glob("date=*")):
        yield from sorted(date.glob("symbol=*")) or [date]


def _groups(place: Path, *, single: bool) -> dict[str, list[Part]]:
    """Return the parts of each writer, in order; with `single` only those of one batch."""
    groups: dict[str, list[Part]] = defaultdict(list)
    for path in sorted(place.glob("*.parquet")):
        part = Part.of(path)
        if part is not None and (part.first == part.last or not single):
            groups[part.writer].append(part)
    return {writer: sorted(parts, key=lambda one: one.first) for writer, parts in groups.items() if len(parts) > 1}


def _compact_folder(lake: Path, place: Path, *, single: bool) -> Merged:
    with lakes.locked(lake):
        groups = _groups(place, single=single)
        before = len(list(place.glob("*.parquet")))
        if not groups:
            return Merged(0, 0)
        copy = _merged_copy(lake, place, groups)
        exchange(place, copy)
        shutil.rmtree(copy)
        return Merged(before, len(list(place.glob("*.parquet"))))


def _merged_copy(lake: Path, place: Path, groups: dict[str, list[Part]]) -> Path:
    copy = lake / ".scratch" / "merged"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    topic = place.relative_to(lake).parts[0]
    superseded = {f"{part.name}.parquet" for parts in groups.values() for part in parts}
    for path in place.iterdir():
        if path.name not in superseded:
            os.link(path, copy / path.name)
    for writer, parts in groups.items():
        files = [place / f"{part.name}.parquet" for part in parts]
        whole = Part(writer, parts[0].first, max(part.last for part in parts))
        lakes.put(lake, lakes.load(topic, files), copy / f"{whole.name}.parquet")
    return copy


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders of one file system in one step.

    Raises
    ------
    EnvironmentFault
        The operating system or the file system cannot.
    """
    if _exchanger()(os.fsencode(one), os.fsencode(other)):
        reason = os.strerror(ctypes.get_errno())
        raise EnvironmentFault(f"the lake cannot be compacted: the file system of {one} cannot exchange two folders ({reason})")


def _exchanger() -> Callable[[bytes, bytes], int]:
    library = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            return lambda one, other: int(library.renamex_np(one, other, EXCHANGE))
        call = library.renameat2
    except AttributeError as error:
        raise EnvironmentFault("the lake cannot be compacted: this system cannot exchange two folders in one step") from error
    return lambda one, other: int(call(AT_CURRENT_FOLDER, one, AT_CURRENT_FOLDER, other, EXCHANGE))
