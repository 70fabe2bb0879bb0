"""What can be known before a server is started, so that it fails in a second and with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from holdfast.core.redaction import Redactor
from holdfast.core.uris import mask_uri, scheme_of, sqlite_path
from holdfast.errors import MissingDependencyError, ServerError
from holdfast.server.diagnosis import diagnose, last_lines

_PROBE = Path(__file__).with_name("probe.py")
_PROBE_TIMEOUT_S = 30.0
_NEEDED = ("mlflow", "flask", "sqlalchemy", "alembic")


def check_dependencies() -> None:
    """Return if the whole of MLflow is installed.

    Raises:
        MissingDependencyError: Only mlflow-skinny is, or nothing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"A tracking server needs the whole of MLflow; not installed: {', '.join(missing)}.",
            "pip install 'holdfast[server]'",
        )


def check_backend(uri: str, env: Mapping[str, str], redact: Redactor) -> None:
    """Return if the database can be opened: SQLite's folder is there, another database takes the connection.

    Args:
        uri: The backend store.
        env: The environment in which the server will run.
        redact: Hides the server's secrets in what the driver says.

    Raises:
        ServerError: It cannot be; the hint is the command that mends it.
    """
    path = sqlite_path(uri)
    if path is not None:
        _check_sqlite(path)
    elif scheme_of(uri) in ("postgresql", "mysql", "mssql"):
        _check_connection(uri, env, redact)


def _check_sqlite(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ServerError(f"The folder of the database {path} does not exist.", f"mkdir -p '{folder}'")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ServerError(
            f"The database {path} cannot be written by this user.", f"chmod u+rwX '{folder}' (see `ls -l '{folder}'`)"
        )


def _check_connection(uri: str, env: Mapping[str, str], redact: Redactor) -> None:
    command = [sys.executable, "-P", str(_PROBE)]
    try:
        done = subprocess.run(
            command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServerError(
            f"The database {mask_uri(uri)} gave no answer within {_PROBE_TIMEOUT_S:g} s.",
            "correct host and port in MLFLOW_BACKEND_STORE_URI",
            retryable=True,
        ) from None
    if done.returncode == 0:
        return
    said = done.stderr.decode(errors="replace")
    known = diagnose(said, uri)
    if known is not None:
        raise known
    raise ServerError(
        f"The database {mask_uri(uri)} cannot be used:\n{redact(last_lines(said))}", "check MLFLOW_BACKEND_STORE_URI"
    )
