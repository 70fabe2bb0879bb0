"""What a tracking server is started with, and what its process gets to see of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.core.redaction import Redactor, names_a_secret
from holdfast.core.uris import is_database, mask_uri, scheme_of
from holdfast.errors import InvalidInputError

# What a server needs of its parent's environment. Everything else stays out, so that neither
# MLFLOW_TRACKING_URI nor somebody's AWS keys decide what it does.
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
_ALWAYS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes and 2 GB less
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class ServerOptions:
    """What `mlflow server` is started with.

    Attributes:
        backend_store_uri: The database of runs, metrics and models: `sqlite:///…`, `postgresql://…`.
        artifacts_destination: Where the server keeps the files that clients send through it. With None
            and a `default_artifact_root` it passes no files on; with neither, MLflow's own default
            (`./mlartifacts`) holds.
        default_artifact_root: Where clients put files of new experiments themselves; None: through the server.
        host: Address to listen on; `0.0.0.0` is every network interface.
        port: Port to listen on; 0 finds a free one.
        workers: Worker processes.
        env: Further environment of the server, such as AWS keys; never shown.
        log_path: Where its output is appended, mode 0600; None keeps it only while the server runs.

    Raises:
        InvalidInputError: A field has no possible value; every problem is named.
    """

    backend_store_uri: str
    artifacts_destination: str | None = None
    default_artifact_root: str | None = None
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    log_path: Path | None = None

    def __post_init__(self) -> None:
        problems = []
        if not is_database(self.backend_store_uri):
            problems.append(f"the backend store {mask_uri(self.backend_store_uri)!r} is no database")
        if not 0 <= self.port <= 65535:
            problems.append(f"port {self.port} is not within 0 and 65535")
        if self.workers < 1:
            problems.append(f"{self.workers} workers are too few")
        if problems:
            raise InvalidInputError(
                f"The server's options cannot be used: {'; '.join(problems)}.",
                "a backend store is sqlite:///mlflow.db or postgresql://user@host/database",
            )

    def __repr__(self) -> str:
        uris = (self.backend_store_uri, self.artifacts_destination, self.default_artifact_root)
        backend, destination, root = (uri and mask_uri(uri) for uri in uris)
        return (
            f"ServerOptions(backend_store_uri={backend!r}, artifacts_destination={destination!r}, "
            f"default_artifact_root={root!r}, host={self.host!r}, port={self.port}, workers={self.workers}, "
            f"env=<{len(self.env)} variables>, log_path={self.log_path!r})"
        )


def server_arguments(options: ServerOptions, port: int) -> list[str]:
    """Return the arguments of `mlflow server`: nothing in them is secret, for every user can read them."""
    passes_files_on = (
        options.artifacts_destination is not None
        or options.default_artifact_root is None
        or scheme_of(options.default_artifact_root) == "mlflow-artifacts"
    )
    return [
        *("--host", options.host, "--port", str(port), "--workers", str(options.workers)),
        "--serve-artifacts" if passes_files_on else "--no-serve-artifacts",
    ]


def server_environment(options: ServerOptions, parent: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of the server's process.

    Args:
        options: Its URIs go in here rather than into arguments, which every user of the machine can read.
        parent: What may be passed on from; `os.environ` by default. libpq's own variables (`PGPASSFILE` …)
            pass on to a server on PostgreSQL; `MLFLOW_*` and `AWS_*` never do.
    """
    inherited = {name: value for name, value in (os.environ if parent is None else parent).items() if _passes(name)}
    if scheme_of(options.backend_store_uri) != "postgresql":
        inherited = {name: value for name, value in inherited.items() if not name.startswith("PG")}
    uris = {
        "MLFLOW_BACKEND_STORE_URI": options.backend_store_uri,
        "MLFLOW_ARTIFACTS_DESTINATION": options.artifacts_destination,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": options.default_artifact_root,
    }
    given = {name: value for name, value in options.env.items() if name not in uris}
    return inherited | _ALWAYS | given | {name: value for name, value in uris.items() if value is not None}


def redactor_for(options: ServerOptions) -> Redactor:
    """Return what hides the server's own secrets in its log: passwords of its URIs, keys in its environment."""
    hidden = [value for name, value in options.env.items() if names_a_secret(name) or name.startswith("AWS_ACCESS")]
    uris = (options.backend_store_uri, options.artifacts_destination, options.default_artifact_root)
    for uri in filter(None, (*uris, *(value for value in options.env.values() if "://" in value))):
        password = _password_of(uri)
        hidden += [password, unquote(password)]
    return Redactor(hidden)


def _passes(name: str) -> bool:
    return name in _PASSED_ON or name.startswith(("LC_", "PG"))


def _password_of(uri: str) -> str:
    try:
        return urlsplit(uri).password or ""
    except ValueError:
        return ""
