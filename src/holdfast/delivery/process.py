"""Starts the shipper and the uploader: processes of their own, threads where those may not be, or neither."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from holdfast.core.uris import is_database, scheme_of
from holdfast.delivery.shipper import Shipper
from holdfast.delivery.target import Target
from holdfast.delivery.upload_target import UploadTarget
from holdfast.journal.layout import JournalPaths
from holdfast.journal.locks import is_held

_log = logging.getLogger(__name__)

# What the shipper needs of the environment: to find Python and its packages, the server, and whom to believe.
_NEEDED = {
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "USERPROFILE", "LD_LIBRARY_PATH",
    "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy",
    "no_proxy",
}  # fmt: skip
# A database's driver is configured by these, and may have its password there.
_BY_DATABASE = {"postgresql": "PG", "mysql": "MYSQL", "mssql": "ODBC"}
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_DATABASE_POOL = "MLFLOW_SQLALCHEMYSTORE_"
# Opening a database imports MLflow, seconds of work that a short process at its end spares the shipper.
_GRACE_S = 4.0
_children: list[subprocess.Popen[bytes]] = []


def start_shipper(target: Target, own: Callable[[], str | None]) -> None:
    """See to it that a shipper is at work on the journal.

    Args:
        target: The journal and its store.
        own: Returns the name of this process in the journal, for a shipper that is a thread of it.
    """
    paths = JournalPaths(target.root)
    if target.shipper == "none" or is_held(paths.shipper_lock):
        return
    if target.shipper == "process":
        environ = shipper_environment(target, os.environ)
        if _start_process([], paths.shipper_log, environ, target.to_json()):
            return
    _start_thread("holdfast-shipper", Shipper(target, own=own).run)


def start_uploader(errand: UploadTarget, own: Callable[[], str | None]) -> None:
    """See to it that an uploader with this access is at work on the journal.

    Args:
        errand: The journal, and how its files are stored.
        own: Returns the name of this process in the journal, for an uploader that is a thread of it.
    """
    target = errand.target
    paths = JournalPaths(target.root)
    if target.shipper == "none" or is_held(paths.uploader_lock(errand.access.fingerprint)):
        return
    if target.shipper == "process":
        environ = uploader_environment(errand, os.environ)
        if _start_process(["files"], paths.uploader_log, environ, errand.to_json()):
            return
    from holdfast.delivery.uploader import Uploader

    _start_thread("holdfast-uploader", Uploader(errand, own=own).run)


def _start_thread(name: str, work: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the interpreter is ending
        threading.Thread(target=work, name=name, daemon=True).start()


def _start_process(arguments: Sequence[str], log: Path, environ: Mapping[str, str], text: str) -> bool:
    """Start it in a session of its own, so that Ctrl-C and the end of this process's group do not reach it."""
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        log.touch(mode=0o600)
        with log.open("ab") as file:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "holdfast.delivery", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
                cwd=log.parent,
                env=environ,
                start_new_session=True,
            )
    except OSError as error:
        _log.warning("no process may be started for the delivery (%s): a thread does it", error)
        return False
    # The settings go through a pipe: neither the list of processes nor its environment shows the login.
    with contextlib.suppress(OSError), child.stdin or contextlib.nullcontext():
        child.stdin.write(text.encode()) if child.stdin else None
    _children.append(child)
    return True


def shipper_environment(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the shipper: what it needs, and no key of anybody."""
    found = {name: value for name, value in environ.items() if name in _NEEDED or name.startswith("LC_")}
    if is_database(target.tracking_uri):
        prefix = _BY_DATABASE.get(scheme_of(target.tracking_uri), _DATABASE_POOL)
        found |= {name: value for name, value in environ.items() if name.startswith((prefix, _DATABASE_POOL))}
        found |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    if "PYTHONPATH" in found:  # its working directory is another one
        found["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in found["PYTHONPATH"].split(os.pathsep))
    return found


def uploader_environment(errand: UploadTarget, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the uploader: the shipper's, and what boto3's own search for credentials reads.

    The latter only where it is to search, and no key even then: those come by the pipe.
    """
    found = shipper_environment(errand.target, environ)
    if errand.access.credentials.kind in ("profile", "chain"):
        found |= {name: value for name, value in environ.items() if name.startswith("AWS_") and name not in _KEYS}
    return found


def grace_of(target: Target) -> float:
    """Return how long a shipper waits before it opens the store."""
    return _GRACE_S if is_database(target.tracking_uri) else 0.0
