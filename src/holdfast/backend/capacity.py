"""How many connections a database has left, and how many MLflow may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.backend.database import connected

# SQLAlchemy's pool, which MLflow takes as it is; it has one for runs and one for models in each process.
_POOL_SIZE, _MAX_OVERFLOW, _POOLS = 5, 10, 2


@dataclass(frozen=True)
class Capacity:
    """The connections of a PostgreSQL server.

    Attributes:
        limit: `max_connections`.
        reserved: How many of these only administrators get.
        in_use: How many clients are connected now.
    """

    limit: int
    reserved: int
    in_use: int

    @property
    def usable(self) -> int:
        """How many others get."""
        return max(0, self.limit - self.reserved)

    @property
    def left(self) -> int:
        """How many are free."""
        return max(0, self.usable - self.in_use)


def capacity_of(uri: str, timeout_s: int) -> Capacity:
    """Ask a PostgreSQL server for its connections.

    Args:
        uri: A normalised `postgresql` URI.
        timeout_s: How long connecting may take, in seconds.

    Raises:
        ImportError: SQLAlchemy or the driver is not installed.
        Exception: Whatever the driver raises.
    """
    from sqlalchemy import text

    numbers = text(
        "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int"
        " + coalesce(current_setting('reserved_connections', true), '0')::int"  # since PostgreSQL 16
    )
    # What everybody may see; pg_stat_activity hides much of other users' connections.
    used = text("SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database")
    with connected(uri, timeout_s) as connection:
        limit, reserved = connection.execute(numbers).one()
        return Capacity(int(limit), int(reserved), int(connection.execute(used).scalar_one()))


def most_taken(environ: Mapping[str, str], processes: int) -> int:
    """Return how many connections so many processes of MLflow take at most, by MLflow's own variables."""
    size = _number(environ, "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", _POOL_SIZE)
    overflow = _number(environ, "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW", _MAX_OVERFLOW)
    return processes * _POOLS * (size + overflow)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() and int(text) else default
