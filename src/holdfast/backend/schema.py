"""Which version of MLflow's tables a database has, and which one the installed MLflow wants; nothing is changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from holdfast.backend.database import connected
from holdfast.core.uris import sqlite_path

_TABLE = re.compile(r"""^\s+__tablename__\s*=\s*["'](\w+)["']""", re.MULTILINE)
_ASSIGNED = re.compile(r"""^(revision|down_revision)\b[^=\n]*=\s*["'](\w+)["']""", re.MULTILINE)


@dataclass(frozen=True)
class Schema:
    """The tables of one database.

    Attributes:
        found: Its revision; empty where it has no tables of MLflow.
        wanted: The revision that the installed MLflow wants; empty where MLflow's database part is not installed.
        behind: By how many steps it is behind; 0 where it is not, None where the revision is none that this MLflow
            knows, which are those of later releases.
        has_tables: Whether there are any of MLflow's tables, whatever the revision.
        missing: Those of the installed MLflow that are not there, in order.
    """

    found: str
    wanted: str
    behind: int | None
    has_tables: bool = False
    missing: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether the installed MLflow opens it."""
        return self.found == self.wanted


def schema_of(uri: str, timeout_s: int) -> Schema:
    """Read which revision a database has, and compare it with the installed MLflow's.

    MLflow itself would be asked by opening its store, which makes tables where some are missing.

    Args:
        uri: A normalised database URI; a SQLite file that is missing has no tables, and is not made.
        timeout_s: How long it may take, in seconds.

    Raises:
        ImportError: SQLAlchemy or the driver is not installed.
        Exception: Whatever the driver raises.
    """
    path = sqlite_path(uri)
    found, tables = ("", set()) if path is not None and not path.exists() else _look(uri, timeout_s)
    steps = _steps()
    order = _from_first_to_last(steps)
    wanted = order[-1] if order else ""
    expected = _tables()
    there, missing = bool(tables & expected), tuple(sorted(expected - tables))
    if found in order:
        return Schema(found, wanted, len(order) - 1 - order.index(found), there, missing)
    return Schema(found, wanted, None if found else 0, there, missing)


def _look(uri: str, timeout_s: int) -> tuple[str, set[str]]:
    """Return the revision and the names of the tables."""
    from sqlalchemy import inspect, text

    with connected(uri, timeout_s, lock_wait_s=timeout_s) as connection:
        tables = set(inspect(connection).get_table_names())
        if "alembic_version" not in tables:
            return "", tables
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""), tables


def _tables() -> set[str]:
    """Return the names of the tables that the installed MLflow makes."""
    sources = (path for root in _roots() for path in (root / "store").glob("*/dbmodels/models.py"))
    return {name for path in sources for name in _TABLE.findall(path.read_text(encoding="utf-8"))}


def _roots() -> list[Path]:
    spec = find_spec("mlflow")
    return [Path(root) for root in spec.submodule_search_locations or ()] if spec else []


def _steps() -> dict[str, str]:
    """Return each revision that the installed MLflow knows, with the one before it (empty: it is the first)."""
    found: dict[str, str] = {}
    for root in _roots():
        for path in (root / "store" / "db_migrations" / "versions").glob("*.py"):
            # Read, not imported: importing them takes all of MLflow, and seconds.
            names = _constants(path.read_text(encoding="utf-8"))
            if "revision" in names:
                found[names["revision"]] = names.get("down_revision", "")
    return found


def _constants(source: str) -> dict[str, str]:
    # Not with `ast`: in Python 3.11 two threads that parse at once trip over each other (cpython#106905).
    return dict(_ASSIGNED.findall(source))


def _from_first_to_last(steps: dict[str, str]) -> list[str]:
    followers = {before: revision for revision, before in steps.items()}
    order: list[str] = []
    at = ""
    while at in followers and followers[at] not in order:
        at = followers[at]
        order.append(at)
    return order
