"""From the project's settings to what a server of its own is started with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from holdfast.core.uris import is_database, mask_uri, normalize_tracking_uri, scheme_of
from holdfast.errors import SettingsError
from holdfast.server.stack import ServerOptions
from holdfast.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORT = 5000
# What boto3's own chain (profiles, SSO, web identity, instance roles) reads from the environment.
_CHAIN_NAMES = (
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)


def plan_server(
    settings: Settings, host: str = "127.0.0.1", port: int | None = None, workers: int = 1, proxied: bool = True
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
        env=_s3_environment(settings, os.environ) if scheme_of(root) == "s3" else {},
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


def _s3_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a server needs to reach the project's bucket; in its environment, not in ours."""
    credentials = settings.credentials
    found: dict[str, str | None] = {
        "AWS_DEFAULT_REGION": settings.region,
        "MLFLOW_S3_ENDPOINT_URL": settings.s3_endpoint_url,
        "MLFLOW_S3_IGNORE_TLS": "true" if settings.s3_ignore_tls else None,
        "AWS_CA_BUNDLE": settings.s3_ca_bundle,
        "MLFLOW_S3_UPLOAD_EXTRA_ARGS": json.dumps(dict(settings.s3_upload_extra_args))
        if settings.s3_upload_extra_args
        else None,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": _plain(credentials.secret_access_key),
        "AWS_SESSION_TOKEN": _plain(credentials.session_token),
        "AWS_PROFILE": credentials.profile,
    }
    if credentials.kind in ("profile", "chain"):
        found = {name: environ.get(name) for name in _CHAIN_NAMES} | {k: v for k, v in found.items() if v}
    return {name: value for name, value in found.items() if value}


def _plain(secret: object) -> str | None:
    reveal = getattr(secret, "get_secret_value", None)
    return str(reveal()) if callable(reveal) else None if secret is None else str(secret)
