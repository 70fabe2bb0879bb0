"""Overrides MLflow's tracking stores by name, each with a subclass that can log through the journal.

Nothing is imported here that could fail: MLflow answers an ImportError with a warning and its own store. What is
missing shows when a store is made, as an error.
"""

from __future__ import annotations

from typing import Any


def rest_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return the store of an http(s) server."""
    from mlflow.tracking._tracking_service import utils

    return _made(utils._get_rest_store, store_uri, artifact_uri)


def database_store(store_uri: str, artifact_uri: str | None = None) -> Any:
    """Return the store of a database."""
    from mlflow.tracking._tracking_service import utils

    def build(store_uri: str, artifact_uri: str | None) -> Any:
        from holdfast.backend.first_opening import opened_alone

        with opened_alone(store_uri):
            return utils._get_sqlalchemy_store(store_uri, artifact_uri)

    return _made(build, store_uri, artifact_uri)


def _made(build: Any, store_uri: str, artifact_uri: str | None) -> Any:
    from holdfast.plugins.switch import delivery_for, is_server

    # A server says where its artifacts go; a client never does.
    if artifact_uri is not None or is_server():
        return build(store_uri=store_uri, artifact_uri=artifact_uri)
    from holdfast.plugins.making import make

    return make(build, store_uri, delivery_for(store_uri))
