"""How the boundary reaches MLflow: one client for one pair of stores, made when first needed."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from holdfast.backend.database import check_opens
from holdfast.backend.errors import reach_hint, translated
from holdfast.backend.first_opening import opened_alone
from holdfast.backend.reach import check_listening
from holdfast.core.redaction import Redactor
from holdfast.core.uris import is_database, mask_uri, scheme_of, sqlite_path
from holdfast.errors import PermissionDeniedError, SettingsError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Connection:
    """The stores that a project uses, and MLflow's client for them.

    Args:
        tracking_uri: A normalised tracking URI.
        registry_uri: The registry's, where it is another one.
        redact: Hides the project's secrets in errors.
        delivery: What the tracking store shall log through (a `holdfast.delivery.delivery.Delivery`), or None.

    Making one does nothing; MLflow is imported and the store opened at the first call.
    """

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str | None = None,
        redact: Redactor | None = None,
        delivery: object | None = None,
    ) -> None:
        self._delivery = delivery
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri or tracking_uri
        self.redact = redact or Redactor()
        self._has_registry = False

    def __repr__(self) -> str:
        return f"Connection({mask_uri(self.tracking_uri)!r}, {mask_uri(self.registry_uri)!r})"

    def tracking(self, doing: str) -> AbstractContextManager[None]:
        """Translate the errors of a call to the tracking store; `doing` names the call for people."""
        return translated(doing, self.tracking_uri, self.redact)

    @contextmanager
    def registry(self, doing: str) -> Iterator[None]:
        """Translate the errors of a call to the registry, which is opened first."""
        with translated(doing, self.registry_uri, self.redact):
            if is_database(self.registry_uri):
                self._open_registry()
            yield

    def _open_registry(self) -> None:
        # MLflow opens it at its first use, and keeps it.
        if not self._has_registry:
            client = self.client
            _make_sqlite_folder(self.registry_uri)
            with quiet_migrations(), opened_alone(self.registry_uri):
                client._get_registry_client()
            self._has_registry = True

    @cached_property
    def client(self) -> Any:
        """MLflow's client of both stores.

        Raises:
            HoldfastError: MLflow lacks what a database store needs, or the store cannot be opened.
        """
        if self._delivery is not None:
            return self._journaled_client()
        for uri in dict.fromkeys((self.tracking_uri, self.registry_uri)):
            self._check_reachable(uri)
        with self.tracking("open the tracking store"), quiet_migrations(), opened_alone(self.tracking_uri):
            client = self._make()
            if is_database(self.tracking_uri):
                # The first use creates or checks the schema; doing it here keeps the noise here.
                client.search_experiments(max_results=1)
            return client

    def _make(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.registry_uri)

    def _journaled_client(self) -> Any:
        """Return a client whose store logs through the journal; the server need not be there."""
        _make_sqlite_folder(self.tracking_uri)
        with self.tracking("open the tracking store"), quiet_migrations():
            client = self._make()
            store = client._tracking_client.store
        attach = getattr(store, "holdfast_attach", None)
        if attach is None:
            raise SettingsError(
                f"The store of {mask_uri(self.tracking_uri)} is {type(store).__module__}.{type(store).__name__}, "
                "which does not log through the journal.",
                "install holdfast with pip, so that MLflow finds its plugins; see whether another package overrides "
                "this store; or set HOLDFAST_DELIVERY=direct",
            )
        if store.holdfast_delivery is not self._delivery:
            attach(self._delivery)
        return client

    def _check_reachable(self, uri: str) -> None:
        """Find out in seconds what MLflow would retry for minutes, with thirty lines on the screen."""
        with translated(
            "open the tracking store" if uri == self.tracking_uri else "open the registry", uri, self.redact
        ):
            check_listening(uri, reach_hint(uri))
            _make_sqlite_folder(uri)
            if is_database(uri) and not _has_tls_of_mlflows_own(uri):
                check_opens(uri)


def _has_tls_of_mlflows_own(uri: str) -> bool:
    # MLflow gives these to MySQL's driver itself, so only MLflow can tell whether it can connect.
    return scheme_of(uri) == "mysql" and any(name.startswith("MLFLOW_MYSQL_SSL_") for name in os.environ)


def _make_sqlite_folder(uri: str) -> None:
    path = sqlite_path(uri)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionDeniedError(
            f"The folder of the database {path} cannot be made: {error.strerror}.",
            f"make it writable for this user, or name another file in MLFLOW_TRACKING_URI (`ls -ld '{path.parent}'`)",
        ) from None


@contextmanager
def quiet_migrations() -> Iterator[None]:
    """Keep the fifty lines that the first use of a database logs away from the user's screen."""
    loggers = [logging.getLogger(name) for name in ("alembic", "alembic.runtime.migration", "mlflow.store.db.utils")]
    before = [(logger, logger.level, logger.disabled) for logger in loggers]

    def no_info(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    # A filter stays in force when alembic's own configuration resets the levels.
    for logger in loggers:
        logger.addFilter(no_info)
    try:
        yield
    finally:
        for logger, level, disabled in before:
            logger.removeFilter(no_info)
            logger.setLevel(level)
            logger.disabled = disabled


@contextmanager
def stages_are_deprecated() -> Iterator[None]:
    """Silence MLflow's FutureWarning about stages: keeping stage and alias in step is the answer to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"mlflow\..*")
        warnings.filterwarnings("ignore", message=r".*[Mm]odel registry stages.*", category=FutureWarning)
        yield
