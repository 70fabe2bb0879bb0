"""What the boundary hands inwards: plain frozen values, free of MLflow's classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.core.stages import Stage


@dataclass(frozen=True)
class Experiment:
    """An experiment, and where it keeps its artifacts (fixed when it was created)."""

    experiment_id: str
    name: str
    artifact_location: str
    deleted: bool = False


@dataclass(frozen=True)
class Run:
    """A run as the tracking store has it.

    Attributes:
        status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
        start_time_ms: Milliseconds since the epoch.
        end_time_ms: The same, or None while the run lasts.
        metrics: The last value of each metric; may hold NaN.
        tags: All tags, those of MLflow (`mlflow.*`) included.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    start_time_ms: int
    end_time_ms: int | None
    artifact_uri: str
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricPoint:
    """One logged value: name, value, step, and the time it was logged (ms since the epoch)."""

    name: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: its name, what it is for, where its aliases point, and when it was made and last changed."""

    name: str
    description: str
    aliases: dict[str, int]
    tags: dict[str, str]
    updated_ms: int
    created_ms: int = 0


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        stage: The stage MLflow has; None where the backend has no stages.
        status: PENDING_REGISTRATION, READY or FAILED_REGISTRATION.
        source: Where its artifacts come from.
        run_id: The run it was made by, or an empty text.
        created_ms: Milliseconds since the epoch.
    """

    name: str
    version: int
    stage: Stage | None
    status: str
    source: str
    run_id: str
    description: str
    created_ms: int
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
