"""The registered versions, as MLflow's API tells of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from holdfast.backend.cleanup.sources import VersionRow, records_of
from holdfast.backend.cleanup.store import PlaceOf
from holdfast.backend.client import Connection, stages_are_deprecated
from holdfast.backend.paging import all_of
from holdfast.core.cleanup.records import State, VersionRecord


def read_versions_by_api(connection: Connection, place_of: PlaceOf, state: State) -> list[VersionRecord]:
    """Return the registered versions of a registry.

    A search tells where a version came from, not where its files are. That is asked of each version that comes from a
    logged model or another version, unless the model is known: a deleted one can be seen nowhere else.

    Args:
        connection: Whose registry to read.
        place_of: Makes a place of an address.
        state: What is known of runs and models.

    Raises:
        BackendError: The registry cannot be reached, or refuses.
    """
    known = {model.model_id for model in state.models}
    places = {run.run_id: run.place for run in state.runs}
    with connection.registry("read the registered versions"), stages_are_deprecated():
        aliases = _aliases(connection.client)
        rows = list(_rows(connection.client, aliases, known))
    return records_of(rows, place_of, places)


def _aliases(client: Any) -> Mapping[tuple[str, int], list[str]]:
    found: dict[tuple[str, int], list[str]] = {}
    for model in all_of(client.search_registered_models):
        for alias, version in dict(model.aliases or {}).items():
            found.setdefault((model.name, int(version)), []).append(alias)
    return found


def _rows(client: Any, aliases: Mapping[tuple[str, int], list[str]], known: Collection[str]) -> Iterator[VersionRow]:
    for item in all_of(client.search_model_versions, filter_string=""):
        source = item.source or ""
        addresses = [source] if source else []
        if source.startswith("models:/") and source.removeprefix("models:/").strip("/") not in known:
            addresses.append(client.get_model_version_download_uri(item.name, str(item.version)))
        pointing = sorted({*aliases.get((item.name, int(item.version)), ()), *(item.aliases or ())})
        yield VersionRow(
            item.name,
            int(item.version),
            tuple(dict.fromkeys(addresses)),
            item.run_id or "",
            item.current_stage or "",
            tuple(pointing),
        )
