"""Whose keys serve an S3 address, asked at each call: an open project's, a workspace's, or those of the settings."""

from __future__ import annotations

from dataclasses import replace

from pydantic import SecretStr

from holdfast.artifacts.access import S3Access, access_of
from holdfast.artifacts.scopes import access_for
from holdfast.plugins.switch import is_server
from holdfast.settings import Credentials, credentials_of_workspace, load_settings


def access_of_caller(uri: str) -> S3Access:
    """Return the access that serves an address here and now.

    Raises:
        SettingsError: Nobody in this process has claimed the address, and the settings cannot be used.
    """
    claimed = None if is_server() else access_for(uri)
    if claimed is not None:
        return claimed
    settings = load_settings()
    access = access_of(settings)
    return (
        replace(access, credentials=credentials_of_workspace(settings, _workspace())) if settings.workspaces else access
    )


def with_keys(access: S3Access, key: str, secret: str, token: str | None) -> S3Access:
    """Return the same access with keys that a caller gave itself."""
    keys = Credentials(
        "project",
        "explicit keys",
        access_key_id=key,
        secret_access_key=SecretStr(secret),
        session_token=SecretStr(token) if token else None,
        region=access.region,
    )
    return replace(access, credentials=keys)


def _workspace() -> str | None:
    """Return the workspace of the request that is served, or of this process; None where there are none."""
    try:
        from mlflow.utils.workspace_context import get_request_workspace
    except ImportError:  # MLflow before 3.10
        return None
    found: str | None = get_request_workspace()
    return found
