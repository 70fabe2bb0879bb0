"""Finds journals and the runs in them: those of a project, and those that were copied from another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.uris import mask_uri
from holdfast.delivery.identity import is_local, server_id_of
from holdfast.delivery.target import Target, journal_folder, journal_name, target_of
from holdfast.errors import NotFoundError, SettingsError
from holdfast.journal.checkpoint import is_behind, load_checkpoint
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths, RunPaths
from holdfast.journal.spool import Spool

if TYPE_CHECKING:
    from holdfast.settings import Settings


@dataclass(frozen=True)
class Journal:
    """A journal on the disk.

    Attributes:
        paths: Its files.
        destination: The tracking store it was written for, without a password; empty where it does not say.
    """

    paths: JournalPaths
    destination: str

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.paths.root

    def run_ids(self) -> list[str]:
        """Return the names of the runs' folders, those of the runs that are being deleted left out."""
        try:
            entries = list(os.scandir(self.paths.runs))
        except OSError:
            return []
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))

    def waiting(self) -> list[str]:
        """Return the runs of which something is not delivered or uploaded."""
        files = OsFileSystem()
        with_files = {parcel.entry.run_id for parcel in Spool(self.paths).parcels() if parcel.entry is not None}
        runs = {run_id: self.paths.run(run_id) for run_id in self.run_ids()}
        return [
            run_id
            for run_id, run in runs.items()
            if run_id in with_files or is_behind(files, run.folder, load_checkpoint(files, run.checkpoint))
        ]


@dataclass(frozen=True)
class Places:
    """Where a command looks.

    Attributes:
        journals: The journals that it is about.
        others: Those of other tracking stores beside them, to be named.
        run_id: The one run that it is about, where a run's folder was given.
    """

    journals: tuple[Journal, ...]
    others: tuple[Journal, ...] = ()
    run_id: str | None = None

    @property
    def all(self) -> tuple[Journal, ...]:
        """Every journal, for a search."""
        return (*self.journals, *self.others)


@dataclass(frozen=True)
class FoundRun:
    """A run's folder in a journal."""

    journal: Journal
    run_id: str

    @property
    def paths(self) -> RunPaths:
        """The run's files."""
        return self.journal.paths.run(self.run_id)

    @property
    def server_id(self) -> str | None:
        """The run's id on the server; None for a local one that is not there yet."""
        return server_id_of(self.journal.paths, self.run_id)


def places_of(settings: Settings, path: Path | None = None) -> Places:
    """Return the journals at a path, or those of the project.

    Args:
        settings: The project's; of its journals, the one of its tracking store is meant.
        path: A journal, a folder that holds several, a `.holdfast` folder, or a run's folder in a journal.

    Raises:
        NotFoundError: There is no journal at the path.
    """
    if path is not None:
        return _places_at(path)
    folder = journal_folder(settings)
    found = _below(folder)
    own = folder / journal_name(settings.tracking_uri)
    return Places(
        # Its name says what it is for, also where its note was lost.
        tuple(Journal(journal.paths, mask_uri(settings.tracking_uri)) for journal in found if journal.root == own),
        tuple(journal for journal in found if journal.root != own),
    )


def _places_at(path: Path) -> Places:
    folder = path.absolute()
    runs, root = folder.parent, folder.parent.parent
    if runs.name == "runs" and folder.is_dir() and _is_journal(root):
        return Places((_journal(root),), run_id=folder.name)
    found = [_journal(folder)] if _is_journal(folder) else _below(folder) or _below(folder / "journal")
    if not found:
        raise NotFoundError(
            f"There is no journal at {path}.",
            "name a journal's folder (it holds journal.json), the folder above, a .holdfast folder, "
            "or a run's folder in a journal",
        )
    return Places(tuple(found))


def _below(folder: Path) -> list[Journal]:
    return [_journal(folder / name) for name in OsFileSystem().list(folder) if _is_journal(folder / name)]


def _is_journal(folder: Path) -> bool:
    return (folder / "journal.json").is_file() or ((folder / "runs").is_dir() and (folder / "processes").is_dir())


def _journal(root: Path) -> Journal:
    paths = JournalPaths(root)
    try:
        destination = json.loads(paths.about.read_bytes())["destination"]
    except (OSError, ValueError, KeyError, TypeError):
        destination = ""
    return Journal(paths, str(destination))


# -- runs ---------------------------------------------------------------------------------


def find_run(journals: Iterable[Journal], run_id: str) -> list[FoundRun]:
    """Return every folder of a run: what was begun offline may have been gone on with under the server's id.

    Args:
        journals: Where to look.
        run_id: Its id on the server, or a local one.

    Raises:
        NotFoundError: None of the journals knows it.
    """
    every = [FoundRun(journal, name) for journal in journals for name in journal.run_ids()]
    ids = {run_id} | {server for run in every if run.run_id == run_id and (server := run.server_id) is not None}
    found = [run for run in every if run.run_id in ids or (is_local(run.run_id) and run.server_id in ids)]
    if not found:
        raise NotFoundError(
            f"No journal here knows run {run_id}.",
            "see `holdfast journal status --all`; a run leaves its journal HOLDFAST_JOURNAL_KEEP days after it was "
            "delivered" + (_HOW_TO_FIND.format(run_id) if is_local(run_id) else ""),
        )
    return found


_HOW_TO_FIND = ", and keeps its local id as a tag: holdfast runs list -f \"tags.`holdfast.localId` = '{}'\""


# -- where to -----------------------------------------------------------------------------


def targets_of(settings: Settings, journals: Iterable[Journal], is_chosen: bool = False) -> list[Target]:
    """Return what is needed to deliver journals to the configured tracking store: those that were written for it.

    Args:
        settings: The project's.
        journals: The journals.
        is_chosen: Whether the store was named for just this purpose (`--to`): a single journal may then be one
            that was written for another store.

    Raises:
        SettingsError: None of them was written for this store, or it is of a kind that is not delivered to.
    """
    journals = tuple(journals)
    target = target_of(settings)
    meant = [journal for journal in journals if journal.destination == target.destination]
    if not meant and is_chosen and len(journals) == 1:
        meant = [journals[0]]
    if not meant and journals:
        raise _wrong_store(journals, target.destination)
    return [replace(target, root=journal.root) for journal in meant]


def _wrong_store(journals: tuple[Journal, ...], destination: str) -> SettingsError:
    if len(journals) > 1:
        stores = ", ".join(sorted({journal.destination or "?" for journal in journals}))
        return SettingsError(
            f"None of these {len(journals)} journals was written for {destination}, but for {stores}.",
            "set MLFLOW_TRACKING_URI to one of these, or name one journal's folder and the store with --to URI",
        )
    written = f"was written for {journals[0].destination}" if journals[0].destination else "does not say for what"
    return SettingsError(
        f"The journal {journals[0].root} {written}, and the configured tracking store is {destination}.",
        f"to deliver it there: holdfast sync {journals[0].root} --to {destination}; or set MLFLOW_TRACKING_URI",
    )
