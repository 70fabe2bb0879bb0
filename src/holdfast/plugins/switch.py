"""Whether `HOLDFAST_DELIVERY=journal` is in force for a tracking store in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

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
        SettingsError: The settings cannot be read; only where one of them may be this one.
    """
    if is_server() or not _may_be_set():
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
    if found is not None or not _may_be_set():
        return found
    from holdfast.delivery.delivery import delivery_of
    from holdfast.delivery.target import target_of
    from holdfast.settings import load_settings

    settings = load_settings(tracking_uri=store_uri)
    return delivery_of(target_of(settings), store_uri) if settings.delivery == "journal" else None


def _may_be_set() -> bool:
    """Whether a source of settings names the setting: without reading them all, as most processes have none."""
    return _NAME in os.environ or any(_mentions(folder) for folder in (Path.cwd(), *Path.cwd().parents))


def _mentions(folder: Path) -> bool:
    return _holds(folder / ".env", _NAME) or _holds(folder / "pyproject.toml", "delivery")


def _holds(path: Path, word: str) -> bool:
    try:
        return word in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
