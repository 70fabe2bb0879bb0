"""From a version back to what it came from: run, code, uncommitted changes, data, environment."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.backend.entities import ModelVersion, Run
from holdfast.core.lineage import (
    DATA_TAG_PREFIX,
    DIFF_FILE,
    ENVIRONMENT_FILE,
    GIT_AUTHOR_TAG,
    GIT_BRANCH_TAG,
    GIT_COMMIT_TAG,
    GIT_DIFF_TAG,
    GIT_DIRTY_TAG,
    GIT_EARLIER_TAG,
    LINEAGE_FOLDER,
    MLFLOW_BRANCH_TAG,
    MLFLOW_COMMIT_TAG,
    MLFLOW_DIRTY_TAG,
)
from holdfast.errors import NotFoundError
from holdfast.project import Project

_HOW = "have the training call tracker.log_lineage(data=[…])"


@dataclass(frozen=True)
class Lineage:
    """What a version came from, as far as its run says; an empty text or None where it does not.

    Attributes:
        name: The registered model.
        version: Its number.
        source: Where its files come from.
        run_id: The run.
        run_name: Its name.
        run_status: FINISHED, FAILED …; empty where the run is gone.
        user: Who ran it, by the system.
        started_ms: When, ms since the epoch.
        script: What was run.
        commit: The commit of the code.
        earlier_commits: Those of earlier sittings, where the run was gone on with.
        branch: The branch.
        author: Who was configured as the author of commits.
        is_dirty: Whether anything was in no commit; None where the run does not say.
        diff_sha256: Of the uncommitted changes.
        diff_file: The artifact that holds them.
        data: Name → fingerprint of what it was trained on.
        environment_file: The artifact that lists the installed distributions.
        missing: What the run does not say, each with what would have logged it.
    """

    name: str
    version: int
    source: str
    run_id: str = ""
    run_name: str = ""
    run_status: str = ""
    user: str = ""
    started_ms: int | None = None
    script: str = ""
    commit: str = ""
    earlier_commits: tuple[str, ...] = ()
    branch: str = ""
    author: str = ""
    is_dirty: bool | None = None
    diff_sha256: str = ""
    diff_file: str = ""
    data: Mapping[str, str] | None = None
    environment_file: str = ""
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"data": dict(self.data or {})}


def lineage_of(project: Project, version: ModelVersion) -> Lineage:
    """Return what a version came from.

    Raises:
        BackendError: The tracking store cannot be reached.
        ArtifactError: The artifact store cannot be.
    """
    known = Lineage(version.name, version.version, project.redact(version.source), version.run_id)
    run = _run_of(project, version)
    if run is None:
        why = "the run is gone" if version.run_id else "the version was registered without a run"
        return replace(known, missing=(why,))
    files = {item.path for item in project.artifacts.list_files(run.artifact_uri, LINEAGE_FOLDER)}
    found = replace(known, **_of_run(run), **_of_code(run.tags))
    found = replace(
        found,
        diff_file=DIFF_FILE if DIFF_FILE in files else "",
        environment_file=ENVIRONMENT_FILE if ENVIRONMENT_FILE in files else "",
    )
    return replace(found, missing=_missing(found))


def read_diff(project: Project, lineage: Lineage) -> str:
    """Return the uncommitted changes that the run logged.

    Raises:
        NotFoundError: It logged none.
        ArtifactError: They cannot be fetched.
    """
    if not lineage.diff_file:
        clean = "its code was all committed" if lineage.is_dirty is False else "its run kept none"
        raise NotFoundError(f"{lineage.name} version {lineage.version} has no uncommitted diff: {clean}.", _HOW)
    run = project.runs.get_run(lineage.run_id)
    with tempfile.TemporaryDirectory(prefix="holdfast-lineage-") as scratch:
        path = project.artifacts.download(run.artifact_uri, lineage.diff_file, Path(scratch))
        return path.read_text(encoding="utf-8", errors="replace")


def _run_of(project: Project, version: ModelVersion) -> Run | None:
    if not version.run_id:
        return None
    try:
        return project.runs.get_run(version.run_id)
    except NotFoundError:
        return None


def _of_run(run: Run) -> dict[str, Any]:
    return {
        "run_name": run.name,
        "run_status": run.status,
        "user": run.tags.get("mlflow.user", ""),
        "started_ms": run.start_time_ms or None,
        "script": run.tags.get("mlflow.source.name", ""),
        "data": {
            name.removeprefix(DATA_TAG_PREFIX): value
            for name, value in sorted(run.tags.items())
            if name.startswith(DATA_TAG_PREFIX)
        },
    }


def _of_code(tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what the tags say of the code: Holdfast's own, else MLflow's, never some of both."""
    is_ours = GIT_COMMIT_TAG in tags or (GIT_DIRTY_TAG in tags and MLFLOW_COMMIT_TAG not in tags)
    dirty = tags.get(GIT_DIRTY_TAG if is_ours else MLFLOW_DIRTY_TAG, "").lower()
    return {
        "commit": tags.get(GIT_COMMIT_TAG if is_ours else MLFLOW_COMMIT_TAG, ""),
        "branch": tags.get(GIT_BRANCH_TAG if is_ours else MLFLOW_BRANCH_TAG, ""),
        "earlier_commits": tuple(tags.get(GIT_EARLIER_TAG, "").split()),
        "author": tags.get(GIT_AUTHOR_TAG, ""),
        "is_dirty": {"true": True, "false": False}.get(dirty),
        "diff_sha256": tags.get(GIT_DIFF_TAG, ""),
    }


def _how_to_commit(found: Lineage) -> str:
    # The tracker notes the branch, author and what is uncommitted of a repository that has no commit yet.
    if found.branch or found.is_dirty is not None:
        return "the git repository had none yet; commit first, then train"
    return "train inside a git repository, with the tracker"


def _missing(found: Lineage) -> tuple[str, ...]:
    said = []
    if not found.commit:
        said.append(f"no commit: {_how_to_commit(found)}")
    elif found.is_dirty is None:
        said.append("not known whether anything was uncommitted: train with the tracker")
    elif found.is_dirty and not found.diff_file:
        said.append(f"the uncommitted changes were not kept: {_HOW}")
    if not found.data:
        said.append(f"no fingerprint of the data: {_HOW}")
    if not found.environment_file:
        said.append(f"no environment: {_HOW}")
    return tuple(said)
