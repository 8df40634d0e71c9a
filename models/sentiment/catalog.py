"""The sentiment models by name: those that can be had here, and how to get the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from models.sentiment import finbert, minilm, onnx_runtime
from models.sentiment.scorer import Scorer
from streams.errors import EnvironmentFault, ModelError, SettingsError
from streams.settings import Settings

NAMES = ("minilm", "minilm-int8", "finbert", "finbert-int8")
INT8 = "-int8"


class Entry(NamedTuple):
    """One line of the list. `missing` says how to get a model that is not here, and is empty for one that is."""

    name: str
    model_id: str
    missing: str


def entries(settings: Settings) -> list[Entry]:
    """Return all models; asks no network and loads nothing, but checks the files."""
    return [_entry(name, msgspec.structs.replace(settings, offline=True)) for name in NAMES]


def present(settings: Settings) -> list[str]:
    """Return the names of the models that are on this machine."""
    return [entry.name for entry in entries(settings) if not entry.missing]


def load(name: str, settings: Settings) -> Scorer:
    """Return the model called `name`, ready to score.

    Raises
    ------
    SettingsError
        There is no such name.
    EnvironmentFault
        The model cannot be had, or its files are damaged.
    """
    family, int8 = checked([name])[0].removesuffix(INT8), name.endswith(INT8)
    try:
        if family == "minilm":
            return minilm.load(settings.cache, int8=int8)
        return finbert.load(finbert.locate(settings), settings.cache, int8=int8)
    except ModelError as error:
        raise EnvironmentFault(str(error)) from error


def export(name: str, folder: Path, settings: Settings) -> str:
    """Write the model called `name` to `folder` for ONNX Runtime, and return its id; errors as for :func:`load`."""
    from models.sentiment import finbert_network, minilm_network  # noqa: PLC0415 - import torch

    family, int8 = checked([name])[0].removesuffix(INT8), name.endswith(INT8)
    try:
        network = minilm_network.network() if family == "minilm" else finbert_network.network(finbert.locate(settings))
        onnx_runtime.export(network, folder, int8=int8)
    except (ModelError, OSError) as error:
        raise EnvironmentFault(f"{name} cannot be exported to {folder}: {error}") from error
    return network.model_id + onnx_runtime.suffix(int8=int8)


def checked(names: Sequence[str]) -> Sequence[str]:
    """Return `names` where each is one of `NAMES`; raise SettingsError otherwise."""
    for name in names:
        if name not in NAMES:
            raise SettingsError(f"there is no sentiment model {name!r}; there are {', '.join(NAMES)}")
    return names


def _entry(name: str, offline: Settings) -> Entry:
    ending = onnx_runtime.suffix(int8=name.endswith(INT8))
    try:
        if name.startswith("minilm"):
            return Entry(name, minilm.model_id() + ending, "")
        folder = finbert.locate(offline)
        if onnx_runtime.is_exported(folder):
            return Entry(name, onnx_runtime.about(folder).model_id, "")
        return Entry(name, finbert.model_id(folder) + ending, "")
    except ModelError as error:
        return Entry(name, "", str(error))
