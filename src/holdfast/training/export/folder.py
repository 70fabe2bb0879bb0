"""The folder that an export writes to."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import InvalidInputError
from holdfast.training.folders import why_unwritable


def check_folder(folder: Path) -> Path:
    """Make a folder where there is none, and make sure that files can be written there.

    Raises:
        InvalidInputError: It is a file, lies in one, or cannot be written to.
    """
    if why := why_unwritable(folder):
        raise InvalidInputError(
            f"The files of the export cannot be written to {folder}: {why}.", "give another folder with into=…"
        )
    return folder
