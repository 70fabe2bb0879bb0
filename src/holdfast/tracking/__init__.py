"""Tracking: the tracker, its runs and their ends, and the project's MLflow configuration."""

from holdfast.tracking.best import BestRun
from holdfast.tracking.config import MLflowConfig, get_mlflow_config, setup_mlflow
from holdfast.tracking.initialize import initialize_mlflow
from holdfast.tracking.tracker import MLflowTracker

__all__ = ["BestRun", "MLflowConfig", "MLflowTracker", "get_mlflow_config", "initialize_mlflow", "setup_mlflow"]
