"""Where the files of a registered version lie, as the registry resolves it."""

from __future__ import annotations

from holdfast.backend.client import Connection


def place_of_version(connection: Connection, name: str, version: int) -> str:
    """Return the address of the files of a version; for a source such as `models:/m-…` or `runs:/…` theirs.

    Raises:
        NotFoundError: There is no such version.
        BackendError: The registry cannot be asked.
    """
    with connection.registry(f"look where {name} version {version} lies"):
        return str(connection.client.get_model_version_download_uri(name, str(version)))
