"""A tracker from whatever an application keeps its settings in."""

from __future__ import annotations

from typing import Any

from holdfast.settings import Settings, load_settings
from holdfast.tracking.tracker import MLflowTracker


def initialize_mlflow(settings: object | None = None, **arguments: Any) -> MLflowTracker:
    """Return a tracker made from settings.

    Args:
        settings: Holdfast's `Settings`; or any object with attributes `mlflow_tracking_uri`,
            `mlflow_artifact_uri`, `mlflow_s3_endpoint_url` … (those it lacks come from the environment,
            `.env` and pyproject.toml); or None.
        arguments: Arguments of `MLflowTracker` that win over `settings`; not together with `Settings`.
    """
    if isinstance(settings, Settings):
        return MLflowTracker(settings=settings, **arguments)
    names = [name for name in MLflowTracker.__init__.__annotations__ if name not in ("settings", "return")]
    found = {name: getattr(settings, f"mlflow_{name}", None) for name in names}
    given = {name: _revealed(value) for name, value in found.items() if value not in (None, "")}
    tracker_arguments = {**given, **arguments}
    prefix = getattr(settings, "mlflow_run_name_prefix", None)
    if prefix:
        return MLflowTracker(settings=load_settings(**tracker_arguments, run_name_prefix=prefix))
    return MLflowTracker(**tracker_arguments)


def _revealed(value: Any) -> Any:
    reveal = getattr(value, "get_secret_value", None)  # pydantic's SecretStr
    return reveal() if callable(reveal) else value
