"""How the boundary reaches MLflow: one client for one pair of stores, made when first needed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from holdfast.backend.errors import reach_hint, translated
from holdfast.backend.reach import check_listening
from holdfast.core.redaction import Redactor
from holdfast.core.uris import is_database, mask_uri, sqlite_path

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Connection:
    """The stores that a project uses, and MLflow's client for them.

    Args:
        tracking_uri: A normalised tracking URI.
        registry_uri: The registry's, where it is another one.
        redact: Hides the project's secrets in errors.

    Making one does nothing; MLflow is imported and the store opened at the first call.
    """

    def __init__(self, tracking_uri: str, registry_uri: str | None = None, redact: Redactor | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri or tracking_uri
        self.redact = redact or Redactor()

    def __repr__(self) -> str:
        return f"Connection({mask_uri(self.tracking_uri)!r}, {mask_uri(self.registry_uri)!r})"

    def tracking(self, doing: str) -> AbstractContextManager[None]:
        """Translate the errors of a call to the tracking store; `doing` names the call for people."""
        return translated(doing, self.tracking_uri, self.redact)

    def registry(self, doing: str) -> AbstractContextManager[None]:
        """Translate the errors of a call to the registry."""
        return translated(doing, self.registry_uri, self.redact)

    @cached_property
    def client(self) -> Any:
        """MLflow's client of both stores.

        Raises:
            HoldfastError: MLflow lacks what a database store needs, or the store cannot be opened.
        """
        with self.tracking("open the tracking store"), quiet_migrations():
            for uri in {self.tracking_uri, self.registry_uri}:
                check_listening(uri, reach_hint(uri))
                _make_sqlite_folder(uri)
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.registry_uri)
            if is_database(self.tracking_uri):
                # The first use creates or checks the schema; doing it here keeps the noise here.
                client.search_experiments(max_results=1)
            return client


def _make_sqlite_folder(uri: str) -> None:
    path = sqlite_path(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)


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
