"""From the project's settings to what a server of its own is started with."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.core.uris import is_database, mask_uri, normalize_tracking_uri, scheme_of
from holdfast.errors import SettingsError
from holdfast.server.stack import ServerOptions
from holdfast.settings import Settings
from holdfast.settings.handover import s3_environment

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORT = 5000


def plan_server(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int | None = None,
    workers: int = 1,
    proxied: bool = True,
    log_path: Path | None = None,
) -> ServerOptions:
    """Return the options of an MLflow server on the project's stores.

    The database is `MLFLOW_BACKEND_STORE_URI`, else the tracking URI where that is a database. Where
    the tracking URI is a server on this machine, that server's port is taken, with SQLite in the
    project's root.

    Args:
        settings: The project's settings.
        host: The address to listen on.
        port: The port; 0 for any free one; if not given, the tracking URI's or 5000.
        workers: Processes that answer requests.
        proxied: Clients send files through the server and need no keys. Otherwise the server only
            tells new experiments the artifact root, and clients use their own keys.
        log_path: Where the server's output is appended; None keeps it only while the server runs.

    Raises:
        SettingsError: The tracking URI is somebody else's server and no database is configured.
    """
    backend = _backend(settings)
    root = settings.artifacts_destination or settings.artifact_root or str(settings.project_root / "mlartifacts")
    return ServerOptions(
        backend_store_uri=backend,
        artifacts_destination=root if proxied else None,
        default_artifact_root=None if proxied else root,
        host=host,
        port=_port(settings) if port is None else port,
        workers=workers,
        env=s3_environment(settings, os.environ) if scheme_of(root) == "s3" else {},
        log_path=log_path,
    )


def _backend(settings: Settings) -> str:
    if settings.backend_store_uri:
        return settings.backend_store_uri
    if is_database(settings.tracking_uri):
        return settings.tracking_uri
    if urlsplit(settings.tracking_uri).hostname in _LOOPBACK:
        return normalize_tracking_uri(f"sqlite:///{settings.project_root / 'mlflow.db'}")
    raise SettingsError(
        f"MLFLOW_TRACKING_URI={mask_uri(settings.tracking_uri)} is a server elsewhere, and no database is configured "
        "for one here.",
        "set MLFLOW_BACKEND_STORE_URI=postgresql://user@host/db or sqlite:///mlflow.db",
    )


def _port(settings: Settings) -> int:
    if scheme_of(settings.tracking_uri) not in ("http", "https"):
        return _DEFAULT_PORT
    return urlsplit(settings.tracking_uri).port or _DEFAULT_PORT
