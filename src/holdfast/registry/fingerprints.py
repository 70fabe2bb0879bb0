"""Fingerprints of data: what a run was trained on, to the byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from holdfast.errors import InvalidInputError
from holdfast.registry.checksums import measure_folder


def fingerprint(path: Path) -> str:
    """Return `sha256:` and the SHA-256 of a file, or of the list of paths, sizes and sums of all files in a folder.

    Raises:
        InvalidInputError: There is nothing, or it cannot be read.
    """
    try:
        if path.is_dir():
            return measure_folder(path).checksum
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInputError(
            f"The data {path} cannot be read: {error.strerror or error}.", "give the path of a file or folder"
        ) from None
