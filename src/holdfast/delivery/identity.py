"""Which run on the server a journal's run is; one that was begun offline is created there, once."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.sending import KEY_TAG, ExperimentRef, Refused, RunRef, Sender, Unavailable
from holdfast.journal.filesystem import FileSystem, OsFileSystem, write_whole
from holdfast.journal.layout import FORMAT, LOCAL_PREFIX, JournalPaths, RunPaths
from holdfast.journal.locks import FileLock

PARENT_TAG = "mlflow.parentRunId"
LOCAL_TAG = "holdfast.localId"
_LOCK_WAIT_S = 5.0
_LOCK_POLL_S = 0.1


@dataclass(frozen=True)
class RunAbout:
    """A run as it was begun.

    Attributes:
        run_id: Its id, or a local one.
        key: What it is found by on the server; None for a run that was begun elsewhere and is only logged to.
        experiment_id: Its experiment, which may be a local one too.
        user: Who began it.
        start_time_ms: When, ms since the epoch.
        name: Its name; None lets the server choose.
        tags: What it was begun with.
        artifact_uri: Where its files go.
    """

    run_id: str
    key: str | None = None
    experiment_id: str = ""
    user: str = ""
    start_time_ms: int = 0
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    artifact_uri: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it was begun while the server could not be reached."""
        return is_local(self.run_id)


@dataclass(frozen=True)
class ExperimentAbout:
    """An experiment that was named while the server could not be reached."""

    experiment_id: str
    name: str
    artifact_location: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """What a local run became on the server."""

    run_id: str
    experiment_id: str
    artifact_uri: str


def is_local(identifier: str) -> bool:
    """Whether an id was given by the journal and not by a server."""
    return identifier.startswith(LOCAL_PREFIX)


def new_local_id() -> str:
    """Return an id for a run that is begun offline."""
    return f"{LOCAL_PREFIX}{uuid.uuid4().hex}"


def local_experiment_id(name: str) -> str:
    """Return the id of an experiment that is named offline: the same for the same name."""
    return f"{LOCAL_PREFIX}{uuid.uuid5(uuid.NAMESPACE_URL, name).hex[:24]}"


def save_about(files: FileSystem, run: RunPaths, about: RunAbout) -> None:
    """Write how the run was begun, unless that is known already; durable when this returns."""
    if files.size(run.about):
        return
    files.make_folder(run.folder)
    write_whole(files, run.about, json.dumps({"format": FORMAT, **asdict(about)}).encode())
    files.sync_folder(run.folder.parent)


def load_about(files: FileSystem, run: RunPaths) -> RunAbout:
    """Return how the run was begun; of one whose note is missing, its id."""
    found = _load(files, run.about)
    known = {name: found[name] for name in RunAbout.__dataclass_fields__ if name in found}
    return RunAbout(**{"run_id": run.folder.name, **known})


def save_experiment(files: FileSystem, paths: JournalPaths, about: ExperimentAbout) -> None:
    """Write which experiment a local id stands for; durable when this returns."""
    files.make_folder(paths.experiments)
    path = paths.experiments / f"{about.experiment_id}.json"
    if not files.size(path):
        write_whole(files, path, json.dumps({"format": FORMAT, **asdict(about)}).encode())


def load_experiment(files: FileSystem, paths: JournalPaths, experiment_id: str) -> ExperimentAbout | None:
    """Return which experiment a local id stands for, or None where this journal does not know it."""
    found = _load(files, paths.experiments / f"{experiment_id}.json")
    if "name" not in found:
        return None
    return ExperimentAbout(experiment_id, found["name"], found.get("artifact_location"), found.get("tags") or {})


def load_resolved(files: FileSystem, run: RunPaths) -> Resolved | None:
    """Return what a local run became, or None where it is not on the server yet."""
    found = _load(files, run.resolved)
    return Resolved(found["run_id"], found["experiment_id"], found["artifact_uri"]) if "run_id" in found else None


def server_id_of(paths: JournalPaths, run_id: str) -> str | None:
    """Return a run's id on the server; None for a local one that is not there yet."""
    if not is_local(run_id):
        return run_id
    found = load_resolved(OsFileSystem(), paths.run(run_id))
    return None if found is None else found.run_id


def _load(files: FileSystem, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(files.read(path, 0, 64 << 20))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def resolve(files: FileSystem, paths: JournalPaths, run_id: str, sender: Sender) -> str:
    """Return the run's id on the server, creating it there if need be; the caller holds the run's lock.

    A run is looked for by its key before it is created, so that an answer that was lost makes no second one.

    Raises:
        Refused, Unavailable: As the server says.
    """
    run = paths.run(run_id)
    about = load_about(files, run)
    if not about.is_local:
        return about.run_id
    known = load_resolved(files, run)
    if known is not None:
        return known.run_id
    experiment_id = resolve_experiment(files, paths, about.experiment_id, sender)
    # One that is not deleted comes first: of twins, all but one are (see `without_twins`).
    found = sorted(sender.find_runs(experiment_id, about.key or run_id), key=lambda ref: (ref.deleted, ref.run_id))
    ref = found[0] if found else _create(files, paths, about, experiment_id, sender)
    resolved = Resolved(ref.run_id, ref.experiment_id, ref.artifact_uri)
    with contextlib.suppress(OSError):  # a full disk must not keep what fills it; the run is found by its key again
        write_whole(files, run.resolved, json.dumps({"format": FORMAT, **asdict(resolved)}).encode())
    return ref.run_id


def _create(files: FileSystem, paths: JournalPaths, about: RunAbout, experiment_id: str, sender: Sender) -> RunRef:
    tags = dict(about.tags) | {KEY_TAG: about.key or about.run_id, LOCAL_TAG: about.run_id}
    if PARENT_TAG in tags:
        tags[PARENT_TAG] = resolve_other(files, paths, tags[PARENT_TAG], sender)
    made = sender.create_run(experiment_id, about.user, about.start_time_ms, about.name, tags)
    return without_twins(sender, made, tags[KEY_TAG])


def without_twins(sender: Sender, made: RunRef, key: str) -> RunRef:
    """Return the one run of this key; a request that was thought lost and came through late made another.

    Everybody agrees on the one with the smallest id, and deletes only what they made themselves.
    """
    twins = [ref for ref in sender.find_runs(made.experiment_id, key) if not ref.deleted]
    first = min(twins, key=lambda ref: ref.run_id, default=made)
    if first.run_id != made.run_id:
        sender.delete_run(made.run_id)
    return first


def resolve_other(files: FileSystem, paths: JournalPaths, run_id: str, sender: Sender) -> str:
    """Return the id on the server of another run of this journal, such as a parent; foreign ids stay as they are.

    Raises:
        Unavailable: Somebody else is busy with it.
    """
    run = paths.run(run_id)
    if not is_local(run_id) or not files.size(run.about):
        return run_id
    known = load_resolved(files, run)
    if known is not None:
        return known.run_id
    with FileLock(run.lock) as lock:
        # Whoever delivers the parent resolves it first of all, and may then be busy with it for long.
        deadline = time.monotonic() + _LOCK_WAIT_S
        while not lock.acquire(_LOCK_POLL_S):
            known = load_resolved(files, run)
            if known is not None:
                return known.run_id
            if time.monotonic() > deadline:
                raise Unavailable(f"run {run_id}, the parent, is being delivered by another process", is_local=True)
        return resolve(files, paths, run_id, sender)


def resolve_experiment(files: FileSystem, paths: JournalPaths, experiment_id: str, sender: Sender) -> str:
    """Return the experiment's id on the server, creating it there if need be.

    Raises:
        Unavailable: It is deleted there, which people have to mend.
        Refused: This journal does not know the local id, or the server refuses the name.
    """
    if not is_local(experiment_id):
        return experiment_id
    about = load_experiment(files, paths, experiment_id)
    if about is None:
        raise Refused(f"the journal does not say which experiment {experiment_id} is", about_run=True)
    found: ExperimentRef | None = sender.find_experiment(about.name)
    if found is None:
        found = sender.create_experiment(about.name, about.artifact_location, about.tags)
    if found.deleted:
        restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise Unavailable(
            f"experiment {about.name!r} is deleted on the server ({restore})", needs_people=True, is_local=True
        )
    return found.experiment_id
