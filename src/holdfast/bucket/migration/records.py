"""What a migration reads and rewrites of MLflow's own records, wherever the project keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.backend.locations import Catalog, Change, mentions, read_catalog, rewrite
from holdfast.backend.locations_by_api import read_catalog_by_api
from holdfast.core.redaction import Redactor
from holdfast.core.uris import is_database, mask_uri
from holdfast.delivery.identity import is_local, load_about, load_experiment, load_resolved
from holdfast.delivery.offline_files import files_waiting
from holdfast.delivery.places import Journal, places_of
from holdfast.errors import BackendError
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.spool import Spool
from holdfast.project import Project


class Records:
    """The tables of tracking store and registry, which may be two databases; or MLflow's API, where they are far.

    Args:
        project: Whose. MLFLOW_BACKEND_STORE_URI is taken where the tracking store is a server.
    """

    def __init__(self, project: Project) -> None:
        settings = project.settings
        self._project = project
        self._redact: Redactor = project.redact
        self._tracking = settings.tracking_uri
        if not is_database(self._tracking) and settings.backend_store_uri is not None:
            self._tracking = settings.backend_store_uri
        self._registry = settings.registry_uri or self._tracking
        if settings.registry_uri == settings.tracking_uri:
            self._registry = self._tracking

    @property
    def can_rewrite(self) -> bool:
        """Whether the databases themselves are within reach."""
        return is_database(self._tracking) and is_database(self._registry)

    @property
    def shown(self) -> str:
        """Where they are, without a password."""
        return mask_uri(self._tracking)

    def catalog(self) -> Catalog:
        """Return where everything lies.

        Raises:
            BackendError: A store cannot be read.
        """
        if not self.can_rewrite:
            return read_catalog_by_api(self._project.connection)
        found = read_catalog(self._tracking, self._redact)
        if self._registry != self._tracking:
            versions = read_catalog(self._registry, self._redact).locations
            found.locations = [item for item in found.locations if item.column.table != "model_versions"]
            found.locations += [item for item in versions if item.column.table == "model_versions"]
        return found

    def rewrite(self, changes: Sequence[Change]) -> int:
        """Write locations anew, in one transaction a database; return how many.

        Raises:
            BackendError: A database refuses, or is out of reach; what it holds is as it was.
        """
        if not self.can_rewrite:
            raise BackendError("MLflow's API cannot change locations.", "set MLFLOW_BACKEND_STORE_URI")
        if self._registry == self._tracking:
            return rewrite(self._tracking, changes, self._redact) if changes else 0
        versions = [item for item in changes if item.location.column.table == "model_versions"]
        others = [item for item in changes if item.location.column.table != "model_versions"]
        groups = ((self._registry, versions), (self._tracking, others))
        return sum(rewrite(uri, group, self._redact) for uri, group in groups if group)

    def mentions(self, old_uris: Sequence[str]) -> dict[str, int]:
        """Return how many texts still name an old place, by `table.column`; see `holdfast.backend.locations`."""
        return mentions(self._tracking, old_uris, self._redact) if self.can_rewrite and old_uris else {}


def files_in_journal(project: Project, catalog: Catalog) -> dict[str, int]:
    """Return how many files in the project's journal are still to be uploaded, by the id of their experiment.

    Args:
        project: Whose.
        catalog: Tells which experiment a run belongs to, and what experiments are called.
    """
    found: dict[str, int] = {}
    for journal in places_of(project.settings).journals:
        names = {item.name: item.experiment_id for item in catalog.experiments}
        for run_id, count in _counts(journal).items():
            experiment_id = _experiment_of(journal, run_id, catalog, names)
            found[experiment_id] = found.get(experiment_id, 0) + count
    return found


def _counts(journal: Journal) -> dict[str, int]:
    counts = {run_id: files_waiting(journal.paths.run(run_id)) for run_id in journal.run_ids()}
    for parcel in Spool(journal.paths).parcels():
        if parcel.entry is not None:
            counts[parcel.entry.run_id] = counts.get(parcel.entry.run_id, 0) + len(parcel.left.paths)
    return {run_id: count for run_id, count in counts.items() if count}


def _experiment_of(journal: Journal, run_id: str, catalog: Catalog, names: dict[str, str]) -> str:
    files, run = OsFileSystem(), journal.paths.run(run_id)
    resolved = load_resolved(files, run)
    on_server = resolved.run_id if resolved else run_id
    if on_server in catalog.experiment_of_run:
        return catalog.experiment_of_run[on_server]
    begun_in = load_about(files, run).experiment_id
    about = load_experiment(files, journal.paths, begun_in) if is_local(begun_in) else None
    return names.get(about.name, "") if about is not None else begun_in
