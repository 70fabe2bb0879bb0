"""The smallest honest model on its whole way: fitted, measured on unseen data, logged, registered, promoted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.backend.entities import MetricPoint
from holdfast.backend.models import save_sklearn_model
from holdfast.backend.tracking import now_ms
from holdfast.core.stages import Stage
from holdfast.errors import HoldfastError, MissingDependencyError
from holdfast.project import Project
from holdfast.registry.registry import ModelRegistry

_WAY = (Stage.STAGING, Stage.PRODUCTION)


@dataclass(frozen=True)
class LoggedModel:
    """What was logged: the run, where its model lies, and its metrics on held-out data."""

    run_id: str
    model_uri: str
    metrics: dict[str, float]


@dataclass
class Demonstration:
    """How far it got.

    Attributes:
        success: Whether the registry says that this version is in Production.
        model_name: The registered model.
        run_id: The run of the fitted model, FAILED where logging it failed; None where it did not come to that.
        model_uri: Where the run keeps it; None where it does not.
        metrics: On data that the model was not fitted on; empty where logging failed.
        model_version: The registered version; None where there is none.
        final_stage: The stage that the registry names for it at the end: `None` where nothing is registered, `unknown`
            where it cannot be asked any more.
        failed_step: `log`, `register`, `Staging` or `Production`; None where all was done.
        error: Why, with the remedy.
    """

    success: bool
    model_name: str
    run_id: str | None = None
    model_uri: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    model_version: int | None = None
    final_stage: str = Stage.NONE.value
    failed_step: str | None = None
    error: str | None = None


def demonstrate(
    project: Project, registry: ModelRegistry, experiment_id: str, tags: Mapping[str, str], model_name: str
) -> Demonstration:
    """Fit, log and register a model, and promote it to Staging and Production as far as gates and stores allow.

    Args:
        project: Where it is logged.
        registry: Where it is registered; its gates are asked as for any other model.
        experiment_id: The run's experiment.
        tags: Of the run and the version.
        model_name: The registered model.

    Returns:
        What was reached. What fails on the way is told there, and not raised.
    """
    told = Demonstration(success=False, model_name=model_name, failed_step="log")
    try:
        logged = fit_and_log(project, experiment_id, tags, lambda run_id: setattr(told, "run_id", run_id))
        told.model_uri, told.metrics = logged.model_uri, logged.metrics
        told.failed_step = "register"
        told.model_version = registry.register(model_name, logged.model_uri, "Demonstration", tags).version
        for stage in _WAY:
            told.failed_step = stage.value
            registry.promote(model_name, told.model_version, stage)
        told.failed_step = None
    except HoldfastError as error:
        told.error = str(error)
    if told.model_version is not None:
        _ask_where_it_is(registry, told, told.model_version)
    return told


def _ask_where_it_is(registry: ModelRegistry, told: Demonstration, version: int) -> None:
    """Note what the registry says, whatever the calls before have said."""
    try:
        found = registry.get(told.model_name, version).stage or Stage.NONE
    except HoldfastError as error:
        told.final_stage, told.error = "unknown", told.error or str(error)
        return
    told.final_stage = found.value
    told.success = found is Stage.PRODUCTION and told.error is None
    if told.error is None and not told.success:  # somebody else was quick
        told.failed_step = Stage.PRODUCTION.value
        told.error = f"{told.model_name} version {version} was promoted, and is in {found.value} by now."


def fit_and_log(
    project: Project, experiment_id: str, tags: Mapping[str, str], on_run: Callable[[str], object] | None = None
) -> LoggedModel:
    """Fit a logistic regression on the breast-cancer data that scikit-learn ships, and log it as a run.

    A quarter of the data, drawn with a fixed seed, is held out and measured on.

    Args:
        project: Where it is logged.
        experiment_id: The run's experiment.
        tags: The run's tags.
        on_run: Called with the run's id once there is a run.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        HoldfastError: The run or its files could not be stored; the run is then FAILED.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-demonstration-") as folder:
        metrics = _fit(Path(folder) / "model")
        run = project.runs.create_run(experiment_id, "demonstration", dict(tags))
        if on_run is not None:
            on_run(run.run_id)
        status = "FAILED"
        try:
            points = [MetricPoint(name, value, 0, now_ms()) for name, value in metrics.items()]
            params = {"algorithm": "LogisticRegression", "data": "breast cancer (scikit-learn)"}
            project.runs.log(run.run_id, points, params)
            project.artifacts.upload_folder(Path(folder) / "model", run.artifact_uri, "model")
            status = "FINISHED"
        finally:
            project.runs.end_run(run.run_id, status)
    return LoggedModel(run.run_id, f"runs:/{run.run_id}/model", metrics)


def _fit(folder: Path) -> dict[str, float]:
    try:
        from sklearn.datasets import load_breast_cancer
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import accuracy_score, roc_auc_score
        from sklearn.model_selection import train_test_split
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingDependencyError(
            f"The demonstration needs {error.name}.", "pip install 'holdfast[quickstart]'"
        ) from None
    features, labels = load_breast_cancer(return_X_y=True)
    seen, unseen, seen_labels, unseen_labels = train_test_split(features, labels, test_size=0.25, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(seen, seen_labels)
    save_sklearn_model(model, folder, unseen[:2])
    chances = model.predict_proba(unseen)[:, 1]
    return {
        "test/accuracy": float(accuracy_score(unseen_labels, chances > 0.5)),
        "test/auc": float(roc_auc_score(unseen_labels, chances)),
    }
