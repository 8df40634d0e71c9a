"""The daily study's network in a file: its weights, by what its windows are scaled, and what is known of it.

Made by `tickcast retrain --model daily` (`daily_refit.py`), which also asks it for forecasts: nothing serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models import tensor_file
from models.evaluation.metrics import Array
from models.sentiment.files import sha256
from models.studies import daily_network, daily_windows, pool
from models.studies.daily_network import SCALE, WEIGHTS
from models.studies.daily_windows import Scale, Windows
from models.studies.resume import Parts
from models.tensor_file import Tensors

NAME = "daily"  # of all such models together, in the store and on `models`
VIEW: daily_windows.View = "returns"
SCALING = (
    "by symbol, from the days that were learnt from: logarithms of all over the newest close (of volume: log(1 + volume / its"
    " mean in the window); the return as it is), less their mean, over their standard deviation; the target is the logarithm of"
    " the next close over the newest, over its standard deviation; the numbers are in the file"
)


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the file besides weights and scales.

    Parameters
    ----------
    symbols : tuple[str, ...]
        Of the scales, in their order.
    trained_until : str
        The last day, ISO, whose close the network has seen, be it to learn or to choose the epoch.
    windows : int
        How many it has learnt from.
    """

    symbols: tuple[str, ...]
    trained_until: str
    windows: int
    seed: int


class Held(msgspec.Struct, frozen=True):
    """A file, read: its name by content, what it is, and its arrays by name."""

    model_id: str
    about: About
    tensors: Tensors

    @property
    def scale(self) -> Scale:
        """By what windows are scaled."""
        return Scale(np.array(self.about.symbols), *(self.tensors[name] for name in SCALE[1:]))


def write(path: Path, part: Mapping[str, NDArray[Any]], trained_until: str, seed: int) -> None:
    """Write a finished training, as `daily_network.train` keeps it, to `path`."""
    about = About(symbols=tuple(part[SCALE[0]].tolist()), trained_until=trained_until, windows=int(part["windows"]), seed=seed)
    tensor_file.write(path, {name: part[name] for name in (*WEIGHTS, *SCALE[1:])}, about)


def read(path: Path) -> Held:
    """Return what is in the file; the store has compared its checksum.

    Raises
    ------
    ModelError
        It is damaged, or of another version.
    """
    about, tensors = tensor_file.read(path, About)
    return Held(f"{NAME}-{sha256(path)[:8]}", about, tensors)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts that a stored network is asked for.

    Parameters
    ----------
    model : str
        Its file.
    windows, parts : str
        As of :class:`daily_network.Task`.
    since : int
        Days since 1970: windows that ask for an earlier one are left out.
    """

    name: str
    model: str
    windows: str
    parts: str
    since: int


def forecast_alone(asked: Asked) -> None:
    """Keep the part `said`, `came`, `naive` and `day`, [n] each, closes in their currency; for a process of its own.

    Raises
    ------
    ModelError
        The file is damaged, or windows are of a symbol that was not learnt.
    """
    pool.one_thread()
    held, windows = read(Path(asked.model)), daily_windows.read(Path(asked.windows))
    own = windows.take(windows.day >= asked.since)
    found = {"said": forecasts(held, own), "came": own.next_close, "naive": own.last, "day": own.day}
    Parts(Path(asked.parts)).keep(asked.name, found)


def forecasts(held: Held, windows: Windows) -> Array:
    """Return the next day's close for each of `windows`, [N], in their currency. Loads TensorFlow.

    Raises
    ------
    ModelError
        They are of a symbol that was not learnt.
    """
    network = daily_network.build(VIEW, held.about.seed)
    network.set_weights([held.tensors[name] for name in WEIGHTS])
    seen = daily_windows.seen(windows, held.scale, VIEW)
    return seen.prices(daily_network.answers(network, seen.features))
