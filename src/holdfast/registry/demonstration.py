"""The smallest honest model: fitted, measured on data it has not seen, and logged."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from holdfast.backend.entities import MetricPoint
from holdfast.backend.models import save_sklearn_model
from holdfast.backend.tracking import now_ms
from holdfast.errors import MissingDependencyError
from holdfast.project import Project


@dataclass(frozen=True)
class LoggedModel:
    """What was logged: the run, where its model lies, and its metrics on held-out data."""

    run_id: str
    model_uri: str
    metrics: dict[str, float]


def fit_and_log(project: Project, experiment_id: str, tags: dict[str, str]) -> LoggedModel:
    """Fit a logistic regression on the breast-cancer data that scikit-learn ships, and log it as a run.

    A quarter of the data, drawn with a fixed seed, is held out and measured on.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        HoldfastError: The run or its files could not be stored; the run is then FAILED.
    """
    with tempfile.TemporaryDirectory() as folder:
        metrics = _fit(Path(folder) / "model")
        run = project.runs.create_run(experiment_id, "demonstration", tags)
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
