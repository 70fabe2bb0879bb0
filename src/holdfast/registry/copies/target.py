"""The project that a copy goes to: another server with the keys of this one, or all settings in a file like `.env`."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.uris import is_database, sqlite_path
from holdfast.errors import InvalidInputError, SettingsError
from holdfast.project import Project, open_project
from holdfast.settings import Settings
from holdfast.settings.apart import settings_apart


def target_project(source: Project, to_env: Path | None = None, to_tracking_uri: str | None = None) -> Project:
    """Return where a copy goes: the source itself if nothing else is said.

    Args:
        source: The project that is copied from.
        to_env: A file like `.env` with the settings of the target; those of the source have no part in it.
        to_tracking_uri: Another server, reached with the source's other settings.

    Raises:
        InvalidInputError: Both are given.
        SettingsError: A setting is not valid, or is missing in the file.
    """
    if to_env is not None and to_tracking_uri is not None:
        raise InvalidInputError("Both a file of settings and a tracking URI are given.", "leave one of them out")
    if to_env is not None:
        return open_project(settings_in(to_env))
    if to_tracking_uri is not None:
        return open_project(tracking_uri=to_tracking_uri)
    return source


def settings_in(path: Path) -> Settings:
    """Return the settings in a file like `.env`, and no others.

    Raises:
        SettingsError: The file cannot be read, names no tracking server, or leaves open where a database's files go;
            or what it says cannot be used.
    """
    with settings_apart(path) as (settings, empty):
        _check_complete(settings, path, empty)
        return settings


def _check_complete(settings: Settings, path: Path, empty: Path) -> None:
    """See that nothing was left to defaults, which would lie in a folder that is gone a moment later."""
    problems = []
    database = sqlite_path(settings.tracking_uri)
    if settings.origin_of("tracking_uri").kind == "default":
        problems.append("MLFLOW_TRACKING_URI is missing")
    elif database is not None and database.is_relative_to(empty.resolve()):
        problems.append("MLFLOW_TRACKING_URI has a relative path")
    elif is_database(settings.tracking_uri) and not settings.artifact_root_is_configured:
        problems.append("MLFLOW_ARTIFACT_ROOT is missing, which a database needs")
    if settings.artifact_root_is_configured and Path(str(settings.artifact_root)).is_relative_to(empty.resolve()):
        problems.append("MLFLOW_ARTIFACT_ROOT has a relative path")
    if settings.origin_of("experiment_name").kind == "default":
        problems.append("MLFLOW_EXPERIMENT_NAME is missing")
    if problems:
        raise SettingsError(f"{path} does not say enough of the target: {'; '.join(problems)}.", f"add it to {path}")
