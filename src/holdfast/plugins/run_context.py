"""Makes sure that a run is begun through the journal where the settings say so.

MLflow replaces a plugin that fails to load by its own store with a warning, and another plugin may take the place
of ours. Durability would be gone without a word; here it is an error when a run begins.
"""

from __future__ import annotations


class DeliveryNotInForce(BaseException):
    """HOLDFAST_DELIVERY=journal is set, and the store in use does not log through the journal.

    No `Exception`, because MLflow turns those of a run context provider into a warning, and goes on.
    """


class JournalRunContext:
    """Adds no tags; MLflow makes one when it is imported, and asks every provider when a run begins."""

    def __init__(self) -> None:
        from holdfast.plugins.switch import follow_project

        follow_project()

    def in_context(self) -> bool:
        """Return False.

        Raises:
            DeliveryNotInForce: The journal is asked for and not in use.
        """
        from holdfast.plugins.switch import is_on

        try:
            wanted = is_on()
        except Exception as error:
            raise DeliveryNotInForce(f"HOLDFAST_DELIVERY is set, and the settings cannot be read: {error}") from None
        if wanted:
            _check()
        return False

    def tags(self) -> dict[str, str]:
        """Return no tags."""
        return {}


def _check() -> None:
    import mlflow
    from mlflow.tracking._tracking_service.utils import _get_store

    from holdfast.core.uris import mask_uri
    from holdfast.plugins.switch import delivery_for

    store = _get_store()
    if hasattr(store, "holdfast_attach") and store.holdfast_delivery is None:
        # Made before the setting was there.
        store.holdfast_attach(delivery_for(mlflow.get_tracking_uri()))
    if getattr(store, "holdfast_delivery", None) is None:
        raise DeliveryNotInForce(
            f"HOLDFAST_DELIVERY=journal is set, but {mask_uri(mlflow.get_tracking_uri())} is served by "
            f"{type(store).__module__}.{type(store).__name__}, which does not log through the journal. "
            "Use an http(s) server, SQLite or PostgreSQL; see whether another package overrides this store "
            "(`pip list`, entry points `mlflow.tracking_store`), or set HOLDFAST_DELIVERY=direct."
        )
