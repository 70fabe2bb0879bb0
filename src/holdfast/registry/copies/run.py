"""The run that a copied model lies below in its new place: what it says of where the model came from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.backend.entities import MetricPoint, ModelVersion, Run
from holdfast.backend.tracking import now_ms
from holdfast.core.lineage import DATA_TAG_PREFIX, LINEAGE_FOLDER
from holdfast.core.scores import SCORES_FOLDER
from holdfast.core.uris import mask_uri
from holdfast.project import Project

CHECKSUM_TAG = "copied.checksum"
"""On a run and a version: what its files are."""
FROM_TAG = "copied.from"
"""On a run and a version: the name and number of the version it was copied from."""
_SERVER_TAG, _RUN_TAG, _GOAL_TAG = "copied.server", "copied.run", "copied.to"
# What MLflow and Holdfast keep of where a run came from; their other tags are about the run on its own server.
_LINEAGE = ("mlflow.source.", "mlflow.user", "holdfast.git.", DATA_TAG_PREFIX)
_OF_OTHERS = ("mlflow.", "holdfast.")
# What gates and comparisons look at beside the model itself.
_FOLDERS = (LINEAGE_FOLDER, SCORES_FOLDER)


def make_run(
    source: Project,
    version: ModelVersion,
    origin: Run | None,
    target: Project,
    goal: str,
    checksum: str,
    experiment: str | None = None,
) -> Run:
    """Return the target's run for a copy, with the params, last metrics, tags and small files of the source's.

    One that an interrupted copy has begun is gone on with.

    Args:
        source: Where the version is.
        version: The version.
        origin: Its run; None where it has none, or the run is gone.
        target: Where it goes.
        goal: The registered model there.
        checksum: Of its files.
        experiment: The target's experiment; the configured one if not given.

    Raises:
        HoldfastError: The target refused it; or a file of the source's run cannot be fetched.
    """
    place = target.experiment(experiment)
    marks = target.redact.mapping(_marks(source, version, goal, checksum))
    # Names are compared here: a filter of MLflow cannot hold every one.
    alike = target.runs.search_runs([place.experiment_id], f"tags.`{CHECKSUM_TAG}` = '{checksum}'")
    begun = [run for run in alike if marks.items() <= run.tags.items()]
    tags = {**_carried(origin), **marks}
    name = f"copied from {version.name} version {version.version}"
    run = begun[0] if begun else target.runs.create_run(place.experiment_id, name, target.redact.mapping(tags))
    if origin is not None:
        _log(target, run, origin)
        _copy_small_files(source, origin, target, run)
    return run


def record_of(version: ModelVersion, checksum: str, history: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return what goes with a copy as `lineage/history.json`."""
    return {
        "name": version.name,
        "version": version.version,
        "run_id": version.run_id,
        "created_ms": version.created_ms,
        "description": version.description,
        "tags": version.tags,
        "checksum": checksum,
        "history": [dict(event) for event in history],
    }


def _marks(source: Project, version: ModelVersion, goal: str, checksum: str) -> dict[str, str]:
    return {
        CHECKSUM_TAG: checksum,
        FROM_TAG: f"{version.name}/{version.version}",
        _SERVER_TAG: mask_uri(source.connection.registry_uri),
        _GOAL_TAG: goal,
        **({_RUN_TAG: version.run_id} if version.run_id else {}),
    }


def _carried(origin: Run | None) -> dict[str, str]:
    tags = {} if origin is None else origin.tags
    return {key: value for key, value in tags.items() if key.startswith(_LINEAGE) or not key.startswith(_OF_OTHERS)}


def _log(target: Project, run: Run, origin: Run) -> None:
    """Log the params and the last value of each metric that are missing; MLflow 3.0 refuses the same metric twice."""
    at_ms = origin.end_time_ms or origin.start_time_ms or now_ms()
    points = [MetricPoint(name, value, 0, at_ms) for name, value in origin.metrics.items() if name not in run.metrics]
    missing = {key: value for key, value in origin.params.items() if key not in run.params}
    target.runs.log(run.run_id, points, target.redact.mapping(missing))


def _copy_small_files(source: Project, origin: Run, target: Project, run: Run) -> None:
    for folder in _FOLDERS:
        if not source.artifacts.list_files(origin.artifact_uri, folder):
            continue
        with tempfile.TemporaryDirectory(prefix="holdfast-copy-") as scratch:
            local = source.artifacts.download(origin.artifact_uri, folder, Path(scratch))
            target.artifacts.upload_folder(local, run.artifact_uri, folder)
