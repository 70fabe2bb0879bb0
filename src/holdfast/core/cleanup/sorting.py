"""Giving each stored object to what it belongs to: the deepest place of a thing or a need, or else a loose folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from holdfast.core.cleanup.checkpoints import Watched
from holdfast.core.cleanup.places import PlaceMap
from holdfast.core.cleanup.records import Form, StoredObject
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.tally import Tally

_FOLDERS = ("models", "traces")
_FILES = "artifacts"


class Sorted:
    """What is stored, counted by place.

    Experiments own nothing: what lies in an experiment's place and in that of nothing else is loose. An experiment may
    have been given a whole bucket for its place, and its deletion says nothing of what others keep there.

    Attributes:
        owned: What lies at each place that was asked for.
        stale: Unfinished uploads older than the grace period, at each place of a thing that lies below a root.
        loose: What lies below a root and belongs to nothing, by its folder.
        loose_stale: Such uploads among these.
        proven: The roots below which something was found that belongs to something; an unfinished upload is no proof.
    """

    def __init__(
        self,
        owners: PlaceMap[None],
        bases: PlaceMap[str],
        wanted: Collection[str],
        watched: dict[str, list[Watched]],
        rules: CleanupRules,
        now_ms: int,
    ) -> None:
        self._owners, self._bases, self._watched = owners, bases, watched
        self._rules, self._now_ms = rules, now_ms
        self._roots = PlaceMap((root, None) for root in rules.roots)
        self.owned = {place: Tally() for place in wanted}
        self.stale: dict[str, Tally] = {}
        self.loose: dict[str, Tally] = {}
        self.loose_stale: dict[str, Tally] = {}
        self.proven: set[str] = set()
        self._unproven = len(self._roots)

    def sort(self, objects: Iterable[StoredObject]) -> None:
        """Count objects, each once."""
        for stored in objects:
            place = self._owners.deepest(stored.address)
            if place is not None:
                self._add_owned(place, stored)
            elif self._roots.deepest(stored.address) is not None:
                folder = loose_folder(stored.address, self._bases)
                self.loose.setdefault(folder, Tally()).add(stored)
                if self._is_stale(stored):
                    self.loose_stale.setdefault(folder, Tally()).add(stored)

    def _add_owned(self, place: str, stored: StoredObject) -> None:
        if place in self.owned:
            self.owned[place].add(stored)
        for watched in self._watched.get(place, ()):
            watched.add(stored)
        if stored.form is not Form.UPLOAD:
            self._prove(stored.address)
        elif self._is_stale(stored) and self._roots.deepest(place) is not None:
            self.stale.setdefault(place, Tally()).add(stored)

    def _prove(self, address: str) -> None:
        if self._unproven:
            self.proven.update(root for root, _ in self._roots.at_or_above(address))
            self._unproven = len(self._roots) - len(self.proven)

    def _is_stale(self, stored: StoredObject) -> bool:
        # One of which nobody knows when it was begun may be under way.
        known = stored.form is Form.UPLOAD and stored.modified_ms is not None
        return known and not self._rules.is_recent(stored.modified_ms, self._now_ms)


def loose_folder(address: str, bases: PlaceMap[str]) -> str:
    """Return the folder of what belongs to nothing: a thing's in MLflow's layouts, else that directly below a base.

    The layouts are `ID/artifacts`, `models/m-…` and `traces/tr-…`, below the place of an experiment, or one deeper,
    below a root with an experiment that is not known.

    Args:
        address: Of an object, or a folder that this function returned with more bases: the folder is then what it
            would have been with these bases alone.
        bases: Roots and places of experiments; one of them covers the address.
    """
    base = bases.deepest(address) or ""
    if base == address:
        return address
    below = address[len(base) + 1 :].split("/")
    return "/".join([base, *below[: _depth(below)]])


def _depth(below: list[str]) -> int:
    if len(below) > 1 and (below[0] in _FOLDERS or below[1] == _FILES):
        return 2
    if len(below) > 2 and (below[1] in _FOLDERS or below[2] == _FILES):
        return 3
    return 1
