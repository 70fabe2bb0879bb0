"""Which version of MLflow's tables a database has, and which one the installed MLflow wants; nothing is changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from holdfast.backend.database import connected
from holdfast.core.uris import sqlite_path

_ASSIGNED = re.compile(r"""^(revision|down_revision)\b[^=\n]*=\s*["'](\w+)["']""", re.MULTILINE)


@dataclass(frozen=True)
class Schema:
    """The tables of one database.

    Attributes:
        found: Its revision; empty where it has no tables of MLflow.
        wanted: The revision that the installed MLflow wants; empty where MLflow's database part is not installed.
        behind: By how many steps it is behind; 0 where it is not, None where the revision is none that this MLflow
            knows, which are those of later releases.
    """

    found: str
    wanted: str
    behind: int | None

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
    found = "" if path is not None and not path.exists() else _revision(uri, timeout_s)
    steps = _steps()
    order = _from_first_to_last(steps)
    wanted = order[-1] if order else ""
    if found in order:
        return Schema(found, wanted, len(order) - 1 - order.index(found))
    return Schema(found, wanted, None if found else 0)


def _revision(uri: str, timeout_s: int) -> str:
    from sqlalchemy import inspect, text

    with connected(uri, timeout_s, lock_wait_s=timeout_s) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return ""
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _steps() -> dict[str, str]:
    """Return each revision that the installed MLflow knows, with the one before it (empty: it is the first)."""
    spec = find_spec("mlflow")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    found: dict[str, str] = {}
    for root in roots:
        for path in (Path(root) / "store" / "db_migrations" / "versions").glob("*.py"):
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
