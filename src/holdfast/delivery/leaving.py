"""What a process says at its end about what is not delivered yet."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from holdfast.delivery.aside import load_asides
from holdfast.delivery.target import Target
from holdfast.journal.checkpoint import is_behind, load_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.household import ProcessJournal
from holdfast.journal.layout import RunPaths
from holdfast.journal.parcel import Parcel


def what_is_left(
    target: Target, journal: ProcessJournal, runs: Sequence[str], left: Mapping[str, str]
) -> Iterator[str]:
    """Yield a line for each kind of thing that is not on the server, with the command that goes on.

    Args:
        target: The journal and its store.
        journal: What this process writes to it.
        runs: The runs.
        left: Run → why not all of it is there.
    """
    paths = [journal.paths.run(run_id) for run_id in runs]
    aside = [run.folder.name for run in paths if load_asides(OsFileSystem(), run.aside)]
    parcels = journal.spool.of_runs(runs)
    waiting = [parcel for parcel in parcels if not parcel.is_refused]
    only_files = {parcel.entry.run_id for parcel in parcels if parcel.entry is not None} - _behind(paths)
    pending = [run_id for run_id in left if run_id not in aside and run_id not in only_files]
    if pending:
        later = "the shipper goes on with it" if target.shipper == "process" else "it is kept"
        yield (
            f"{counted(pending)} not delivered in full ({left[pending[0]]}); {later}, "
            f"or run: holdfast sync {_quoted(target.root)} --to {target.destination}"
        )
    if aside:
        yield (
            f"the server refuses something of {counted(aside)}, which was set aside: "
            f"holdfast journal status {aside[0]}, then retry, export or drop"
        )
    if waiting:
        yield _how_many_wait(waiting, target)
    if len(parcels) > len(waiting):
        (first, *_) = (parcel.entry.run_id for parcel in parcels if parcel.is_refused and parcel.entry is not None)
        yield (
            f"files of run {first} cannot be uploaded or deleted and were set aside: holdfast journal status {first}, "
            "then retry, export or drop"
        )
    files = [run.folder.name for run in paths if any((run.folder / "artifacts").glob("*"))]
    if files:
        yield f"files of {counted(files)} begun offline are uploaded once it is on the server, or by: holdfast sync"


def _behind(runs: Sequence[RunPaths]) -> set[str]:
    """Return those of which records are not delivered."""
    files = OsFileSystem()
    return {run.folder.name for run in runs if is_behind(files, run.folder, load_checkpoint(files, run.checkpoint))}


def _how_many_wait(parcels: Sequence[Parcel], target: Target) -> str:
    count = sum(len(parcel.left.files) for parcel in parcels)
    removals = sum(len(parcel.left.removes) for parcel in parcels)
    reasons = [trouble.reason.splitlines()[0] for parcel in parcels if (trouble := parcel.trouble) is not None]
    why = f" ({reasons[0]})" if reasons else ""
    later = "the uploader goes on with them" if target.shipper == "process" else "they are kept"
    files = "1 file is" if count == 1 else f"{count} files are"
    todo = [f"{files} still to be uploaded"] if count or not removals else []
    todo += [f"{'1 is' if removals == 1 else f'{removals} are'} still to be deleted in the store"] if removals else []
    return f"{' and '.join(todo)}{why}; {later}, or run: holdfast sync {_quoted(target.root)}"


class Notice:
    """Says once, after a second, what a process is waiting for at its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._due_s = time.monotonic() + 1.0

    def __call__(self) -> None:
        if self._text and time.monotonic() >= self._due_s:
            sys.stderr.write(f"{self._text}\n")
            self._text = ""


def counted(runs: Sequence[str]) -> str:
    """Return how many runs these are, or which one."""
    return f"run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
