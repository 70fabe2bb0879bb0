"""Listing what belongs to some items of a plan, with as few requests as that takes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from holdfast.artifacts.removal.deletion import is_fatal
from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Failure
from holdfast.artifacts.team import in_parallel
from holdfast.core.cleanup.plan import Item
from holdfast.core.cleanup.records import StoredObject
from holdfast.core.cleanup.stock import Key
from holdfast.errors import ArtifactError, InvalidInputError
from holdfast.maintenance.belongings import Belongings, key_of

_THREADS = 8
# A folder with so many items in it is listed as a whole, unless that takes more pages than its items would requests.
_MANY = 8
_REQUESTS_PER_ITEM = 2


@dataclass
class Seen:
    """What was listed.

    Attributes:
        members: What belongs to each item.
        failed: The items whose places cannot be listed, and why.
    """

    members: dict[Key, dict[StoredObject, None]] = field(default_factory=dict)
    failed: dict[Key, Failure] = field(default_factory=dict)

    def of(self, item: Item) -> list[StoredObject]:
        """Return what belongs to an item."""
        return list(self.members.get(key_of(item), ()))


def look(holdings: Holdings, belongings: Belongings, items: Iterable[Item]) -> Seen:
    """List what belongs to items, as it is now.

    Raises:
        ArtifactError: The store is gone, or the keys are no good: nothing else can be listed either.
        CredentialsError: The keys cannot be had.
    """
    seen = Seen()
    places: dict[str, list[Item]] = {}
    for item in items:
        seen.members[key_of(item)] = {}
        for place in item.places:
            places.setdefault(place, []).append(item)
    by_base: dict[str, list[str]] = {}
    for place in places:
        by_base.setdefault(belongings.base_of(place), []).append(place)
    lister = _Lister(holdings, belongings, seen)
    alone: list[str] = []
    for base, inside in by_base.items():
        if not (base.startswith("s3://") and len(inside) >= _MANY and lister.list_base(base, len(inside))):
            alone += inside
    if alone:
        tasks = [partial(lister.list_place, place, places[place]) for place in alone]
        in_parallel(tasks, min(_THREADS, len(tasks)), threading.Event())
    return seen


class _Lister:
    def __init__(self, holdings: Holdings, belongings: Belongings, seen: Seen) -> None:
        self._holdings, self._belongings, self._seen = holdings, belongings, seen
        self._lock = threading.Lock()

    def list_base(self, base: str, items: int) -> bool:
        """List a folder with many items in it; False where it holds too much else, or must not be listed."""
        pages: list[list[StoredObject]] = []
        try:
            for page in self._holdings.list_place(base, whole_store=True):
                pages.append(page)
                if len(pages) > items * _REQUESTS_PER_ITEM:
                    return False
        except ArtifactError as error:
            if is_fatal(error):
                raise
            return False
        for page in pages:
            self._take(page)
        return True

    def list_place(self, place: str, items: Sequence[Item]) -> None:
        found: list[list[StoredObject]] = []
        try:
            found += self._holdings.list_place(place)
        except (ArtifactError, InvalidInputError) as error:
            if isinstance(error, ArtifactError) and is_fatal(error):
                raise
            for item in items:
                self._seen.failed[key_of(item)] = failure_at(place, error)
            return
        for page in found:
            self._take(page)

    def _take(self, page: Iterable[StoredObject]) -> None:
        given: list[tuple[Key, StoredObject]] = []
        for stored in page:
            key = self._belongings.owner(stored)
            if key is not None and key in self._seen.members:
                given.append((key, stored))
        with self._lock:
            for key, stored in given:
                self._seen.members[key][stored] = None


def failure_at(place: str, error: ArtifactError | InvalidInputError) -> Failure:
    """Return that something cannot be done at a place."""
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    code = error.code if isinstance(error, ArtifactError) else ""
    return Failure(place, "", code, message, error.retryable)
