"""The check of where the files of all experiments and registered versions lie, and whether this project reaches them.

Experiments keep the place that they were created in, or were moved to, whatever the settings say since. A store that
several use holds experiments of other projects too, whose buckets are none of this one's business: there only a place
that a migration of this project moved files to must be readable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.artifacts.s3.files import S3Files
from holdfast.artifacts.team import in_parallel
from holdfast.backend.stored_places import PlacesSender, StoredPlaces, places_in_database, places_on_server
from holdfast.bucket.migration.ledger import targets_in
from holdfast.bucket.roots import plain_form
from holdfast.core.locations import PROBES
from holdfast.core.uris import is_database, mask_uri, sqlite_path
from holdfast.delivery.target import login_of
from holdfast.doctor.check import Check, Evidence, Finding, ok, skipped, warning
from holdfast.doctor.context import REQUEST_S, Context
from holdfast.doctor.server.places import is_own_machine
from holdfast.doctor.server.tracking_store import DATABASE_S, asked, database_errors, database_of, is_server
from holdfast.doctor.wording import counted
from holdfast.errors import ArtifactError

# Of each kind; what is beyond is not asked for, and said so.
_MOST, _MOST_BUCKETS = 5000, 12
_SHOWN = 3


@dataclass
class _Held:
    """What has its files in one bucket, or in folders that are missing."""

    where: str
    experiments: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    error: ArtifactError | None = None

    @property
    def said(self) -> str:
        parts = [(self.experiments, "experiment"), (self.versions, "registered version")]
        said = " and ".join(counted(len(names), what) for names, what in parts if names)
        shown = ", ".join(repr(name) for name in [*self.versions, *self.experiments][:_SHOWN])
        return f"{said} ({shown}{' …' if len(self.experiments) + len(self.versions) > _SHOWN else ''})"


@dataclass
class _Sorted:
    """What has its files elsewhere in S3 than in the project's own bucket, and what in folders that are not there."""

    buckets: dict[str, _Held] = field(default_factory=dict)
    missing: _Held = field(default_factory=lambda: _Held("folders"))


def _locations(context: Context) -> Finding:
    places = _ask_store(context)
    if places is None:
        return skipped("the tracking store is not asked for all experiments: it is no server, and no database here")
    found = _sort(context, places)
    chosen = dict(list(found.buckets.items())[:_MOST_BUCKETS])
    _look_at(context, chosen.values())
    return _finding(context, places, found, chosen)


# -- what there is --------------------------------------------------------------------------


def _ask_store(context: Context) -> StoredPlaces | None:
    """Return what the stores say; None where the tracking store is not asked."""
    places, registry = _ask_tracking(context), context.settings.registry_uri or ""
    if places is None or registry == context.settings.tracking_uri or not is_database(registry):
        return places
    path = sqlite_path(registry)
    if path is None or path.exists():
        with database_errors(context, "read where versions lie", registry):
            places.versions = places_in_database(registry, DATABASE_S, _MOST).versions
    return places


def _ask_tracking(context: Context) -> StoredPlaces | None:
    uri = context.settings.tracking_uri
    if is_server(uri):
        registry = context.settings.registry_uri or uri
        ends_at = time.monotonic() + REQUEST_S
        senders = _sender(context, uri), _sender(context, registry) if is_server(registry) else None
        return asked(
            context,
            "tell where files lie",
            lambda: places_on_server(*senders, most=_MOST, is_late=lambda: time.monotonic() > ends_at),
        )
    database = database_of(context)
    if database is None:
        return StoredPlaces() if is_database(uri) else None
    with database_errors(context, "read where files lie", database):
        return places_in_database(database, DATABASE_S, _MOST)


def _sender(context: Context, uri: str) -> PlacesSender:
    return PlacesSender(uri, login_of(context.settings, context.environ), REQUEST_S, context.redact)


def _sort(context: Context, places: StoredPlaces) -> _Sorted:
    found = _Sorted()
    own = context.bucket.name if context.bucket is not None else ""
    uri = context.settings.tracking_uri
    sees_folders = not is_server(uri) or is_own_machine(uri)
    for is_version, items in ((False, places.experiments), (True, places.versions)):
        for name, location in items:
            held = _held_by(found, location, own, sees_folders)
            if held is not None:
                (held.versions if is_version else held.experiments).append(name)
    return found


def _held_by(found: _Sorted, location: str, own: str, sees_folders: bool) -> _Held | None:
    """Return where a location is counted; None where there is nothing to ask."""
    kind, place = plain_form(location)
    if kind == "s3":
        bucket = place.removeprefix("s3://").partition("/")[0]
        return None if bucket == own or not bucket else found.buckets.setdefault(bucket, _Held(place))
    return found.missing if kind == "file" and sees_folders and not Path(place).is_dir() else None


# -- whether it can be read -----------------------------------------------------------------


def _look_at(context: Context, buckets: Iterable[_Held]) -> None:
    """Ask each bucket once; note on what it says."""
    tasks: list[Callable[[], None]] = [partial(_look, S3Files(context.access), held) for held in buckets]
    if tasks:
        in_parallel(tasks, len(tasks), threading.Event())


def _look(files: S3Files, held: _Held) -> None:
    try:
        # A folder that is empty as a rule: the experiment's own may hold any number of runs.
        files.list_files(held.where, PROBES)
    except ArtifactError as error:
        held.error = error


def _finding(context: Context, places: StoredPlaces, found: _Sorted, chosen: Mapping[str, _Held]) -> Finding:
    silent = [bucket for bucket, held in chosen.items() if held.error is not None and held.error.retryable]
    closed = {bucket: held for bucket, held in chosen.items() if held.error is not None and bucket not in silent}
    ours = {bucket: held for bucket, held in closed.items() if _is_ours(context, bucket)}
    notes = _notes(places, found, {bucket: held for bucket, held in closed.items() if bucket not in ours})
    details: dict[str, Any] = {
        "experiments": len(places.experiments),
        "versions": len(places.versions),
        "unreadable": {f"s3://{bucket}": _numbers(held) for bucket, held in closed.items()},
        "missing_folders": _numbers(found.missing),
        "is_whole": places.is_whole and len(chosen) == len(found.buckets),
    }
    if ours or found.missing.versions:
        return _warning(found, ours, notes, details)
    if silent:
        why = chosen[silent[0]].error
        return skipped(f"s3://{silent[0]} gives no answer: {why.message.rstrip('.') if why else ''}")
    counts = f"{counted(len(places.experiments), 'experiment')}, {counted(len(places.versions), 'registered version')}"
    reached = "" if closed else ": none of their places is out of reach"
    return ok("\n".join([f"{counts}{reached}", *notes]), Evidence.TRIED if chosen else Evidence.TOLD, **details)


def _is_ours(context: Context, bucket: str) -> bool:
    """Whether what lies in a bucket is this project's: its database is a file, or it has moved files there."""
    settings = context.settings
    targets = targets_in(settings.project_root / ".holdfast" / "migrations")
    moved_there = any(f"{target}/".startswith(f"s3://{bucket}/") for target in targets)
    return moved_there or sqlite_path(settings.tracking_uri) is not None


def _notes(places: StoredPlaces, found: _Sorted, others: Mapping[str, _Held]) -> list[str]:
    """Return what is told and is no fault."""
    notes = [
        f"{held.said} in s3://{bucket}, which these keys do not reach, perhaps of another project"
        for bucket, held in others.items()
    ]
    # The first one is made with the tables, and its folder as a rule never.
    empty = _Held("", [name for name in found.missing.experiments if name != "Default"])
    if empty.experiments:
        notes.append(f"{empty.said} in folders that are not there, or not yet: nothing can be read from them")
    left = len(found.buckets) - _MOST_BUCKETS
    notes += [f"{counted(left, 'further bucket')} not asked"] if left > 0 else []
    return notes if places.is_whole else [*notes, "there are more, which were not looked at"]


def _warning(found: _Sorted, ours: Mapping[str, _Held], notes: list[str], details: dict[str, Any]) -> Finding:
    said, remedies = [], []
    for bucket, held in ours.items():
        why = held.error.message.rstrip(".") if held.error else ""
        said.append(f"{held.said} in s3://{bucket}, which this project's settings do not reach: {why}")
        remedies.append(_remedy(bucket, held))
    if found.missing.versions:
        said.append(f"{_Held('', [], found.missing.versions).said} in folders that are not there")
        remedies.append(
            "see whether their disk is mounted, or bring the folders back; of a version whose files are gone: "
            "MlflowClient().delete_model_version(NAME, VERSION)"
        )
    return warning("\n".join([*said, *notes]), "\n".join(remedies), Evidence.TRIED, **details)


def _remedy(bucket: str, held: _Held) -> str:
    return (
        f"put the keys and the endpoint of s3://{bucket} (after a migration: of its --to-env) into .env, or let these "
        f"keys read it: `holdfast s3 policy --role reader {mask_uri(held.where)}`"
    )


def _numbers(held: _Held) -> dict[str, int]:
    return {"experiments": len(held.experiments), "versions": len(held.versions)}


CHECKS = (
    Check(
        "config.locations",
        "Can the files of all experiments and registered versions be read?",
        _locations,
        ("server.reachable",),
        8.0,
    ),
)
