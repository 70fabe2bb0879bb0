"""The folder that an export writes to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from holdfast.errors import InvalidInputError


def check_folder(folder: Path) -> Path:
    """Make a folder where there is none, and make sure that files can be written there.

    Raises:
        InvalidInputError: It is a file, lies in one, or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asking for permissions would not tell: of a full disk, a read-only one, or of a file system without files.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        is_file = folder.is_file() or isinstance(error, NotADirectoryError)
        why = "it is, or lies in, a file" if is_file else error.strerror or type(error).__name__
        raise InvalidInputError(
            f"The files of the export cannot be written to {folder}: {why}.", "give another folder with into=…"
        ) from None
    return folder
