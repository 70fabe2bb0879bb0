"""Whether files can be written to a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path


def why_unwritable(folder: Path) -> str:
    """Make a folder where there is none; return why files cannot be written there, and nothing where they can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asking for permissions would not tell: of a full disk, a read-only one, or of a file system without files.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        is_file = folder.is_file() or isinstance(error, NotADirectoryError)
        return "it is, or lies in, a file" if is_file else error.strerror or type(error).__name__
    return ""
