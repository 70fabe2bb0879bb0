"""What of a project still waits on this machine: in its journals, and in migrations that have not come to their end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.backend.cleanup.store import PlaceOf
from holdfast.core.cleanup.records import Need, State
from holdfast.delivery.identity import is_local, load_about, load_experiment, load_resolved
from holdfast.delivery.offline_files import files_waiting
from holdfast.delivery.places import Journal, places_of
from holdfast.errors import JournalError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.spool import Spool
from holdfast.project import Project


def needs_of_journals(project: Project, state: State, place_of: PlaceOf) -> list[Need]:
    """Return what records and files need that lie in the project's journals and are not delivered.

    Raises:
        JournalError: A journal cannot be read: nobody can tell what it needs.
    """
    needs: list[Need] = []
    for journal in places_of(project.settings).all:
        with _readable(f"the journal {journal.root}"):
            needs += _needs_of(journal, state, place_of)
    return needs


def _needs_of(journal: Journal, state: State, place_of: PlaceOf) -> Iterator[Need]:
    why = f"what waits in the journal {journal.root}"
    entries = []
    for parcel in Spool(journal.paths).parcels():
        if parcel.entry is None and not parcel.is_damaged:
            raise JournalError(f"The journal {journal.root} cannot be read: {parcel.problem}.", "try again")
        entries += [parcel.entry] if parcel.entry is not None else []
    with_files = {run_id for run_id in journal.run_ids() if files_waiting(journal.paths.run(run_id))}
    for run_id in {*journal.waiting(), *with_files, *(entry.run_id for entry in entries)}:
        yield from _needs_of_run(journal, run_id, state, place_of, why)
    for root in {entry.root_uri for entry in entries if entry.root_uri}:
        yield Need(why, place=place_of(root))


def _needs_of_run(journal: Journal, run_id: str, state: State, place_of: PlaceOf, why: str) -> Iterator[Need]:
    files, run = OsFileSystem(), journal.paths.run(run_id)
    about, resolved = load_about(files, run), load_resolved(files, run)
    address = resolved.artifact_uri if resolved is not None else about.artifact_uri
    if address:
        yield Need(why, place=place_of(address))
    if resolved is not None or not is_local(run_id):
        yield Need(why, run_id=run_id if resolved is None else resolved.run_id)
        return
    # It is not on the server yet, and its experiment must be there when it comes.
    begun_in = load_experiment(files, journal.paths, about.experiment_id) if is_local(about.experiment_id) else None
    for experiment in state.experiments:
        is_meant = experiment.name == begun_in.name if begun_in else experiment.experiment_id == about.experiment_id
        if is_meant and experiment.is_deleted:
            yield Need(why, experiment_id=experiment.experiment_id)


def needs_of_migrations(project: Project, place_of: PlaceOf) -> list[Need]:
    """Return the new places of what migrations have moved, or begun to, and no row of MLflow names yet.

    Raises:
        JournalError: The notes of a migration cannot be read.
    """
    home = project.settings.project_root / ".holdfast" / "migrations"
    needs: list[Need] = []
    for path in sorted(home.glob("*/ledger.jsonl")):
        with _readable(f"the migration's ledger {path}"):
            why = f"the migration noted in {path.parent}, which has not come to its end,"
            needs += [Need(why, place=place_of(new)) for new in _not_rewritten(path)]
    return needs


def _not_rewritten(path: Path) -> list[str]:
    """Return the new addresses of a migration's places that rows do not name yet; it may be at work meanwhile."""
    moved: dict[str, str] = {}
    rewritten: set[str] = set()
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
                if record["is"] == "place":
                    moved[record["old"]] = str(record["new"])
                rewritten.update(record.get("places", ()) if record["is"] in ("rewriting", "rewritten") else ())
            except (ValueError, KeyError, TypeError, AttributeError):  # the last line of one that was killed
                break
    return [new for old, new in moved.items() if old not in rewritten]


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"{what[0].upper()}{what[1:]} cannot be read, so nobody can tell what it needs: {error.strerror or error}.",
            "let the user who cleans up read it",
        ) from None
