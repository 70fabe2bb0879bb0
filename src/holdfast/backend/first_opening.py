"""One process at a time opens a database whose tables MLflow may have to make.

MLflow makes them when it first opens one, and does not see whether another process is at it. Two at once in a new
SQLite file leave half a schema there, which no later opening mends; in PostgreSQL the second one fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.backend.database import connected
from holdfast.core.uris import mask_uri, scheme_of, sqlite_path
from holdfast.errors import BackendUnavailableError

_WAIT_S = 120
_POLL_S = 0.02
_PG_LOCK = 0x686F6C64_66617374  # any number that nobody else has: "holdfast"
_opening = threading.local()

if os.name == "nt":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]

    def _unlock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(fd: int) -> None:
        # Closing alone would leave it to a child that was forked in between.
        fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def opened_alone(uri: str) -> Iterator[None]:
    """Keep other processes and threads from opening a database in here, as long as its tables may be missing.

    Within one thread it may be entered again. For what is no SQLite file and no PostgreSQL database, nothing is done.

    Args:
        uri: The store's.

    Raises:
        BackendUnavailableError: Another process has been opening it for two minutes.
    """
    held: set[str] = _opening.__dict__.setdefault("held", set())
    if uri in held:
        yield
        return
    held.add(uri)
    try:
        with _locked(uri):
            yield
    finally:
        held.discard(uri)


@contextmanager
def _locked(uri: str) -> Iterator[None]:
    path = sqlite_path(uri)
    if path is not None and path.name not in ("", ":memory:") and not str(path).startswith("file:"):
        # What takes seconds and needs no database, before others are kept waiting.
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

        with _sqlite_locked(path, uri):
            yield
    elif scheme_of(uri) == "postgresql":
        with _postgres_locked(uri):
            yield
    else:
        yield


# -- SQLite ---------------------------------------------------------------------------


@contextmanager
def _sqlite_locked(path: Path, uri: str) -> Iterator[None]:
    fd = _acquire(path, uri)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            _unlock(fd)
        os.close(fd)


def _acquire(path: Path, uri: str) -> int:
    """Return an open file with the lock of a database."""
    deadline_s = time.monotonic() + _WAIT_S
    fd = _lock_file(path)
    try:
        while True:
            try:
                _lock(fd)
            except (BlockingIOError, PermissionError):
                if time.monotonic() > deadline_s:
                    raise BackendUnavailableError(
                        f"Another process has been opening {mask_uri(uri)} for {_WAIT_S} s.",
                        f"see which one it is and whether it hangs: fuser -v '{path.parent}'",
                    ) from None
                time.sleep(_POLL_S)
            else:
                return fd
    except BaseException:
        os.close(fd)
        raise


def _lock_file(path: Path) -> int:
    """Return what is locked for a database: its folder, where a system can lock one, so that no file is left there."""
    folder = path.absolute().parent
    if os.name != "nt":
        with contextlib.suppress(OSError):
            fd = os.open(folder, os.O_RDONLY)
            if _can_be_locked(fd):
                return fd
            os.close(fd)
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    user = os.getuid() if hasattr(os, "getuid") else 0
    return os.open(Path(tempfile.gettempdir()) / f"holdfast-opening-{user}-{key}", os.O_CREAT | os.O_RDWR, 0o600)


def _can_be_locked(fd: int) -> bool:
    """Whether a folder can be locked: not on network file systems that ask for a file that can be written."""
    try:
        _lock(fd)
    except BlockingIOError:
        return True
    except OSError:
        return False
    _unlock(fd)
    return True


# -- PostgreSQL -----------------------------------------------------------------------


@contextmanager
def _postgres_locked(uri: str) -> Iterator[None]:
    """Hold a lock of the database, which is free again when the connection ends, if MLflow's tables are missing."""
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    with contextlib.ExitStack() as stack:
        # MLflow says of a database that cannot be reached what is to be said.
        with contextlib.suppress(ImportError, SQLAlchemyError):
            connection = stack.enter_context(connected(uri, 5))
            # MLflow commits this table with the last of its migrations.
            if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
                connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT_S}s'"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_PG_LOCK})"))
            else:
                stack.close()
        yield
