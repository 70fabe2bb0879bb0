"""What registering and serving models needs: stores that answer, and files that can be kept and read back."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from holdfast.artifacts import ArtifactStore
from holdfast.artifacts.store import is_local
from holdfast.backend.entities import Experiment
from holdfast.core.locations import PROBES
from holdfast.core.uris import normalize_artifact_root
from holdfast.delivery.target import login_of
from holdfast.errors import ArtifactError, BackendError
from holdfast.project import Project

_WAIT_S = 5.0
# Every MLflow store has it, and it says where a server lets experiments keep their files.
_FIRST_EXPERIMENT = "Default"


def check_prerequisites(project: Project) -> None:
    """Try, within seconds, what registering a model will need.

    The tracking store and the registry are asked. In the artifact store a probe of some bytes is stored, listed,
    fetched back and deleted, with the project's keys and below `.holdfast-doctor/`; a folder of this machine is only
    looked at. The experiment need not exist, and is not created.

    Raises:
        BackendError: A store does not answer or refuses, or the experiment is deleted.
        ArtifactError: The artifact store's keys are missing or refused, or it cannot be reached.
        CredentialsError: There can be no session with those keys.
    """
    name = project.settings.experiment_name
    experiment = project.runs.find_experiment(name)
    if experiment is not None and experiment.deleted:
        raise BackendError(
            f"Experiment {name!r} is deleted.",
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}, or name another experiment",
        )
    project.models.find_model(name)  # any name: that the registry answers is what counts
    root = _root(project, experiment)
    if root is None:
        return
    if is_local(root):
        _check_folder(root)
    else:
        _try_files(project, root)


def _root(project: Project, experiment: Experiment | None) -> str | None:
    """Return where files will go, as far as it is known before the experiment exists."""
    configured = project.settings.artifact_root
    if experiment is None and configured is None:
        experiment = project.runs.find_experiment(_FIRST_EXPERIMENT)
    if experiment is None:
        return configured
    elsewhere = configured is None or project.settings.is_elsewhere(experiment.artifact_location)
    # The root itself rather than the experiment's folder: there the keys' policy has its place for probes.
    return experiment.artifact_location if elsewhere else configured


def _check_folder(root: str) -> None:
    folder = Path(normalize_artifact_root(root))
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ArtifactError(
            f"Files cannot be kept in {folder}: {nearest} is not a folder that this user may write to.",
            f"make it writable (`ls -ld '{nearest}'`), or name another place for artifacts",
        )


def _try_files(project: Project, root: str) -> None:
    settings = project.settings
    store = ArtifactStore(project.artifacts.access.within(_WAIT_S), settings.tracking_uri, login_of(settings))
    name, content = f"prerequisites-{secrets.token_hex(8)}.txt", secrets.token_bytes(16)
    with tempfile.TemporaryDirectory(prefix="holdfast-probe-") as scratch:
        (Path(scratch) / name).write_bytes(content)
        store.upload_file(Path(scratch) / name, root, PROBES)
        try:
            listed = {item.path for item in store.list_files(root, PROBES)}
            back = store.download(root, f"{PROBES}/{name}", Path(scratch) / "back").read_bytes()
        finally:
            with suppress(ArtifactError):  # some bytes stay where nothing may be deleted
                store.delete(root, f"{PROBES}/{name}")
    if back != content or f"{PROBES}/{name}" not in listed:
        raise ArtifactError(
            f"What was stored below {root} did not come back as it was stored.",
            "see `holdfast doctor` for what is wrong",
        )
