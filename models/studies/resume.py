"""Finished parts of a study on disk, so that one that was killed goes on where it was: each whole or not at all, no pickle."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import EnvironmentFault

Arrays = Mapping[str, NDArray[Any]]


def key_of(*what: str | bytes) -> str:
    """Return a short name of everything that decides a result: data, options, and the version of the code that computes it."""
    digest = hashlib.sha256()
    for one in what:
        said = one if isinstance(one, bytes) else one.encode()
        digest.update(len(said).to_bytes(8, "little") + said)
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Parts:
    """The parts of one study with one key; parts of another key count as none.

    Parameters
    ----------
    folder : Path
        Where they are; need not exist.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """Return the file of part `name`."""
        return self.folder / f"{name}.npz"

    def read(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return a finished part; None where there is none, or none whole."""
        try:
            with self.path(name).open("rb") as file, np.load(file, allow_pickle=False) as held:
                return {key: held[key] for key in held}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def keep(self, name: str, arrays: Arrays) -> None:
        """Write a finished part; safe while other processes write the same one.

        Raises
        ------
        EnvironmentFault
            The disk is full, or the folder cannot be written.
        """
        held = io.BytesIO()
        np.savez(held, allow_pickle=False, **arrays)
        scratch = self.path(name).with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as file:
                file.write(held.getvalue())
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.path(name))
        except OSError as error:
            raise EnvironmentFault(f"the study's part {self.path(name)} cannot be written: {error.strerror}") from error

    def finished(self, name: str, make: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
        """Return part `name`, made now where it is not there yet."""
        found = self.read(name)
        if found is None:
            self.keep(name, found := dict(make()))
        return found
