"""Writing a file that a command was asked for: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, option: str) -> None:
    """Write a file; on a full disk what stood there before stays.

    Args:
        path: The file, or a device or pipe, which is written to as it is. Its folder is not made.
        content: All of it.
        option: The option that names the file, for the hint: `--html`.

    Raises:
        InvalidInputError: There is no such folder.
        ArtifactError: The disk is full, or the folder cannot be written.
    """
    from holdfast.artifacts.landing import disk_errors, landing
    from holdfast.errors import InvalidInputError

    if not path.parent.is_dir():
        raise InvalidInputError(
            f"{path} cannot be written: there is no folder {path.parent}.", f"make it, or give {option} another file"
        )
    with disk_errors(f"Cannot write {path}"):
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        with landing(Path(os.path.realpath(path))) as landed:  # a link goes on pointing at the file
            landed.write(content, 0)
