"""Where a training stands, on disk: whole or not at all, and never a pickle."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streams.errors import ModelError


class Standing(NamedTuple):
    """Losses of the epochs that are done, the best weights so far, and all state of the network and its optimizer."""

    train: list[float]
    validation: list[float]
    best: list[Any]
    state: list[Any]


@dataclass(frozen=True)
class Checkpoint:
    """One file. Of several workers one writes, and all read.

    Parameters
    ----------
    path : Path
        The file, which need not exist.
    made_for : str
        What the training is of; a checkpoint of another one counts as none.
    writes : bool
        Whether :meth:`write` does anything.
    """

    path: Path
    made_for: str
    writes: bool = True

    def write(self, train: Sequence[float], validation: Sequence[float], best: Sequence[Any], state: Sequence[Any]) -> None:
        """Replace what is there.

        Raises
        ------
        ModelError
            The disk is full, or the folder cannot be written.
        """
        if not self.writes:
            return
        arrays = {f"best{at:03d}": value for at, value in enumerate(best)}
        arrays |= {f"state{at:03d}": value for at, value in enumerate(state)}
        losses = np.array([train, validation], dtype=np.float64)
        held = io.BytesIO()
        np.savez(held, made_for=np.array(self.made_for), losses=losses, allow_pickle=False, **arrays)
        scratch = self.path.with_suffix(".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("wb") as file:
                file.write(held.getvalue())
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.path)
        except OSError as error:
            raise ModelError(f"the training's checkpoint {self.path} cannot be written: {error.strerror}") from error

    def read(self) -> Standing | None:
        """Return what was written for this training; None where there is nothing, or nothing whole."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as held:
                if str(held["made_for"]) != self.made_for:
                    return None
                train, validation = held["losses"].tolist()
                best, state = ([held[name] for name in sorted(held) if name.startswith(kind)] for kind in ("best", "state"))
                return Standing(train, validation, best, state)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def clear(self) -> None:
        """Remove it: the training is over."""
        if self.writes:
            self.path.unlink(missing_ok=True)
