"""Which of the two ways clean-up takes: over a database wherever one can be reached."""

from __future__ import annotations

from holdfast.backend.cleanup.api_store import ApiCleanup
from holdfast.backend.cleanup.sql_store import SqlCleanup
from holdfast.backend.cleanup.store import CleanupStore, PlaceOf, as_place
from holdfast.backend.client import Connection
from holdfast.core.uris import is_database, mask_uri
from holdfast.errors import InvalidInputError


def open_cleanup(
    connection: Connection, backend_store_uri: str | None = None, place_of: PlaceOf = as_place
) -> CleanupStore:
    """Return the store that clean-up works on; nothing is opened yet.

    Args:
        connection: The project's stores.
        backend_store_uri: The database behind the connection's server, normalised, where it can be reached. It is not
            used where the connection is to a database itself.
        place_of: Makes a place of an address as MLflow has it; otherwise only slashes at its end are taken off.

    Raises:
        InvalidInputError: `backend_store_uri` is no database.
    """
    if backend_store_uri is not None and not is_database(backend_store_uri):
        raise InvalidInputError(
            f"{mask_uri(backend_store_uri)} is no database.", "give the server's --backend-store-uri: postgresql://…"
        )
    database = connection.tracking_uri if is_database(connection.tracking_uri) else backend_store_uri
    return ApiCleanup(connection, place_of) if database is None else SqlCleanup(connection, database, place_of)
