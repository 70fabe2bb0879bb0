"""Writing XGBoost's boosters in MLflow's format."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def save_xgboost_model(booster: Any, folder: Path, example: Any = None) -> None:
    """Write a booster, and the signature and input example where there is one, into a new folder.

    Args:
        booster: The trained `xgboost.Booster`.
        folder: Where; it must not exist.
        example: A few rows of its input, as a data frame or a two-dimensional array.
    """
    import mlflow.xgboost

    mlflow.xgboost.save_model(
        booster,
        str(folder),
        signature=None if example is None else _signature(booster, example),
        input_example=example,
        # Named here: finding them out would start a process and load the model in it.
        pip_requirements=[f"mlflow=={version('mlflow')}", _xgboost_requirement()],
    )


def _signature(booster: Any, example: Any) -> Any:
    import xgboost
    from mlflow.models import infer_signature

    return infer_signature(example, booster.predict(xgboost.DMatrix(example)))


def _xgboost_requirement() -> str:
    for name in ("xgboost", "xgboost-cpu"):
        try:
            return f"{name}=={version(name)}"
        except PackageNotFoundError:
            continue
    return "xgboost"
