"""Opening a project to look at it: nothing is created by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.project import Project


def open_existing(**arguments: Any) -> Project:
    """Return the project found from the working directory.

    Args:
        arguments: Settings by name that win over every source; None counts as not given.

    Raises:
        NotFoundError: Its SQLite file does not exist yet; MLflow's client would create it.
        SettingsError: A setting is not valid.
    """
    from holdfast.core.uris import mask_uri, sqlite_path
    from holdfast.errors import NotFoundError
    from holdfast.project import open_project

    project = open_project(**arguments)
    path = sqlite_path(project.connection.tracking_uri)
    if path is not None and not path.exists():
        raise NotFoundError(
            f"Nothing is tracked yet: there is no database {mask_uri(project.settings.tracking_uri)}.",
            "log a run first (holdfast quickstart), or set MLFLOW_TRACKING_URI",
        )
    return project
