"""One thing that an audit finds wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        place: `history` (the events in the registry), `copies` (those in the artifact store), `index`, `registry`
            (stages, aliases, tags, versions) or `files`.
        message: What is wrong, and with what.
        remedy: What mends it.
    """

    place: str
    message: str
    remedy: str
