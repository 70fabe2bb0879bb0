"""MLflow's entities from what Holdfast knows."""

from __future__ import annotations

from typing import Any

from holdfast.core.sending import RunRef
from holdfast.delivery.identity import ExperimentAbout, RunAbout
from holdfast.delivery.replay import Replayed


def run_of_ref(ref: RunRef, user: str) -> Any:
    """Return the run that a server made."""
    return _run(
        ref.run_id, ref.experiment_id, user, ref.status, ref.start_time_ms, ref.end_time_ms, ref.artifact_uri, ref.name,
        tags=ref.tags,
    )  # fmt: skip


def run_of_about(about: RunAbout) -> Any:
    """Return a run as it was begun on a local id."""
    return _run(
        about.run_id, about.experiment_id, about.user, "RUNNING", about.start_time_ms, None, about.artifact_uri,
        about.name or "", tags=about.tags,
    )  # fmt: skip


def run_of_journal(about: RunAbout, found: Replayed) -> Any:
    """Return a run as the journal knows it."""
    name = found.tags.get("mlflow.runName", found.name or about.name or "")
    return _run(
        about.run_id, about.experiment_id, about.user, found.status or "RUNNING", about.start_time_ms,
        found.end_time_ms, about.artifact_uri, name,
        metrics=list(found.metrics.values()), params=found.params, tags=found.tags,
    )  # fmt: skip


def _run(
    run_id: str,
    experiment_id: str,
    user: str,
    status: str,
    start_ms: int,
    end_ms: int | None,
    artifact_uri: str,
    name: str,
    metrics: Any = (),
    params: Any = None,
    tags: Any = None,
) -> Any:
    from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

    info = RunInfo(
        run_id=run_id,
        experiment_id=experiment_id,
        user_id=user,
        status=status,
        start_time=start_ms,
        end_time=end_ms,
        lifecycle_stage="active",
        artifact_uri=artifact_uri,
        run_name=name,
    )
    data = RunData(
        [Metric(point.key, point.value, point.timestamp, point.step) for point in metrics],
        [Param(key, value) for key, value in (params or {}).items()],
        [RunTag(key, value) for key, value in (tags or {}).items()],
    )
    return Run(info, data)


def experiment_of_about(about: ExperimentAbout) -> Any:
    """Return an experiment on a local id."""
    from mlflow.entities import Experiment, ExperimentTag

    tags = [ExperimentTag(key, value) for key, value in about.tags.items()]
    return Experiment(about.experiment_id, about.name, about.artifact_location or "", "active", tags)
