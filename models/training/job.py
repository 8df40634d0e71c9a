"""One training, from what it may learn from to its last epoch: a folder that a killed process leaves and the next goes on with.

    HOME/training/job/job.json          a `Job`
                      shards/           hard links to the shards as they were when it began: the ETL may go on meanwhile
                      checkpoint-*.npz  where it stands (`checkpoint.py`); of the ablation too
                      decision.json     what was decided of the model, once that is known

Workers of one training read the same folder, so they must see the same file system.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.forecaster.windows import WINDOW
from models.training import dataset, shards
from models.training.checkpoint import Checkpoint
from models.training.dataset import LONGEST, TRAINING_WINDOWS, VALIDATION_WINDOWS, Examples
from models.training.shards import Index, Shard
from streams.clock import MINUTE_US
from streams.errors import UserError
from streams.settings import Settings

BLOCK_SHARE = 0.15  # of the windows, the newest, that training does not see: on them models are compared
FILE = "job.json"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asks of a training; together with the shards it decides every bit of the model.

    Parameters
    ----------
    limit : int
        Of more windows for training a random choice of so many is taken.
    sentiment : bool
        Whether the network sees sentiment; without, its three columns are muted.
    newest_min : int
        Only windows of the newest so many minutes of the lake are looked at; 0: all.
    precision : Literal
        Of the recurrent layer's sums: `bfloat16` halves what they move on a GPU; `auto` is that where all GPUs have it.
    """

    epochs: int = 12
    batch: int = 256
    seed: int = 7
    limit: int = TRAINING_WINDOWS
    sentiment: bool = True
    newest_min: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A choice, the shards that it is of, and the starts of the first minutes that are looked at and unseen, microseconds UTC."""

    choice: Choice
    index: Index
    begin_ts_us: int
    border_ts_us: int
    end_ts_us: int

    @property
    def training_id(self) -> str:
        """A short name of all that decides the model."""
        said = msgspec.json.encode(self.choice) + f"{self.begin_ts_us} {self.border_ts_us} {self.index.fingerprint()}".encode()
        return hashlib.sha256(said).hexdigest()[:16]


@dataclass(frozen=True)
class Place:
    """The folder of a job that exists."""

    folder: Path
    job: Job

    def checkpoint(self, *, writes: bool = True) -> Checkpoint:
        """Return where the training stands."""
        made_for = self.job.training_id
        return Checkpoint(self.folder / f"checkpoint-{made_for}.npz", made_for, writes)

    def without_sentiment(self) -> Place:
        """Return the same job for a network that does not see sentiment."""
        blind = msgspec.structs.replace(self.job.choice, sentiment=False)
        return Place(self.folder, msgspec.structs.replace(self.job, choice=blind))

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        """What the network learns from, and what says when to stop: no minute is in both, none is behind the border.

        Raises
        ------
        UserError
            There are too few windows for both.
        """
        index, choice = self.job.index, self.job.choice
        ended = index.minutes
        known = np.flatnonzero(self._known)
        train, validation = (known[part] for part in dataset.split(ended[known]))
        if not len(train) or not len(validation):
            raise UserError(
                f"there are {len(known)} windows of {WINDOW} consecutive minutes, too few to train on;"
                " record a few hours more, or ingest simulated history"
            )
        chance = np.random.default_rng(choice.seed)
        picked = (dataset.thinned(train, choice.limit, chance), dataset.thinned(validation, VALIDATION_WINDOWS, chance))
        return tuple(shards.read(self.folder / "shards", _by_shard(index, numbers)) for numbers in picked)  # type: ignore[return-value]

    @property
    def data_cutoff_ts_us(self) -> int:
        """The end of the newest minute that training has seen."""
        return int(self.job.index.minutes[self._known].max()) + (1 + LONGEST) * MINUTE_US

    @property
    def _known(self) -> NDArray[np.bool_]:
        """Which windows may be learnt from."""
        ended = self.job.index.minutes
        return (ended >= self.job.begin_ts_us) & (ended + LONGEST * MINUTE_US < self.job.border_ts_us)

    def end(self) -> None:
        """Remove the folder: everything is done."""
        gone = self.folder.with_name(".done")
        shutil.rmtree(gone, ignore_errors=True)
        self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def unfinished(settings: Settings, choice: Choice) -> Place | None:
    """Return the job that a killed training with the same choice has left, or None."""
    folder = _folder(settings)
    try:
        place = opened(folder)
    except (OSError, msgspec.MsgspecError):
        return None
    return place if place.job.choice == choice else None


def opened(folder: Path) -> Place:
    """Return the job in `folder`."""
    return Place(folder, msgspec.json.decode((folder / FILE).read_bytes(), type=Job))


def begin(settings: Settings, index: Index, choice: Choice) -> Place:
    """Begin a training on the shards of `index`; what another one left is dropped.

    Raises
    ------
    UserError
        There are too few windows.
    """
    ended = index.minutes
    if not len(ended):
        raise UserError(
            f"there is no window of {WINDOW} consecutive minutes and {LONGEST} more in the lake;"
            " record a few hours more, or ingest simulated history"
        )
    newest = int(ended.max())
    begin = newest - choice.newest_min * MINUTE_US if choice.newest_min else int(ended.min())
    border = int(np.quantile(ended[ended >= begin], 1 - BLOCK_SHARE)) // MINUTE_US * MINUTE_US
    end = newest + (1 + LONGEST) * MINUTE_US
    job = Job(choice=choice, index=index, begin_ts_us=begin, border_ts_us=border, end_ts_us=end)
    folder = _folder(settings)
    work = folder.with_name(".job")
    for old in (work, folder):
        shutil.rmtree(old, ignore_errors=True)
    for shard in index.shards:
        path = work / "shards" / shard.file
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(shards.folder(settings) / shard.file, path)
    (work / FILE).write_bytes(msgspec.json.encode(job))
    work.rename(folder)
    return Place(folder, job)


def _folder(settings: Settings) -> Path:
    return settings.home / "training" / "job"


def _by_shard(index: Index, numbers: NDArray[np.int64]) -> list[tuple[Shard, NDArray[np.int64]]]:
    """Return the windows `numbers`, counted through all shards, by shard; shards without any are left out."""
    begins = np.cumsum([0, *(shard.windows for shard in index.shards)])
    cuts = np.searchsorted(numbers, begins)
    picked = ((shard, numbers[cuts[at] : cuts[at + 1]] - begins[at]) for at, shard in enumerate(index.shards))
    return [(shard, own) for shard, own in picked if len(own)]
