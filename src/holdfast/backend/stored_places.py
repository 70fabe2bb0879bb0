"""Where all experiments and registered versions of a store keep their files, asked for without MLflow's client.

Deleted experiments are left out. So are versions of which only the model or the run is named (`models:/…`, `runs:/…`):
their files lie with their experiment's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from holdfast.backend.database import connected
from holdfast.backend.rest_messages import page_of
from holdfast.backend.rest_sender import RestSender
from holdfast.core.uris import scheme_of

_PAGE = 1000
_WITHOUT_PLACE = ("models", "runs")


@dataclass
class StoredPlaces:
    """Where files lie.

    Attributes:
        experiments: The names and locations of experiments.
        versions: The names (`digits version 3`) and locations of registered versions.
        is_whole: Whether these are all; else there are more.
    """

    experiments: list[tuple[str, str]] = field(default_factory=list)
    versions: list[tuple[str, str]] = field(default_factory=list)
    is_whole: bool = True


class PlacesSender(RestSender):
    """A way to a server that is asked where files lie. Raises as `RestSender` does."""

    def experiments(self) -> Iterator[tuple[str, str]]:
        """Give the names and locations of all experiments that are not deleted."""
        body = {"max_results": _PAGE, "view_type": "ACTIVE_ONLY"}
        read = page_of("experiments", lambda said: (str(said["name"]), str(said.get("artifact_location", ""))))
        for page in self._pages(lambda token: self._post("experiments/search", {**body, **token}, read)):
            yield from page

    def versions(self) -> Iterator[tuple[str, str]]:
        """Give the names and locations of all registered versions."""
        read = page_of("model_versions", _version_of)
        query = {"max_results": str(_PAGE)}
        for page in self._pages(lambda token: self._get("model-versions/search", {**query, **token}, read)):
            yield from page


def _version_of(said: Mapping[str, Any]) -> tuple[str, str]:
    return f"{said['name']} version {said['version']}", str(said.get("source", ""))


def places_on_server(
    sender: PlacesSender, registry: PlacesSender | None, most: int, is_late: Callable[[], bool]
) -> StoredPlaces:
    """Return where files lie by a server.

    Args:
        sender: The way to the tracking server.
        registry: The way to the registry; None where it is no server.
        most: How many experiments and how many versions are asked for at most.
        is_late: Says when to stop asking.

    Raises:
        Refused, Unavailable: As of `RestSender`.
    """
    found = StoredPlaces()
    found.experiments = _taken(sender.experiments(), most, is_late, found)
    versions = _taken(registry.versions(), most, is_late, found) if registry is not None else []
    found.versions = [item for item in versions if _has_place(item[1])]
    return found


def _taken(
    items: Iterator[tuple[str, str]], most: int, is_late: Callable[[], bool], found: StoredPlaces
) -> list[tuple[str, str]]:
    taken: list[tuple[str, str]] = []
    for item in items:
        if len(taken) >= most or (len(taken) % _PAGE == 0 and taken and is_late()):
            found.is_whole = False
            break
        taken.append(item)
    return taken


def places_in_database(uri: str, timeout_s: int, most: int) -> StoredPlaces:
    """Return where files lie by a database's tables; nothing where there are none.

    Args:
        uri: A normalised database URI; of SQLite, of a file that exists.
        timeout_s: How long connecting, and waiting for another writer, may take, in seconds.
        most: How many experiments and how many versions are asked for at most.

    Raises:
        ImportError: SQLAlchemy or the driver is not installed.
        Exception: Whatever the driver raises.
    """
    from sqlalchemy import inspect, text

    found = StoredPlaces()
    with connected(uri, timeout_s, lock_wait_s=timeout_s) as connection:
        asking = inspect(connection)
        if asking.has_table("experiments"):
            wanted = "SELECT name, artifact_location FROM experiments WHERE lifecycle_stage = 'active' ORDER BY 1"
            found.experiments = _rows(connection.execute(text(wanted)), most, found)
        if asking.has_table("model_versions"):
            known = {column["name"] for column in asking.get_columns("model_versions")}
            place = "COALESCE(storage_location, source)" if "storage_location" in known else "source"
            wanted = f"SELECT name, version, {place} FROM model_versions ORDER BY 1, 2"  # noqa: S608  # names of columns
            rows = ((f"{name} version {version}", where) for name, version, where in connection.execute(text(wanted)))
            found.versions = [item for item in _rows(rows, most, found) if _has_place(item[1])]
    return found


def _rows(rows: Iterable[Any], most: int, found: StoredPlaces) -> list[tuple[str, str]]:
    taken = [(str(name), str(where or "")) for name, where in islice(rows, most + 1)]
    found.is_whole = found.is_whole and len(taken) <= most
    return taken[:most]


def _has_place(source: str) -> bool:
    return scheme_of(source) not in _WITHOUT_PLACE
