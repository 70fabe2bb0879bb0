"""Taking away what is stored of some items, and looking whether it is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.artifacts.removal.holdings import Holdings
from holdfast.artifacts.removal.outcomes import Failure, Removal
from holdfast.core.cleanup.plan import Action, Item, Kind
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.core.cleanup.stock import Key
from holdfast.errors import ArtifactError, HoldfastError, InvalidInputError
from holdfast.maintenance.belongings import Belongings, key_of
from holdfast.maintenance.fingerprints import fingerprint
from holdfast.maintenance.looking import Seen, look
from holdfast.maintenance.places import is_local

_NOTED_AT_ONCE = 1000


class StopAskedError(Exception):
    """Somebody set `stop`; nobody is shown it."""


@dataclass
class Taken:
    """What came of some items.

    Attributes:
        failures: What was refused, by item.
        error: Why no more can be tried.
    """

    failures: dict[Key, list[Failure]] = field(default_factory=dict)
    error: HoldfastError | None = None


class Remover:
    """Removes and hides what is stored.

    Args:
        holdings: Where it is stored.
        on_deleted: Is told of what is gone, batch by batch, before the next.
        on_hidden: Is told of the markers, in the same way.
        stop: Ends it soon.
    """

    def __init__(
        self,
        holdings: Holdings,
        on_deleted: Callable[[Sequence[StoredObject]], None],
        on_hidden: Callable[[Sequence[StoredObject]], None],
        stop: threading.Event,
    ) -> None:
        self._holdings, self._stop = holdings, stop
        self._on_deleted, self._on_hidden = on_deleted, on_hidden

    def take(self, items: Sequence[Item], seen: Seen) -> Taken:
        """Remove or hide what was listed of items.

        Raises:
            StopAskedError: Not all of it was tried, because `stop` was set.
            ArtifactError: The ledger cannot be written.
        """
        taken = Taken()
        purged = [item for item in items if item.action is Action.PURGE]
        # Removing files needs to know below what, link or not.
        self._remove_files([item for item in purged if _is_on_disk(item)], seen, taken)
        others = {one: key_of(item) for item in purged if not _is_on_disk(item) for one in seen.of(item)}
        if others and taken.error is None:
            self._settle(self._holdings.remove(others, on_batch=self._deleted, stop=self._stop), others, taken)
        hidden = [item for item in items if item.action is Action.TRASH]
        current = {one: key_of(item) for item in hidden for one in seen.of(item) if one.form is Form.OBJECT}
        if current and taken.error is None:
            self._trash(current, taken)
        if self._stop.is_set() and taken.error is None:
            raise StopAskedError
        return taken

    def _deleted(self, batch: Removal) -> None:
        if batch.removed:
            self._on_deleted(batch.removed)

    def _trash(self, current: dict[StoredObject, Key], taken: Taken) -> None:
        def hidden(batch: Removal) -> None:
            if batch.removed:
                self._on_hidden(batch.removed)

        done = self._holdings.trash(current, on_batch=hidden, stop=self._stop)
        self._settle(Removal((), done.failed, done.untried, done.error), current, taken)

    def _settle(self, done: Removal, owners: dict[StoredObject, Key], taken: Taken) -> None:
        taken.error = taken.error or done.error
        by_name = {(one.address, one.version_id): key for one, key in owners.items()}
        for failure in done.failed:
            taken.failures.setdefault(by_name[failure.address, failure.version_id], []).append(failure)

    def _remove_files(self, items: Sequence[Item], seen: Seen, taken: Taken) -> None:
        gone: list[StoredObject] = []
        try:
            for item in items:
                found = {one: key_of(item) for one in seen.of(item)}
                if self._stop.is_set():
                    return
                done = self._remove_below(item, found) if found else Removal()
                gone += done.removed
                self._settle(done, found, taken)
                if len(gone) >= _NOTED_AT_ONCE:
                    noted, gone = gone, []
                    self._on_deleted(noted)
        finally:
            if gone:
                self._on_deleted(gone)

    def _remove_below(self, item: Item, found: Iterable[StoredObject]) -> Removal:
        place, objects = item.places[0], list(found)
        is_file = any(one.address == place for one in objects)
        root = os.path.dirname(place) if is_file else place
        try:
            return self._holdings.remove(objects, root=root, stop=self._stop)
        except InvalidInputError as error:
            return Removal(failed=tuple(Failure(one.address, one.version_id, "", error.message) for one in objects))

    def look_again(self, belongings: Belongings, items: Sequence[Item], before: Seen) -> dict[Key, list[Failure]]:
        """Return what is still there of items that were taken, or came meanwhile; nothing of those that are gone.

        Raises:
            ArtifactError: The store is gone, or the keys are no good.
        """
        seen = look(self._holdings, belongings, items)
        found = {key: [failure] for key, failure in seen.failed.items()}
        for item in items:
            left = [one for one in seen.of(item) if item.action is Action.PURGE or one.form is Form.OBJECT]
            if left:
                known = {fingerprint(one) for one in before.of(item)}
                found.setdefault(key_of(item), []).extend(_left(one, fingerprint(one) in known) for one in left)
        return found

    def prune(self, item: Item, belongings: Belongings) -> None:
        """Remove the empty folders that an item has left."""
        for place in item.places if item.kind is not Kind.UPLOAD else ():
            within = os.path.dirname(place) if item.kind is Kind.CHECKPOINT else belongings.base_of(place)
            self.prune_place(place, within)

    def prune_place(self, place: str, within: str) -> None:
        """Remove a folder, if nothing is in it, and those above it that are empty then."""
        if place.startswith("s3://") or not within.strip("/"):
            return
        # What stays is empty: it takes no room, and hides nothing.
        with suppress(ArtifactError, InvalidInputError, OSError):
            self._holdings.prune(place, within)


def _is_on_disk(item: Item) -> bool:
    return any(is_local(place) for place in item.places)


def _left(stored: StoredObject, was_there: bool) -> Failure:
    if was_there:
        message = f"The {stored.form.value} of {stored.address} is still there after the store said that it was deleted"
        return Failure(stored.address, stored.version_id, "StillThere", message, True)
    message = f"{stored.address} was written while the rest was deleted; it is left, with what names it"
    return Failure(stored.address, stored.version_id, "WrittenMeanwhile", message)
