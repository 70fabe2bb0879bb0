"""Deleting and restoring runs as MLflow does, through its client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from holdfast.backend.cleanup.store import Purged, batches
from holdfast.backend.client import Connection
from holdfast.backend.paging import all_of
from holdfast.errors import NotFoundError

GONE = "there is no such run any more"
_ASKED_AT_ONCE = 200


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


def active_among(connection: Connection, run_ids: Sequence[str], experiment_ids: Sequence[str]) -> dict[str, str]:
    """Return which of some runs are not deleted now, each with its status; asked for hundreds at once.

    Args:
        connection: The project's stores.
        run_ids: The runs.
        experiment_ids: The experiments that they are in.

    Raises:
        BackendError: The store refuses, or cannot be reached.
    """
    found: dict[str, str] = {}
    wanted = list(dict.fromkeys(experiment_ids))
    for batch in batches(run_ids, _ASKED_AT_ONCE):
        text = "attributes.run_id IN ({})".format(", ".join(f"'{run_id}'" for run_id in batch))
        with connection.tracking("look whether runs are still deleted"):
            for run in all_of(partial(connection.client.search_runs, wanted, text)):
                found[run.info.run_id] = str(run.info.status)
    return found


def active_runs(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Return which of some runs, wherever they are, are there and not deleted now; asked for one by one.

    Raises:
        BackendError: The store refuses, or cannot be reached.
    """
    active: set[str] = set()
    for run_id in dict.fromkeys(run_ids):
        with suppress(NotFoundError), connection.tracking(f"read run {run_id}"):
            if str(connection.client.get_run(run_id).info.lifecycle_stage) != "deleted":
                active.add(run_id)
    return active


def live_experiments(connection: Connection, experiment_ids: Sequence[str]) -> set[str]:
    """Return which of some experiments are there and not deleted now.

    Raises:
        BackendError: The store refuses, or cannot be reached.
    """
    live: set[str] = set()
    for experiment_id in dict.fromkeys(experiment_ids):
        with suppress(NotFoundError), connection.tracking(f"read experiment {experiment_id}"):
            if str(connection.client.get_experiment(experiment_id).lifecycle_stage) != "deleted":
                live.add(experiment_id)
    return live
