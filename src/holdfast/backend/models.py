"""Writing models in MLflow's format."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any


def save_sklearn_model(model: Any, folder: Path, example: Any) -> None:
    """Write a fitted scikit-learn model, its signature and an input example into a new folder.

    Args:
        model: The fitted estimator.
        folder: Where; it must not exist.
        example: A few rows of its input.
    """
    import mlflow.sklearn
    from mlflow.models import infer_signature

    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=infer_signature(example, model.predict(example)),
        input_example=example,
        # Named here: finding them out would start a process and load the model in it.
        pip_requirements=[f"{package}=={version(package)}" for package in ("mlflow", "scikit-learn")],
    )
