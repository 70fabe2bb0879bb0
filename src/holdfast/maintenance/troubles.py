"""What a survey could not look at."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class Trouble:
    """Something that could not be looked at; nothing of it is in the plan.

    Attributes:
        place: Where, or what.
        code: The store's word for it (`AccessDenied`); may be empty.
        message: For people.
        hint: What mends it; may be empty.
        retryable: Whether the same may work later.
    """

    place: str
    code: str
    message: str
    hint: str = ""
    retryable: bool = False


def trouble_of(place: str, error: HoldfastError) -> Trouble:
    """Return that something could not be looked at, for an error."""
    return Trouble(place, getattr(error, "code", ""), error.message, error.hint, error.retryable)
