"""Deleting and restoring runs as MLflow does, through its client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.backend.cleanup.store import Purged, batches
from holdfast.backend.client import Connection
from holdfast.errors import NotFoundError

GONE = "there is no such run any more"


def delete_runs(connection: Connection, run_ids: Sequence[str]) -> Iterator[Purged]:
    """Delete runs, and yield what became of each.

    Raises:
        BackendError: The store refuses, or cannot be reached.
    """
    return _each(connection, "delete_run", "delete run", run_ids)


def restore_runs(connection: Connection, run_ids: Sequence[str]) -> Iterator[Purged]:
    """Restore deleted runs, and yield what became of each; takes and raises what `delete_runs` does."""
    return _each(connection, "restore_run", "restore run", run_ids)


def _each(connection: Connection, method: str, doing: str, run_ids: Sequence[str]) -> Iterator[Purged]:
    for (run_id,) in batches(run_ids, 1):
        try:
            with connection.tracking(f"{doing} {run_id}"):
                getattr(connection.client, method)(run_id)
        except NotFoundError:
            yield Purged(skipped={run_id: GONE})
        else:
            yield Purged(done=(run_id,))
