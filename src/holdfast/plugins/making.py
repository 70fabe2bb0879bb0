"""Makes a store that can log through the journal out of one of MLflow's, also where its database is missing yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from holdfast.backend.client import quiet_migrations
from holdfast.backend.database import check_opens
from holdfast.backend.errors import translated
from holdfast.core.uris import is_database
from holdfast.errors import HoldfastError
from holdfast.plugins.journaled import JournaledStore

if TYPE_CHECKING:
    from holdfast.delivery.delivery import Delivery

_OPEN_S = 2


def make(build: Callable[..., Any], store_uri: str, delivery: Delivery | None) -> Any:
    """Return MLflow's store as a subclass that logs through the journal once a delivery is attached.

    Args:
        build: MLflow's own builder.
        store_uri: The tracking store.
        delivery: The journal to use; None leaves the store as MLflow's is until one is attached.
    """
    base: Any
    if delivery is None or not is_database(store_uri) or _opens(store_uri, delivery):
        store = build(store_uri=store_uri, artifact_uri=None)
        base = type(store)
        store.__class__ = journaled(base)
    else:
        store = _later(build, store_uri)
    if delivery is not None:
        store.holdfast_attach(delivery)
    return store


@cache
def journaled(base: Any) -> Any:
    """Return the subclass of one of MLflow's stores that logs through the journal."""
    return type(f"Journaled{base.__name__}", (JournaledStore, base), {"__module__": __name__})


def _opens(store_uri: str, delivery: Delivery) -> bool:
    try:
        with translated("open the tracking store", store_uri, delivery.target.redact):
            check_opens(store_uri, _OPEN_S)
    except HoldfastError as error:
        if not error.retryable:
            raise
        delivery.go_offline()
        return False
    return True


def _later(build: Callable[..., Any], store_uri: str) -> Any:
    """Return a store without its database: what is journaled works, and what needs the database opens it first."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    class Later(journaled(SqlAlchemyStore)):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            # Only what the constructor would have set is missing.
            if name.startswith("__") or name in ("_holdfast", "_async_logging_queue"):
                raise AttributeError(name)
            delivery = self._holdfast
            with translated("open the tracking store", store_uri, delivery.target.redact):
                check_opens(store_uri, _OPEN_S)
                with quiet_migrations():
                    made = build(store_uri=store_uri, artifact_uri=None)
            self.__dict__ = made.__dict__ | self.__dict__
            made_class: Any = type(made)
            self.__class__ = journaled(made_class)
            return getattr(self, name)

    return Later.__new__(Later)
