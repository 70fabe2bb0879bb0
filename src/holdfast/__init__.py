"""Holdfast makes MLflow hold.

Public names are loaded when they are first used, so that importing the package costs
nothing: no MLflow, no boto3, no handler, no thread, no look at the environment.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.doctor.examine import examine
    from holdfast.errors import HoldfastError
    from holdfast.project import Project, open_project
    from holdfast.registry import ModelRegistry, ModelVersioning
    from holdfast.registry import ModelVersioning as ModelVersioningWithMlflow
    from holdfast.registry.serving.following import follow
    from holdfast.registry.serving.loading import load_model
    from holdfast.settings import Settings, load_settings
    from holdfast.tracking import (
        BestRun,
        MLflowConfig,
        MLflowTracker,
        get_mlflow_config,
        initialize_mlflow,
        setup_mlflow,
    )
    from holdfast.training import TrainingPipeline, load_training_config

__all__ = [
    "BestRun",
    "HoldfastError",
    "MLflowConfig",
    "MLflowTracker",
    "ModelRegistry",
    "ModelVersioning",
    "ModelVersioningWithMlflow",
    "Project",
    "Settings",
    "TrainingPipeline",
    "__version__",
    "examine",
    "follow",
    "get_mlflow_config",
    "initialize_mlflow",
    "load_model",
    "load_settings",
    "load_training_config",
    "open_project",
    "setup_mlflow",
]

_HOMES = {
    "BestRun": "holdfast.tracking",
    "HoldfastError": "holdfast.errors",
    "MLflowConfig": "holdfast.tracking",
    "MLflowTracker": "holdfast.tracking",
    "ModelRegistry": "holdfast.registry",
    "ModelVersioning": "holdfast.registry",
    "Project": "holdfast.project",
    "Settings": "holdfast.settings",
    "TrainingPipeline": "holdfast.training",
    "examine": "holdfast.doctor.examine",
    "follow": "holdfast.registry.serving.following",
    "get_mlflow_config": "holdfast.tracking",
    "initialize_mlflow": "holdfast.tracking",
    "load_model": "holdfast.registry.serving.loading",
    "load_settings": "holdfast.settings",
    "load_training_config": "holdfast.training",
    "open_project": "holdfast.project",
    "setup_mlflow": "holdfast.tracking",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("holdfast")
    if name == "ModelVersioningWithMlflow":
        return import_module("holdfast.registry").ModelVersioning
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
