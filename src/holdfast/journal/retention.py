"""Deletes what is delivered: after a time, or when the room is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from holdfast.journal.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from holdfast.journal.filesystem import FileSystem, OsFileSystem
from holdfast.journal.layout import JournalPaths, RunPaths, parse_segment_name
from holdfast.journal.lease import Life, leased, life_of
from holdfast.journal.locks import FileLock
from holdfast.journal.spool import Spool


def retire(paths: JournalPaths, needed_bytes: int = 0, older_than_s: float | None = None) -> int:
    """Delete delivered data, the oldest run first; return how many bytes that freed.

    Runs with something set aside stay, until `holdfast journal drop` or `retry` has dealt with it.

    Args:
        paths: The journal.
        needed_bytes: Stop when so much is free. Segments of runs that go on are deleted too then.
        older_than_s: Only runs that have been complete for so long, and all of them.
    """
    files = OsFileSystem()
    freed = 0
    _finish_deletions(files, paths)
    spool = Spool(paths)
    spool.clean()
    # Files that were handed over need their run's folder, which says where they go.
    waited_for = {parcel.entry.run_id for parcel in spool.parcels() if parcel.entry is not None}
    for run in _oldest_first(paths):
        if older_than_s is None and freed >= needed_bytes:
            break
        with contextlib.suppress(OSError), FileLock(run.lock) as lock:
            if lock.acquire():
                freed += _retire_run(files, run, older_than_s, run.folder.name in waited_for)
    return freed


def _oldest_first(paths: JournalPaths) -> list[RunPaths]:
    with contextlib.suppress(OSError):
        folders = [Path(entry.path) for entry in os.scandir(paths.runs) if entry.is_dir() and entry.name[0] != "."]
        return [RunPaths(folder) for folder in sorted(folders, key=_modified)]
    return []


def _modified(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def _retire_run(files: FileSystem, run: RunPaths, older_than_s: float | None, is_waited_for: bool) -> int:
    checkpoint = load_checkpoint(files, run.checkpoint)
    # Files that were logged offline are nowhere else until they are uploaded.
    has_files = is_waited_for or bool(files.list(run.folder / "artifacts"))
    is_complete = checkpoint.complete_ms is not None and not files.size(run.aside) and not has_files
    if older_than_s is None:
        return _remove(files, run, checkpoint) if is_complete else delete_delivered(files, run, checkpoint)
    age_s = time.time() - (checkpoint.complete_ms or 0) / 1000
    return _remove(files, run, checkpoint) if is_complete and age_s >= older_than_s else 0


def delete_delivered(files: FileSystem, run: RunPaths, checkpoint: Checkpoint) -> int:
    """Delete the segments of a run that are delivered to their end and have a successor; return the bytes freed."""
    names = [found for name in files.list(run.folder) if (found := parse_segment_name(name))]
    last = {name.writer: max(other.number for other in names if other.writer == name.writer) for name in names}
    done = [
        name.name
        for name in names
        if name.number < last[name.writer]
        and checkpoint.segments.get(name.name, 0) >= files.size(run.folder / name.name)
    ]
    if not done:
        return 0
    freed = sum(files.size(run.folder / name) for name in done)
    # First the note, then the deed: a segment that is gone must never look like one that is missing.
    save_checkpoint(files, run.checkpoint, checkpoint.without(tuple(done)))
    for name in done:
        files.unlink(run.folder / name)
    return freed


def _remove(files: FileSystem, run: RunPaths, checkpoint: Checkpoint) -> int:
    freed = sum(entry.stat().st_size for entry in os.scandir(run.folder) if entry.is_file())
    # Renamed first, so that a killed deletion leaves no half of a run behind under its name.
    grave = run.folder.with_name(f".{run.folder.name}.{os.getpid()}.gone")
    os.replace(run.folder, grave)
    return freed if _bury(files, run, grave, checkpoint) else 0


def _bury(files: FileSystem, run: RunPaths, grave: Path, checkpoint: Checkpoint) -> bool:
    """Delete a run that was renamed, or put it back; whoever is killed in between leaves its name to say which."""
    if _put_back_what_is_new(files, run, grave, checkpoint):
        return False
    dead = grave.with_suffix(".dead")
    os.replace(grave, dead)
    shutil.rmtree(dead, ignore_errors=True)
    return True


def _finish_deletions(files: FileSystem, paths: JournalPaths) -> None:
    """Go on with what a killed deletion left behind."""
    for name in files.list(paths.runs):
        folder = paths.runs / name
        if name.startswith(".") and name.endswith(".dead"):
            shutil.rmtree(folder, ignore_errors=True)
        elif name.startswith(".") and name.endswith(".gone"):
            run_id = name[1:].rsplit(".", 2)[0]
            with contextlib.suppress(OSError), FileLock(RunPaths(folder).lock) as lock:
                if lock.acquire():
                    checkpoint = load_checkpoint(files, RunPaths(folder).checkpoint)
                    _bury(files, paths.run(run_id), folder, checkpoint)


def _put_back_what_is_new(files: FileSystem, run: RunPaths, grave: Path, checkpoint: Checkpoint) -> bool:
    """Undo the removal where a process went on with the run at this very moment; its open files move along."""
    if all(
        checkpoint.segments.get(name, -1) >= files.size(grave / name)
        for name in files.list(grave)
        if parse_segment_name(name)
    ):
        return False
    files.make_folder(run.folder)
    for name in files.list(grave):
        if not (run.folder / name).exists():
            files.replace(grave / name, run.folder / name)
    shutil.rmtree(grave, ignore_errors=True)
    return True


def retire_leases(paths: JournalPaths) -> None:
    """Delete the leases of processes that are gone and that nothing in the journal names."""
    files = OsFileSystem()
    processes = leased(paths)
    # Asked before the segments are listed: what a process that is gone has written is then all there.
    gone = [process for process in processes if life_of(paths, process) is Life.GONE]
    named = {
        found.process
        for run in _oldest_first(paths)
        for name in files.list(run.folder)
        if (found := parse_segment_name(name))
    } | Spool(paths).processes()
    for process in gone:
        if process not in named:
            paths.lease(process).unlink(missing_ok=True)
