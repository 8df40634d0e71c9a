"""A model in one safetensors file: arrays by name, and a struct of all else that is known of it. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from streams.errors import ModelError

KEY = "tickcast"  # of the metadata
SERVED = "model.safetensors"  # how such a file is called in the store
Tensors = dict[str, NDArray[Any]]
About = TypeVar("About", bound=msgspec.Struct)


def write(path: Path, tensors: Tensors, about: msgspec.Struct) -> None:
    """Write `tensors` and `about` to `path`, whole or not at all."""
    scratch = path.with_suffix(".tmp")
    save_file(tensors, scratch, {KEY: msgspec.json.encode(about).decode()})
    scratch.chmod(0o644)  # it was made for its maker's eyes alone
    scratch.replace(path)


def read(path: Path, kind: type[About]) -> tuple[About, Tensors]:
    """Return what is in the file, whose checksum its reader has compared.

    Raises
    ------
    ModelError
        It cannot be read, or tells of itself something else than a `kind`.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = msgspec.json.decode(file.metadata()[KEY], type=kind)
            return about, {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} is no model of this version ({error}); reinstall tickcast, or train again") from error
