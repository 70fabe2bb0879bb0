"""Parcels that need not be sent any more: a later one stores, or deletes, every path of theirs.

In a long outage a journal would fill with the checkpoints that a training has long replaced. A parcel that supersedes
takes the removals of those it replaces upon itself, so that it alone brings the store to where all of them would have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from holdfast.journal.parcel import Entry, Parcel


def inherited(earlier: Sequence[Parcel], about: Entry, paths: Collection[str]) -> list[str]:
    """Return what a new parcel is to delete in place of earlier ones, which need not be sent then.

    A removal stays where it is if a parcel after it stores the same path again: it must not come after that one.

    Args:
        earlier: The parcels that were handed over before, the oldest first.
        about: The new parcel's run and root.
        paths: All paths that the new parcel stores or deletes by itself.
    """
    covered = set(paths)
    stored_since: set[str] = set()
    found: list[str] = []
    for parcel in reversed(earlier):
        if parcel.entry is None or parcel.entry.place != about.place:
            continue
        left = parcel.left
        files = {file.path for file in left.files}
        more = [path for path in left.removes if path not in covered]
        if files <= covered and stored_since.isdisjoint(more) and not parcel.is_refused:
            found += [path for path in more if path not in found]
        else:
            stored_since |= files
    return found


class _Cover(NamedTuple):
    """A parcel that supersedes: where it stands among all, and what it stores or deletes."""

    at: int
    parcel: Parcel
    place: str
    paths: frozenset[str]


def drop_superseded(
    parcels: Sequence[Parcel], is_on_disk: Callable[[Parcel], bool], passed_over: Collection[str] = ()
) -> int:
    """Delete the parcels that a later one supersedes which is whole, and on the disk; return how many.

    One that is being uploaded or copied, or that was set aside, stays; so does everything where the later one is
    broken or set aside, or seems to be refused by the store.

    Args:
        parcels: All parcels, the oldest first.
        is_on_disk: Sees to it that one outlives a power cut, as what it replaces does; False where it cannot.
        passed_over: The ids of those that supersede nothing yet.
    """
    covers = [
        _Cover(at, parcel, parcel.entry.place, parcel.left.paths)
        for at, parcel in enumerate(parcels)
        if parcel.entry is not None and parcel.entry.supersedes and parcel.id not in passed_over
    ]
    if not covers:
        return 0
    return sum(_is_dropped(at, parcel, covers, is_on_disk) for at, parcel in enumerate(parcels[: covers[-1].at]))


def _is_dropped(at: int, parcel: Parcel, covers: Sequence[_Cover], is_on_disk: Callable[[Parcel], bool]) -> bool:
    entry, paths = parcel.entry, parcel.left.paths
    if entry is None:
        return False
    later = (cover for cover in reversed(covers) if cover.at > at and cover.place == entry.place)
    found = next((cover.parcel for cover in later if paths <= cover.paths), None)
    try:
        return found is not None and _is_fit(found) and is_on_disk(found) and found.is_there and _drop(parcel)
    except OSError:  # gone meanwhile, or the disk is in trouble: then it stays
        return False


def _is_fit(parcel: Parcel) -> bool:
    """Whether nothing is known to keep a parcel from being sent but the store's being away."""
    trouble = parcel.trouble
    is_doubtful = trouble is not None and (trouble.is_refused or trouble.doubts > 0)
    return not is_doubtful and parcel.is_there and not parcel.broken()


def _drop(parcel: Parcel) -> bool:
    with parcel.lock() as lock:
        if not lock.acquire() or not parcel.is_there or parcel.is_refused or parcel.is_being_copied:
            return False
        parcel.remove()
        return True
