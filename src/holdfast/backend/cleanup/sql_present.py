"""Short questions to MLflow's tables as they are now: what is registered, what is not deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from holdfast.backend.cleanup.sql_census import DELETED
from holdfast.backend.cleanup.store import batches
from holdfast.backend.cleanup.tables import reading
from holdfast.core.redaction import Redactor

_ASKED_AT_ONCE = 500


class Living(NamedTuple):
    """What is asked about.

    Attributes:
        table: Where it is.
        key: The column of its id.
        status: A column that is told with it.
    """

    table: str
    key: str
    status: str


LIVING_RUNS = Living("runs", "run_uuid", "status")
LIVING_EXPERIMENTS = Living("experiments", "experiment_id", "name")


def has_models(uri: str, redact: Redactor) -> bool:
    """Return whether a database has a registered model.

    Raises:
        BackendError: The database cannot be read.
    """
    with reading(uri, "look for registered models", redact) as tables:
        return any(True for _ in tables.rows("registered_models", "name"))


def read_living(uri: str, what: Living, ids: Sequence[Any], redact: Redactor) -> list[tuple[Any, str]]:
    """Return which of some ids are there and not deleted, each with its status.

    Raises:
        BackendError: The database cannot be read.
    """
    found: list[tuple[Any, str]] = []
    if not ids:
        return found
    with reading(uri, f"look which {what.table} are deleted", redact) as tables:
        for batch in batches(ids, _ASKED_AT_ONCE):
            columns = tables[what.table].c
            where = (columns[what.key].in_(batch), columns["lifecycle_stage"] != DELETED)
            found += [
                (key, status or "") for key, status in tables.rows(what.table, what.key, what.status, where=where)
            ]
    return found
