"""What a place holds before anything is copied, and what at the new one is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.bucket.migration.ends import End
from holdfast.bucket.migration.ledger import Progress
from holdfast.errors import ArtifactError


@dataclass
class Look:
    """What a place holds, and what of it is still to be copied.

    Attributes:
        files: How many files lie there.
        size_bytes: Their size.
        copied: How many of them are copied and compared.
        missing_bytes: The size of those that are not at the new place in any form.
        conflicts: Those that are there with another size, and were not stored by the migration. That much can be told
            before anything is read; content of the same size is compared when its turn comes.
    """

    files: int = 0
    size_bytes: int = 0
    copied: int = 0
    missing_bytes: int = 0
    conflicts: list[str] = field(default_factory=list)


def look(source: End, target: End, old: str, known: Progress) -> Look:
    """Return what a place holds.

    Args:
        source: The end that it is at.
        target: The other one.
        old: The place.
        known: What the ledger says of it.

    Raises:
        ArtifactError: One of both cannot be listed.
    """
    found = Look()
    at_target = {entry.path: entry.size_bytes for page in target.walk(known.new) for entry in page}
    own = known.begun | {path for path, done in known.copied.items() if done.is_ours}
    for page in source.walk(old):
        for entry in page:
            found.files += 1
            found.size_bytes += entry.size_bytes
            found.copied += entry.path in known.copied
            there = at_target.get(entry.path)
            found.missing_bytes += entry.size_bytes if there is None else 0
            if there not in (None, entry.size_bytes) and entry.path not in own:
                found.conflicts.append(entry.path)
    return found


def refuse_conflicts(new: str, paths: Sequence[str]) -> None:
    """Raise the error for files that are at the new place with other content, if there are any.

    Raises:
        ArtifactError: There are.
    """
    if paths:
        raise conflict(new, paths)


def conflict(new: str, paths: Sequence[str]) -> ArtifactError:
    """Return the error for files that are at the new place with other content."""
    return ArtifactError(
        f"{named(paths)} at {new} already, with other content. No location was rewritten.",
        "name another --to, move them away, or replace them with --overwrite",
        code="Conflict",
    )


def named(paths: Sequence[str]) -> str:
    """Return the first of some files for an error, how many more there are, and the verb that goes on."""
    shown = ", ".join(repr(path) for path in paths[:3])
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{shown}{more} {'is' if len(paths) == 1 else 'are'}"
