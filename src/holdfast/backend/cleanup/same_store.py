"""Whether a database is the one behind a server: another one, or an old copy, tells wrong things of what is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from holdfast.backend.cleanup.store import PlaceOf, batches
from holdfast.backend.client import Connection
from holdfast.backend.paging import all_of
from holdfast.core.cleanup.records import State
from holdfast.core.uris import mask_uri
from holdfast.errors import SettingsError

_ASKED_AT_ONCE = 200


@dataclass(frozen=True)
class ServerSide:
    """What a server knew before its database was read.

    Attributes:
        experiments: Their ids, names and places.
        newest_runs: The newest runs of all that it knows, deleted or not.
    """

    experiments: tuple[tuple[str, str, str], ...]
    newest_runs: tuple[str, ...]


def ask_server(connection: Connection, place_of: PlaceOf) -> ServerSide:
    """Return what a server knows that its database must know too.

    Raises:
        BackendError: It refuses, or cannot be reached.
    """
    from mlflow.entities import ViewType

    client = connection.client
    with connection.tracking("read what the server knows"):
        found = [
            (item.experiment_id, item.name, place_of(item.artifact_location or ""))
            for item in all_of(client.search_experiments, view_type=ViewType.ALL)
        ]
        newest = partial(
            client.search_runs, run_view_type=ViewType.ALL, max_results=1, order_by=["attributes.start_time DESC"]
        )
        runs = list(_newest(newest, [item[0] for item in found]))
    return ServerSide(tuple(found), tuple(runs))


def _newest(search: Any, experiment_ids: list[str]) -> Iterator[str]:
    for batch in batches(experiment_ids, _ASKED_AT_ONCE):
        for run in search(batch):
            yield run.info.run_id


def check_same(known: ServerSide, state: State, server: str, database: str) -> None:
    """Refuse a database that does not know what the server knew a moment before.

    Args:
        known: What the server knows.
        state: What the database says.
        server: The server's address.
        database: The database's.

    Raises:
        SettingsError: It is another one.
    """
    experiments = {(item.experiment_id, item.name, item.place) for item in state.experiments}
    runs = {run.run_id for run in state.runs}
    missing = [
        f"the experiment {name!r}" for id_, name, place in known.experiments if (id_, name, place) not in experiments
    ]
    missing += [f"the run {run_id}" for run_id in known.newest_runs if run_id not in runs]
    if missing:
        raise SettingsError(
            f"The database {mask_uri(database)} is not the one behind {mask_uri(server)}, or is an old copy of it: "
            f"the server knows {missing[0]}, as that database does not.",
            "give the --backend-store-uri with which the server runs",
        )
