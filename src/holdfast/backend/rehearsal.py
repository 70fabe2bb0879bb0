"""A run that is stored in a database and read back in one transaction, which is then taken back.

Nobody else ever sees it, and being killed in the middle leaves nothing either. What MLflow's own store would add is the
commit; what it would cost is its import, which takes seconds.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from holdfast.backend.database import connected
from holdfast.errors import BackendError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_OF_RUN = ("metrics", "latest_metrics", "params", "tags", "runs")
_COLUMNS = {
    "experiments": ("experiment_id", "name", "artifact_location", "lifecycle_stage"),
    "experiment_tags": ("experiment_id",),
    "runs": (
        "run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time",
        "end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id",
    ),
    "metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
    "latest_metrics": ("key", "value", "timestamp", "run_uuid", "step", "is_nan"),
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
}  # fmt: skip


def rehearse_run(uri: str, timeout_s: int) -> None:
    """Begin a run, log a metric, a param and a tag to it, read them, end and delete it; none of it is kept.

    Args:
        uri: A normalised database URI, with MLflow's tables.
        timeout_s: How long connecting, and waiting for another writer, may take, in seconds.

    Raises:
        BackendError: What was read is not what was written.
        Exception: Whatever the driver raises.
    """
    with connected(uri, timeout_s, lock_wait_s=timeout_s) as connection:
        transaction = connection.begin()
        try:
            _Rehearsal(connection).run()
        finally:
            transaction.rollback()


class _Rehearsal:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._run_id = uuid.uuid4().hex
        self._now_ms = time.time_ns() // 1_000_000

    def run(self) -> None:
        """Do it."""
        from sqlalchemy import delete, update

        experiment_id = self._begin_experiment()
        self._add("runs", **self._run(experiment_id))
        metric = {"key": "probe", "value": 0.5, "timestamp": self._now_ms, "step": 1, "is_nan": False}
        for name in ("metrics", "latest_metrics"):
            self._add(name, run_uuid=self._run_id, **metric)
        self._add("params", run_uuid=self._run_id, key="probe", value="1")
        self._add("tags", run_uuid=self._run_id, key="probe", value=self._run_id)
        self._check("metrics", 0.5)
        self._check("params", "1")
        self._check("tags", self._run_id)
        runs = _table("runs")
        ended = {"status": "FINISHED", "end_time": self._now_ms, "lifecycle_stage": "deleted"}
        self._connection.execute(update(runs).where(runs.c.run_uuid == self._run_id).values(ended))
        for name in _OF_RUN:
            self._connection.execute(delete(_table(name)).where(_table(name).c.run_uuid == self._run_id))

    def _begin_experiment(self) -> int:
        from sqlalchemy import select

        name, table = f"holdfast-doctor-{self._run_id}", _table("experiments")
        self._add("experiments", name=name, artifact_location="", lifecycle_stage="active")
        return int(self._connection.execute(select(table.c.experiment_id).where(table.c.name == name)).scalar_one())

    def _run(self, experiment_id: int) -> dict[str, Any]:
        empty = dict.fromkeys(("source_name", "entry_point_name", "source_version", "artifact_uri"), "")
        return empty | {
            "run_uuid": self._run_id,
            "name": "holdfast-doctor",
            "source_type": "UNKNOWN",
            "user_id": "holdfast",
            "status": "RUNNING",
            "start_time": self._now_ms,
            "lifecycle_stage": "active",
            "experiment_id": experiment_id,
        }

    def _add(self, table: str, **values: object) -> None:
        from sqlalchemy import insert

        self._connection.execute(insert(_table(table)).values(values))

    def _check(self, name: str, wanted: object) -> None:
        from sqlalchemy import select

        table = _table(name)
        found = self._connection.execute(select(table.c.value).where(table.c.run_uuid == self._run_id)).scalar()
        if found != wanted:
            raise BackendError(
                f"The table {name} gives back {found!r} for {wanted!r}.", "see the database's log; run its own checks"
            )


@dataclass(frozen=True)
class Purged:
    """What `purge_run` has deleted for good."""

    run: bool
    experiment: bool


def purge_run(uri: str, run_id: str, experiment_name: str, timeout_s: int) -> Purged:
    """Delete a deleted run for good, and its experiment where that is deleted and holds no other run.

    Over REST MLflow has no such call; what is not deleted, or not there, is left alone.

    Args:
        uri: A normalised database URI.
        run_id: The run.
        experiment_name: Its experiment.
        timeout_s: As of `rehearse_run`.

    Raises:
        Exception: Whatever the driver raises; nothing is deleted then.
    """
    from sqlalchemy import delete, exists, select

    runs, experiments, tags = _table("runs"), _table("experiments"), _table("experiment_tags")
    with connected(uri, timeout_s, lock_wait_s=timeout_s) as connection, connection.begin():
        known = select(runs.c.run_uuid).where(runs.c.run_uuid == run_id, runs.c.lifecycle_stage == "deleted")
        is_known = connection.execute(known).first() is not None
        for name in _OF_RUN if is_known else ():
            connection.execute(delete(_table(name)).where(_table(name).c.run_uuid == run_id))
        empty = connection.execute(
            select(experiments.c.experiment_id).where(
                experiments.c.name == experiment_name,
                experiments.c.lifecycle_stage == "deleted",
                ~exists().where(runs.c.experiment_id == experiments.c.experiment_id),
            )
        ).scalar()
        for table in (tags, experiments) if empty is not None else ():
            connection.execute(delete(table).where(table.c.experiment_id == empty))
        return Purged(is_known, empty is not None)


@cache
def _table(name: str) -> Any:
    from sqlalchemy import column, table

    return table(name, *(column(item) for item in _COLUMNS[name]))
