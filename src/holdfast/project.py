"""A project: its settings, and the stores they lead to, opened when first used."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from holdfast.artifacts import ArtifactStore
from holdfast.artifacts.access import access_of
from holdfast.artifacts.scopes import Claim
from holdfast.backend.client import Connection
from holdfast.backend.entities import Experiment
from holdfast.backend.history import HistoryStore
from holdfast.backend.registry import RegistryStore
from holdfast.backend.tracking import TrackingStore
from holdfast.core.names import check_experiment_name
from holdfast.core.redaction import Redactor
from holdfast.core.uris import join_uri, scheme_of, slug
from holdfast.delivery.delivery import Delivery, delivery_in_use, delivery_of
from holdfast.delivery.target import login_of, target_of
from holdfast.errors import DeliveryError, SettingsError
from holdfast.journal.layout import JournalPaths
from holdfast.logs import get_logger
from holdfast.settings import Settings, load_settings

_log = get_logger(__name__)
# A registry behind one of these has a tracking store beside it.
_TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


class Project:
    """What one project's calls go through; several may live side by side in one process.

    Args:
        settings: Its settings.
        journaled: Whether it is there to log, through the journal unless HOLDFAST_DELIVERY says `direct`; a project
            that is only looked at wants to hear at once that its server is missing.

    Making one does nothing: no connection, no import of MLflow.
    """

    def __init__(self, settings: Settings, journaled: bool = False) -> None:
        self.settings = settings
        self._is_journaled = journaled and settings.delivery != "direct"
        self.redact = Redactor(settings.secrets())
        self._claimed: set[str | None] = set()

    def __repr__(self) -> str:
        return f"Project({self.settings!r})"

    @cached_property
    def connection(self) -> Connection:
        """MLflow's client for the project's stores."""
        return Connection(self.settings.tracking_uri, self.settings.registry_uri, self.redact, self.delivery)

    @cached_property
    def delivery(self) -> Delivery | None:
        """The journal that the project logs through, or None where it logs directly.

        Raises:
            SettingsError: The tracking store is of a kind that is not delivered to.
        """
        return delivery_of(target_of(self.settings)) if self._is_journaled else None

    def settle(self, limit_s: float | None = None) -> None:
        """Wait until what this process has logged is on the server.

        Args:
            limit_s: How long, in seconds; HOLDFAST_READ_WAIT if not given.

        Raises:
            DeliveryError: Not all of it was, within that time.
        """
        delivery = self.delivery or delivery_in_use(self.settings.tracking_uri)
        self._refuse_if_left({} if delivery is None else delivery.settle(limit_s=limit_s))

    def settle_files(self, run_id: str) -> None:
        """Wait, for HOLDFAST_READ_WAIT seconds at most, until the files of a run are stored, whoever handed them over.

        Raises:
            DeliveryError: Not all of them were; they are in the journal.
        """
        delivery = self.delivery or delivery_in_use(self.settings.tracking_uri) or self._journal_there()
        waiting = [] if delivery is None else delivery.runs_with_files(run_id)
        if delivery is not None and waiting:
            # Whoever handed them over may be gone, and its uploader with it.
            delivery.see_to_uploads(self.artifacts.access, self.settings.artifact_root)
            self._refuse_if_left(delivery.settle(waiting, self.settings.read_wait))

    def _journal_there(self) -> Delivery | None:
        """Return the journal that others have left for this tracking store, if any."""
        try:
            target = target_of(self.settings)
        except SettingsError:  # nothing is ever journaled for it
            return None
        return delivery_of(target) if JournalPaths(target.root).files.exists() else None

    def _refuse_if_left(self, left: Mapping[str, str]) -> None:
        if left:
            run_id, reason = next(iter(left.items()))
            others = f" and {len(left) - 1} others" if len(left) > 1 else ""
            raise DeliveryError(
                f"Not all that was logged to run {run_id}{others} is on the server yet: {self.redact(reason)}.",
                "it is in the journal; try again when the server is back (holdfast journal status)",
                retryable=True,
            )

    @cached_property
    def runs(self) -> TrackingStore:
        """Experiments and runs."""
        return TrackingStore(self.connection)

    @cached_property
    def models(self) -> RegistryStore:
        """Registered models."""
        return RegistryStore(self.connection)

    @cached_property
    def histories(self) -> HistoryStore:
        """The histories of registered models, kept where the registry is."""
        settings = self.settings
        registry_uri = settings.registry_uri or settings.tracking_uri
        if registry_uri == settings.tracking_uri or scheme_of(registry_uri) not in _TRACKING_SCHEMES:
            return HistoryStore(self.connection)
        return HistoryStore(Connection(registry_uri, registry_uri, self.redact))

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Files."""
        return ArtifactStore(access_of(self.settings), self.settings.tracking_uri, login_of(self.settings))

    def claim(self, root_uri: str) -> Claim | None:
        """Have plain MLflow use this project's keys at an S3 address and below it, for as long as the project lives.

        Returns:
            The claim, to be released earlier; None for an address that needs no keys.
        """
        if scheme_of(root_uri) != "s3":
            return None
        claim = Claim(root_uri, self.artifacts.access)
        weakref.finalize(self, claim.release)
        return claim

    def artifact_location(self, experiment: str) -> str | None:
        """Return where a new experiment of this name shall keep its files; None leaves it to the server.

        Each experiment has a folder of its own below the artifact root, so that what it
        stores can be counted, moved and paid for by itself.
        """
        root = self.settings.artifact_root
        return None if root is None else join_uri(root, slug(experiment))

    def experiment(self, name: str | None = None) -> Experiment:
        """Return the experiment of this name (the configured one if not given), created where it is missing.

        Raises:
            InvalidInputError: The name is none.
            BackendError: It is deleted, or the store cannot be reached.
        """
        wanted = check_experiment_name(name if name is not None else self.settings.experiment_name)
        found = self.runs.get_or_create_experiment(wanted, self.artifact_location(wanted))
        self._say_where_files_go(found)
        for root in {self.settings.artifact_root, found.artifact_location} - self._claimed - {None}:
            self._claimed.add(root)
            self.claim(str(root))
        return found

    def _say_where_files_go(self, experiment: Experiment) -> None:
        """Warn where an experiment keeps another root than the configured one: it keeps its first."""
        if self.settings.is_elsewhere(experiment.artifact_location):
            _log.warning(
                "the experiment keeps its files elsewhere than configured",
                experiment=experiment.name,
                files=experiment.artifact_location,
                configured=self.settings.artifact_root,
                hint="set another MLFLOW_EXPERIMENT_NAME for the configured root",
            )


def open_project(settings: Settings | None = None, *, journaled: bool = False, **arguments: Any) -> Project:
    """Return the project of these settings, or of those found from the working directory.

    Args:
        settings: Settings that were loaded before.
        journaled: Whether it is there to log; see `Project`.
        arguments: Settings by name that win over every source; only without `settings`.
    """
    return Project(settings if settings is not None else load_settings(**arguments), journaled)
