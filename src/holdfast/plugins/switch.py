"""Whether `HOLDFAST_DELIVERY=journal` is in force for a tracking store in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.delivery.delivery import Delivery

_NAME = "HOLDFAST_DELIVERY"
# Set by `mlflow server` for its workers, which load the same plugins and must never journal.
_SERVER = "_MLFLOW_SERVER_FILE_STORE"


def is_server() -> bool:
    """Whether this process is a part of an MLflow server."""
    return bool(os.environ.get(_SERVER))


def is_on() -> bool:
    """Whether the setting says `journal`.

    Raises:
        SettingsError: The setting is there, and the settings cannot be used.
    """
    if is_server() or not _is_set():
        return False
    from holdfast.settings import load_settings

    return load_settings().delivery == "journal"


def delivery_for(store_uri: str) -> Delivery | None:
    """Return the delivery that the settings ask for, or None.

    Args:
        store_uri: The tracking store.

    Raises:
        SettingsError: The settings cannot be read, or the store is not delivered to.
    """
    if is_server():
        return None
    from holdfast.delivery.delivery import delivery_in_use

    found = delivery_in_use(store_uri)
    if found is not None or not _is_set():
        return found
    from holdfast.delivery.delivery import delivery_of
    from holdfast.delivery.target import target_of
    from holdfast.settings import load_settings

    settings = load_settings(tracking_uri=store_uri)
    return delivery_of(target_of(settings), store_uri) if settings.delivery == "journal" else None


def follow_project() -> None:
    """Send plain `mlflow.*` to the stores that stand beside the setting in `.env` or pyproject.toml.

    MLflow reads neither. A script whose journal is asked for there would otherwise log, without a word, to a new
    database in its working directory. What the script or the environment says itself goes first.
    """
    utils: Any = sys.modules.get("mlflow.tracking._tracking_service.utils")
    if utils is None or is_server() or not _is_set() or utils.is_tracking_uri_set():
        return
    from holdfast.errors import HoldfastError
    from holdfast.settings import load_settings

    try:
        settings = load_settings()
    except HoldfastError:
        return  # said when a run begins, not by an import
    if settings.delivery == "journal" and settings.origin_of("tracking_uri").kind in ("dotenv", "pyproject"):
        utils._tracking_uri = settings.tracking_uri
        registry: Any = sys.modules.get("mlflow.tracking._model_registry.utils")
        if registry is not None and settings.registry_uri is not None and registry._registry_uri is None:
            registry._registry_uri = settings.registry_uri


def _is_set() -> bool:
    """Whether a source asks for something else than MLflow's own way; no other setting is looked at."""
    named = os.environ.get(_NAME)
    if named is None and _is_in_files():
        from holdfast.settings import peek

        named = peek("delivery")
    return named is not None and named.strip().lower() != "direct"


def _is_in_files() -> bool:
    # Spares most processes the reading of settings.
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return False
    return any(_mentions(folder) for folder in (here, *here.parents))


def _mentions(folder: Path) -> bool:
    return _holds(folder / ".env", _NAME) or _holds(folder / "pyproject.toml", "delivery")


def _holds(path: Path, word: str) -> bool:
    try:
        return word in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
