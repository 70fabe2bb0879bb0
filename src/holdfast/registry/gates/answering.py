"""From what a gate found to its answer: short, without secrets, and a "no" where nothing can be found out."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.core.promotion import CheckAnswer
from holdfast.errors import ArtifactError, InvalidInputError, NotFoundError
from holdfast.registry.gates.case import Case
from holdfast.registry.hiding import hide

# What a history keeps of a reason.
MAX_REASON = 600


class NotPassedError(Exception):
    """A gate's "no"; the text is its reason."""


def answered(name: str, case: Case, look: Callable[[], str]) -> CheckAnswer:
    """Return a gate's answer.

    Args:
        name: The gate's.
        case: Whose project's secrets are hidden.
        look: Returns what was found where the version passes, and raises `NotPassedError` where it does not. Files
            that are not there count as that too.

    Raises:
        HoldfastError: A server or a store cannot be reached; nothing can be said.
    """
    try:
        passed, reason = True, look()
    except NotPassedError as why:
        passed, reason = False, str(why)
    except (ArtifactError, NotFoundError, InvalidInputError) as error:
        if error.retryable:
            raise
        passed, reason = False, error.message
    return CheckAnswer(name, passed, in_short(hide(case.project, reason)))


def in_short(text: str, limit: int = MAX_REASON) -> str:
    """Return a text in one line, its middle left out where it is long: errors say what matters at either end."""
    line = " ".join(text.split())
    half = (limit - 3) // 2
    return line if len(line) <= limit else f"{line[:half]} … {line[-half:]}"
