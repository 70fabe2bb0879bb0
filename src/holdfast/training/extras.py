"""What of the training room needs which optional libraries, and how to get them."""

from __future__ import annotations

from importlib.util import find_spec

from holdfast.errors import MissingDependencyError


def need(libraries: tuple[str, ...], wanted_for: str, extra: str) -> None:
    """Make sure that libraries are installed; nothing is imported.

    Args:
        libraries: Their modules: `torch`, `lightning`.
        wanted_for: What needs them, for the error: `the training pipeline`.
        extra: The extra of Holdfast that brings them: `lightning`.

    Raises:
        MissingDependencyError: One is missing; all that are missing are named.
    """
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} needed for {wanted_for}.",
            f"pip install 'holdfast[{extra}]'",
        )
