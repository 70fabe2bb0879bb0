"""Asks a tracking store one small question, quickly, without MLflow's client.

MLflow's client takes seconds to import, creates a SQLite file that is missing, and retries
for minutes. A status line must do none of that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from holdfast.backend.database import connected
from holdfast.core.redaction import Redactor
from holdfast.core.sending import ExperimentRef
from holdfast.core.uris import is_database, mask_uri, scheme_of, sqlite_path

_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ExperimentPlace:
    """Where an experiment keeps its artifacts, or why that cannot be told.

    Attributes:
        location: Its artifact location, or None.
        reason: Empty where `location` is known; else `not created yet`, or what kept it from being asked.
    """

    location: str | None
    reason: str = ""


def find_experiment_place(tracking_uri: str, experiment: str, redact: Redactor) -> ExperimentPlace:
    """Ask where an experiment keeps its artifacts; takes two seconds at most, changes nothing, never raises.

    Args:
        tracking_uri: The store.
        experiment: The experiment's name.
        redact: Hides the project's secrets in the reason.
    """
    try:
        if is_database(tracking_uri):
            return _ask_database(tracking_uri, experiment)
        if scheme_of(tracking_uri) in ("http", "https"):
            return _ask_server(tracking_uri, experiment)
    except ImportError as error:
        return ExperimentPlace(None, f"{error.name} is not installed")
    except Exception as error:  # whatever a driver raises, the answer is "cannot be asked"
        lines = str(error).splitlines() or [type(error).__name__]
        return ExperimentPlace(None, f"{mask_uri(tracking_uri)} does not answer: {redact(lines[0])[:200]}")
    return ExperimentPlace(None, f"{scheme_of(tracking_uri)} is not asked")


def _ask_database(uri: str, experiment: str) -> ExperimentPlace:
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return ExperimentPlace(None, "not created yet")
    from sqlalchemy import text

    query = text("SELECT artifact_location FROM experiments WHERE name = :name")
    with connected(uri, int(_TIMEOUT_S)) as connection:
        row = connection.execute(query, {"name": experiment}).first()
    return ExperimentPlace(None, "not created yet") if row is None else ExperimentPlace(str(row[0]))


def experiment_in(uri: str, name: str, timeout_s: int) -> ExperimentRef | None:
    """Return the experiment of a database, deleted or not; None where there is none, or no table of them.

    Args:
        uri: A normalised database URI; of SQLite, of a file that exists.
        name: The experiment's name.
        timeout_s: How long connecting, and waiting for another writer, may take, in seconds.

    Raises:
        ImportError: SQLAlchemy or the driver is not installed.
        Exception: Whatever the driver raises.
    """
    from sqlalchemy import inspect, text

    query = text("SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments WHERE name = :name")
    with connected(uri, timeout_s, lock_wait_s=timeout_s) as connection:
        if not inspect(connection).has_table("experiments"):
            return None
        row = connection.execute(query, {"name": name}).first()
    return None if row is None else ExperimentRef(str(row[0]), name, str(row[1] or ""), row[2] == "deleted")


def _ask_server(uri: str, experiment: str) -> ExperimentPlace:
    import requests

    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{part}") for part in ("USERNAME", "PASSWORD"))
    answer = requests.get(
        f"{uri}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": experiment},
        headers={"Authorization": f"Bearer {token}"} if token and not user else {},
        auth=(user, password) if user and password else None,
        timeout=_TIMEOUT_S,
    )
    if answer.status_code == requests.codes.not_found:
        return ExperimentPlace(None, "not created yet")
    answer.raise_for_status()
    return ExperimentPlace(str(answer.json()["experiment"]["artifact_location"]))
