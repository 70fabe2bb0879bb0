"""Copying a version to another model: on the same server, or to another one with keys and a store of its own.

On the same server the new version points at the same files. To another one the files go through this machine, each
way with the keys of that side, below a run that says where they came from; they are compared byte by byte before they
are registered. What was copied before is found again by the checksum that its version carries as a tag.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.artifacts.transfer import Item
from holdfast.backend.entities import ModelVersion, Run
from holdfast.backend.model_places import place_of_version
from holdfast.core.manifest import Manifest
from holdfast.core.names import check_model_name
from holdfast.core.uris import file_uri, join_uri
from holdfast.errors import InvalidInputError, NotFoundError, RegistryError
from holdfast.project import Project
from holdfast.registry.checksums import measure, measure_folder
from holdfast.registry.copies.run import CHECKSUM_TAG, FROM_TAG, make_run, record_of
from holdfast.registry.lookup import find_version, with_stage
from holdfast.registry.serving.resolving import check_servable, ledger_of

_MODEL, _HISTORY = "model", "lineage/history.json"


@dataclass(frozen=True)
class Copied:
    """What a copy did.

    Attributes:
        version: The version in the target.
        checksum: Of its files, which are those of the source.
        is_new: Whether it was registered now; else it had been copied before.
        files: How many files were sent; 0 where they stayed where they are.
        size_bytes: How large they are.
    """

    version: ModelVersion
    checksum: str
    is_new: bool
    files: int = 0
    size_bytes: int = 0


def copy_version(
    source: Project,
    name: str,
    wanted: int | str,
    target: Project,
    target_name: str | None = None,
    *,
    checksum: str = "",
    history: Sequence[Mapping[str, object]] = (),
    experiment: str | None = None,
    description: str | None = None,
) -> Copied:
    """Copy a version to another registered model, made where it is missing.

    Copying the same files to the same model again finds the version, and registers nothing. A copy that was
    interrupted goes on with the run that it had begun.

    Args:
        source: Where it is.
        name: The registered model there.
        wanted: A number, a stage, an alias, or `latest`.
        target: Where it goes; may be the same project.
        target_name: The registered model there; the same name if not given.
        checksum: Of its files when it was registered; empty where nobody recorded it.
        history: Its history as dictionaries, which goes with it as `lineage/history.json` of the target's run.
        experiment: The target's experiment for that run; the configured one if not given.
        description: Of the new version; the source's if not given.

    Raises:
        InvalidInputError: A name or version has a form that cannot be, or source and target are the same model.
        NotFoundError: There is no such version.
        RegistryError: It is not ready, its files are not those that were registered, or they did not arrive whole.
        ArtifactError: Files cannot be read or stored.
        BackendError: One of the registries refused something.
    """
    found = find_version(source, name, wanted)
    check_servable(found)
    goal = check_model_name(name if target_name is None else target_name)
    if _is_same_server(source, target):
        if goal == found.name:
            raise InvalidInputError(f"{goal} is to be copied to itself.", "name another model, or another server")
        return _pointed(source, found, target, goal, checksum, description)
    with tempfile.TemporaryDirectory(prefix="holdfast-copy-") as scratch:
        folder = Path(scratch) / "files"
        source.artifacts.download(place_of_version(source.connection, name, found.version), "", folder)
        manifest = _checked(measure_folder(folder), found, checksum)
        before = _copied_before(target, goal, manifest.checksum)
        if before is not None:
            return Copied(before, manifest.checksum, False)
        run = make_run(source, found, _run_of(source, found), target, goal, manifest.checksum, experiment)
        return _sent(found, folder, manifest, run, target, goal, history, description)


def _is_same_server(source: Project, target: Project) -> bool:
    """Whether both keep runs and models in the same place, so that the files need not be copied."""
    ours, theirs = source.connection, target.connection
    return (ours.tracking_uri, ours.registry_uri) == (theirs.tracking_uri, theirs.registry_uri)


def _pointed(
    source: Project, found: ModelVersion, target: Project, goal: str, checksum: str, description: str | None
) -> Copied:
    """Register another version of the same files."""
    place = place_of_version(source.connection, found.name, found.version)
    manifest = _checked(measure(source, place), found, checksum)
    before = _copied_before(target, goal, manifest.checksum)
    if before is not None:
        return Copied(before, manifest.checksum, False)
    made = _register(target, goal, f"models:/{found.name}/{found.version}", found, manifest, description)
    return Copied(made, manifest.checksum, True)


def _sent(
    found: ModelVersion,
    folder: Path,
    manifest: Manifest,
    run: Run,
    target: Project,
    goal: str,
    history: Sequence[Mapping[str, object]],
    description: str | None,
) -> Copied:
    """Store the files and the history below the target's run, compare them there, and register them."""
    status = "FAILED"
    try:
        sent = target.artifacts.upload_folder(folder, run.artifact_uri, _MODEL)
        _store_history(folder.parent, target, run, found, manifest, history)
        place = join_uri(run.artifact_uri, _MODEL)
        problems = manifest.differences(measure(target, place))
        if problems:
            raise RegistryError(
                f"The copy of {found.name} version {found.version} is not what was sent: {problems[0]}.",
                "copy it again; where this happens again, see to the target's store",
                retryable=True,
            )
        status = "FINISHED"
    finally:
        target.runs.end_run(run.run_id, status)
    made = _register(target, goal, f"runs:/{run.run_id}/{_MODEL}", found, manifest, description)
    return Copied(made, manifest.checksum, True, sent.files, manifest.size_bytes)


def _store_history(
    scratch: Path,
    target: Project,
    run: Run,
    found: ModelVersion,
    manifest: Manifest,
    history: Sequence[Mapping[str, object]],
) -> None:
    document = record_of(found, manifest.checksum, history)
    text = target.redact(json.dumps(document, indent=1, ensure_ascii=False, default=str))
    local = scratch / "history.json"
    local.write_bytes(text.encode("utf-8", "backslashreplace"))
    target.artifacts.upload([Item(local, file_uri(run.artifact_uri, _HISTORY))])


def _register(
    target: Project, goal: str, uri: str, found: ModelVersion, manifest: Manifest, description: str | None
) -> ModelVersion:
    from holdfast.registry.registry import ModelRegistry

    tags = {key: value for key, value in found.tags.items() if not key.startswith(("holdfast.", "mlflow."))}
    marks = {CHECKSUM_TAG: manifest.checksum, FROM_TAG: f"{found.name}/{found.version}"}
    text = found.description if description is None else description
    return ModelRegistry(target).register(goal, uri, text, {**tags, **marks})


def _checked(manifest: Manifest, found: ModelVersion, checksum: str) -> Manifest:
    if not checksum or manifest.checksum == checksum:
        return manifest
    raise RegistryError(
        f"The files of {found.name} version {found.version} are not those that were registered: they are "
        f"{manifest.checksum}, and {checksum} was registered. Nothing was copied.",
        f"see who changed them (holdfast models audit {found.name})",
    )


def _copied_before(target: Project, goal: str, checksum: str) -> ModelVersion | None:
    """Return the newest version there that is ready and has these very files, by its tag or by the history."""
    versions = target.models.versions(goal)
    known = ledger_of(target, goal).versions if versions else {}
    for version in versions:
        recorded = known[version.version].checksum if version.version in known else ""
        if checksum in (version.tags.get(CHECKSUM_TAG), recorded) and version.status == "READY":
            return with_stage(version)
    return None


def _run_of(source: Project, found: ModelVersion) -> Run | None:
    try:
        return source.runs.get_run(found.run_id) if found.run_id else None
    except NotFoundError:
        return None
