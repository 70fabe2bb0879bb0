"""Since when runs are known to be deleted, for stores that do not say it.

A file in the project's folder, one for each tracking store, notes when a plan first saw a run deleted. A run that was
restored, or is gone, is forgotten with the next plan; one that was restored and deleted again between two plans counts
as deleted all the time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from holdfast.artifacts.landing import disk_errors
from holdfast.core.cleanup.records import State
from holdfast.delivery.target import journal_name
from holdfast.errors import JournalError
from holdfast.journal.filesystem import OsFileSystem, write_whole
from holdfast.journal.locks import FileLock
from holdfast.settings import Settings

_FORMAT = 1
_LOCK_WAIT_S = 10.0
_LARGEST_BYTES = 1 << 30


def home_of(settings: Settings) -> Path:
    """Return the folder in which clean-up keeps what it must remember; it need not exist."""
    return settings.project_root / ".holdfast" / "gc"


def with_ages(state: State, settings: Settings, now_ms: int) -> State:
    """Return a state in which every deleted run has a time since when it is known to be deleted, noted for the next.

    Raises:
        ArtifactError: The file cannot be read or written.
        JournalError: Another process has it for too long, or a later release wrote it.
    """
    unknown = {run.run_id for run in state.runs if run.is_deleted and run.deleted_ms is None}
    path = home_of(settings) / f"seen-{journal_name(settings.tracking_uri)}.json"
    if not unknown and not path.exists():
        return state
    since = _noted(path, unknown, now_ms)
    runs = (replace(run, deleted_ms=since[run.run_id]) if run.run_id in unknown else run for run in state.runs)
    return replace(state, runs=tuple(runs))


def _noted(path: Path, run_ids: set[str], now_ms: int) -> Mapping[str, int]:
    with disk_errors(f"Cannot note since when runs are deleted in {path}"):
        make_home(path.parent)
        with FileLock(path.with_suffix(".lock")) as lock:
            if not lock.acquire(_LOCK_WAIT_S):
                raise JournalError(f"Another process has {path} locked.", "try again", retryable=True)
            known = _read(path)
            # A clock that was wrong then must not make a run young for ever.
            since = {run_id: min(known.get(run_id, now_ms), now_ms) for run_id in sorted(run_ids)}
            if since != known:
                content = {"format": _FORMAT, "deleted_since_ms": since}
                write_whole(OsFileSystem(), path, json.dumps(content).encode())
    return since


def make_home(folder: Path) -> None:
    """Make the folder of a clean-up's notes, which no repository is to have."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _read(path: Path) -> dict[str, int]:
    """Return what was noted; a file that is broken counts as none, which only makes runs younger.

    Raises:
        JournalError: A later release wrote it.
    """
    try:
        content = json.loads(OsFileSystem().read(path, 0, _LARGEST_BYTES))
        if content["format"] > _FORMAT:
            raise JournalError(f"{path} was written by a later release.", "pip install --upgrade holdfast")
        return {str(run_id): int(since) for run_id, since in content["deleted_since_ms"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
