"""Files that were logged to a run begun offline, kept in its folder until the run is on the server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from holdfast.delivery.identity import load_resolved
from holdfast.errors import HoldfastError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths, RunPaths
from holdfast.journal.locks import FileLock

_CHECK_S = 5.0

Upload = Callable[[Path, str], object]


def files_waiting(run: RunPaths) -> int:
    """Return how many files that were logged offline are still to be uploaded."""
    return sum(len(names) for _, _, names in os.walk(run.folder / "artifacts"))


def upload_files(paths: JournalPaths, run_id: str, upload: Upload) -> int:
    """Upload what was logged offline as files, then rename their folder; return how many there were.

    To be called when nobody writes to the run any more. Being killed in between uploads them again, under the same
    names.

    Raises:
        HoldfastError: The artifact store refused one, or cannot be reached; all are kept.
        OSError: The journal cannot be written to.
    """
    run = paths.run(run_id)
    count = files_waiting(run)
    found = load_resolved(OsFileSystem(), run)
    if not count or found is None:
        return 0
    with FileLock(run.lock) as lock:
        if not lock.acquire(_CHECK_S):
            raise HoldfastError(f"Run {run_id} is being delivered by another process.", "try again", retryable=True)
        upload(run.folder / "artifacts", found.artifact_uri)
        os.replace(run.folder / "artifacts", next(name for name in _sent_names(run.folder) if not name.exists()))
        OsFileSystem().sync_folder(run.folder)
    return count


def _sent_names(folder: Path) -> Iterator[Path]:
    yield folder / "artifacts.sent"
    number = 2
    while True:
        yield folder / f"artifacts.{number}.sent"
        number += 1
