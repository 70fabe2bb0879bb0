"""Training runs, and the policies that they keep, found with the project's own settings."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from holdfast.backend.entities import Run
from holdfast.core.uris import mask_uri, sqlite_path
from holdfast.errors import NotFoundError
from holdfast.project import Project, open_project
from holdfast.settings import Settings

FOLDER = "models"
KIND_TAG, TRAINING = "basketworld.kind", "training"
"""The tag by which runs say what they are: a training, an analysis …"""

_NAME = re.compile(r"unified_policy_alt_(\d+)\.zip")
_RUN_ID = re.compile(r"[\w-]{1,64}")

Source = Settings | Project


@dataclass(frozen=True)
class PolicyFile:
    """A policy among the files of a run.

    Attributes:
        alternation: The alternation of training that it was written after.
        path: Where, among the run's files: `models/unified_policy_alt_7.zip`.
        size_bytes: Its size, or None where the store does not say.
    """

    alternation: int
    path: str
    size_bytes: int | None


@dataclass(frozen=True)
class RunInfo:
    """A run, for lists.

    Attributes:
        run_id: Its id.
        name: Its name.
        experiment: The name of its experiment.
        status: RUNNING, FINISHED, FAILED …
        start_time_ms: When it began, in ms since the epoch.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    start_time_ms: int


def policy_path(alternation: int) -> str:
    """Return where a policy lies among the files of its run."""
    return f"{FOLDER}/unified_policy_alt_{alternation}.zip"


def checksum_tag(alternation: int) -> str:
    """Return the name of the run's tag that holds the SHA-256 of a policy's file, in hexadecimal.

    A training may set it; what is fetched is checked against it then, and what has been fetched for another run is
    not fetched again.
    """
    return f"basketworld.policy.{alternation}.sha256"


def checksum_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def project_of(source: Source) -> Project:
    """Return the project of these settings, without making a database where there is none.

    Raises:
        NotFoundError: Nothing is tracked there yet.
    """
    project = source if isinstance(source, Project) else open_project(source)
    database = sqlite_path(project.settings.tracking_uri)
    if database is not None and not database.exists():
        raise NotFoundError(
            f"Nothing is tracked yet: there is no database {mask_uri(project.settings.tracking_uri)}.",
            "train first (make example-basketworld), or set MLFLOW_TRACKING_URI",
        )
    return project


def find_run(source: Source, run_id: str) -> Run:
    """Return a run.

    Raises:
        NotFoundError: There is none of this id, or it is deleted; names it.
        BackendError: The tracking store cannot be reached, or refuses.
    """
    project = project_of(source)
    if not _RUN_ID.fullmatch(run_id):
        raise NotFoundError(f"There is no run {run_id[:80]!r}.", "holdfast runs list shows the runs that there are")
    try:
        run = project.runs.get_run(run_id)
    except NotFoundError as error:
        raise NotFoundError(f"There is no run {run_id!r}: {error.message}", error.hint) from None
    if run.deleted:
        raise NotFoundError(f"Run {run_id} is deleted.", f"mlflow runs restore --run-id {run_id}")
    return run


def list_policies(source: Source, run_id: str) -> list[PolicyFile]:
    """Return the policies of a run, the earliest first; empty where it has none yet.

    Args:
        source: Settings, or the project that is open for them.
        run_id: The run.

    Raises:
        NotFoundError: There is no such run; names it.
        BackendError: The tracking store cannot be reached, or refuses.
        ArtifactError: The artifact store cannot be reached, or refuses.
    """
    project = project_of(source)
    return policies_of(project, find_run(project, run_id))


def policies_of(project: Project, run: Run) -> list[PolicyFile]:
    """Return the policies of a run that was found before; as `list_policies`."""
    found = []
    for item in project.artifacts.list_files(run.artifact_uri, FOLDER):
        name = _NAME.fullmatch(item.path.rpartition("/")[2])
        if name and not item.is_dir:
            found.append(PolicyFile(int(name[1]), item.path, item.size_bytes))
    return sorted(found, key=lambda policy: policy.alternation)


def unknown_policy(run_id: str, alternation: int, known: list[PolicyFile]) -> NotFoundError:
    """Return the error that says which policies there are instead."""
    there = ", ".join(str(policy.alternation) for policy in known[-12:])
    dots = "…, " if len(known) > 12 else ""
    return NotFoundError(
        f"Run {run_id} has no policy of alternation {alternation}.",
        f"it has those of {dots}{there}" if known else "it has none yet; wait for its first alternation",
    )


def list_runs(source: Source, experiment: str | None = None, search: str = "", limit: int = 100) -> list[RunInfo]:
    """Return runs of training, the latest first.

    Args:
        source: Settings, or the project that is open for them.
        experiment: Of this experiment alone; of all of them if not given.
        search: What their id, name or experiment must hold, in capitals or not.
        limit: At most so many.

    Raises:
        NotFoundError: There is no such experiment; names it.
        BackendError: The tracking store cannot be reached, or refuses.
    """
    project = project_of(source)
    experiments = {one.experiment_id: one.name for one in project.runs.experiments()}
    if experiment is not None:
        experiments = {key: name for key, name in experiments.items() if name == experiment}
        if not experiments:
            raise NotFoundError(f"There is no experiment {experiment!r}.", "set MLFLOW_EXPERIMENT_NAME to one that is")
    wanted = search.strip().casefold()
    found = project.runs.search_runs(
        list(experiments), f"tags.`{KIND_TAG}` = '{TRAINING}'", limit=None if wanted else limit
    )
    runs = [
        RunInfo(run.run_id, run.name, experiments[run.experiment_id], run.status, run.start_time_ms) for run in found
    ]
    runs = [run for run in runs if wanted in f"{run.run_id} {run.name} {run.experiment}".casefold()]
    return sorted(runs, key=lambda run: run.start_time_ms, reverse=True)[:limit]
