"""Libraries for numbers and tables, imported when they are needed, with what installs them where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from holdfast.errors import MissingDependencyError


def load_library(name: str, wanted_for: str) -> Any:
    """Import numpy, pandas or a module of scipy.

    Args:
        name: The module: `numpy`, `scipy.stats`.
        wanted_for: What needs it, for the error: `the drift report`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        library = name.partition(".")[0]
        raise MissingDependencyError(
            f"{library} is needed for {wanted_for}.", "pip install 'holdfast[server]'"
        ) from None
