"""Model files: their checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streams.errors import ModelError


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_sha256(path: Path, expected: Path | str) -> str:
    """Return the SHA-256 of `path` after comparing it with `expected`: a checksum, or a file whose first word is one.

    Raises
    ------
    ModelError
        `path` or the checksum's file is missing, or they differ.
    """
    try:
        wanted = expected if isinstance(expected, str) else expected.read_text(encoding="ascii").split()[0]
        found = sha256(path)
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"the model file {path} or its checksum cannot be read ({error}); reinstall tickcast") from error
    if found != wanted:
        raise ModelError(f"{path} is damaged: its SHA-256 is {found}, not {wanted}; delete it and install or download it again")
    return found
