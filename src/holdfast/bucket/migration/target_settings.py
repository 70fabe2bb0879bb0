"""The settings of a place that has keys of its own: a file like `.env`, read by itself."""

from __future__ import annotations

from pathlib import Path

from holdfast.artifacts.access import S3Access, access_of
from holdfast.settings.apart import settings_apart
from holdfast.settings.dotenv_file import read_file
from holdfast.settings.layers import Report


def names_in(path: Path) -> list[str]:
    """Return the names of the settings in a file like `.env`, in its order."""
    return list(read_file(path, Report()).values)


def access_in(path: Path) -> S3Access:
    """Return the way to S3 that a file like `.env` describes; the project's own settings have no part in it.

    Args:
        path: The file: MLFLOW_AWS_ACCESS_KEY_ID, MLFLOW_AWS_SECRET_ACCESS_KEY or MLFLOW_AWS_PROFILE,
            MLFLOW_S3_ENDPOINT_URL and so on.

    Raises:
        SettingsError: It cannot be read, or what it says cannot be used.
    """
    with settings_apart(path) as (settings, _):
        return access_of(settings)
