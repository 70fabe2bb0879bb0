"""One short connection to a SQL database, outside MLflow's own pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.core.uris import scheme_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Another process that makes the tables of a SQLite file holds it for some seconds; it is waited for.
_SQLITE_WAIT_S = 30


@contextmanager
def connected(uri: str, timeout_s: int, lock_wait_s: int | None = None) -> Iterator[Connection]:
    """Connect once, without MLflow's two minutes of retries; the connection is closed at the end.

    Args:
        uri: A normalised database URI. A SQLite file that is missing is made.
        timeout_s: How long PostgreSQL and MySQL may take; a `connect_timeout` in the URI wins.
        lock_wait_s: How long a SQLite file that somebody else writes to is waited for, half a minute if not given; a
            `timeout` in the URI wins.

    Raises:
        ImportError: SQLAlchemy or the driver is not installed.
        Exception: Whatever the driver raises.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, connect_args=_options(uri, timeout_s, lock_wait_s), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def check_opens(uri: str, timeout_s: int = 5, lock_wait_s: int | None = None) -> None:
    """Open the database and read a little of it; takes and raises what `connected` does."""
    from sqlalchemy import text

    with connected(uri, timeout_s, lock_wait_s) as connection:
        # SQLite opens any file; only reading tells whether it is a database.
        connection.execute(text("PRAGMA schema_version" if scheme_of(uri) == "sqlite" else "SELECT 1"))


def _options(uri: str, timeout_s: int, lock_wait_s: int | None) -> dict[str, int]:
    scheme = scheme_of(uri)
    if scheme == "sqlite":
        return {"timeout": _SQLITE_WAIT_S if lock_wait_s is None else lock_wait_s} if "timeout=" not in uri else {}
    return {"connect_timeout": timeout_s} if scheme in ("postgresql", "mysql") and "connect_timeout" not in uri else {}
