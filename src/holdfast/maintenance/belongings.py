"""What of all that is stored belongs to which item of a plan, and which items are done together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from holdfast.core.cleanup.needs import find_guards
from holdfast.core.cleanup.places import PlaceMap
from holdfast.core.cleanup.plan import Action, Item, Kind, Plan
from holdfast.core.cleanup.records import Form, State, StoredObject
from holdfast.core.cleanup.stock import Key, Stock


def key_of(item: Item) -> Key:
    """Return which thing, or which place, an item is."""
    return Key(item.kind, item.id)


class Belongings:
    """Gives stored objects to items: each to the deepest place that covers it, as the plan has counted them.

    Args:
        state: The store as it is now: what other things have below an item's place is theirs.
        plan: The plan as it would be now: what it takes, and when it was made.
        more: Further items, of an older plan.
    """

    def __init__(self, state: State, plan: Plan, more: Iterable[Item] = ()) -> None:
        self.stock = Stock(state)
        self._plan = plan
        guards = find_guards(self.stock)
        self._owners = PlaceMap((place, None) for place in (*self.stock.places, *guards.places))
        self._items: PlaceMap[Item] = PlaceMap()
        known = {key_of(item): item for item in (*more, *plan.items)}
        # What things share is counted with one of them.
        for item in sorted(known.values(), key=lambda item: not item.holding.count):
            if item.places and item.action is not Action.EXPIRE:
                self._items.add(item.places[0], item)

    def owner(self, stored: StoredObject) -> Key | None:
        """Return the item that something belongs to; None where it is none's."""
        lies_in = self._owners.deepest(stored.address)
        for place, item in self._items.at_or_above(stored.address):
            if self._owners.deepest(place) == lies_in and self._takes(item, stored):
                return key_of(item)
        return None

    def _takes(self, item: Item, stored: StoredObject) -> bool:
        if item.kind is Kind.UPLOAD:
            known = stored.form is Form.UPLOAD and stored.modified_ms is not None
            return known and not self._plan.rules.is_recent(stored.modified_ms, self._plan.made_ms)
        return item.kind is not Kind.CHECKPOINT or stored.form is not Form.UPLOAD

    def is_free(self, place: str) -> bool:
        """Whether nothing that is known lies at a place, above or below it."""
        return not any(True for _ in self._owners.around(place))

    @cached_property
    def _bases(self) -> PlaceMap[None]:
        places = [experiment.place for experiment in self.stock.experiments.values()]
        return PlaceMap((place, None) for place in (*places, *self._plan.rules.roots) if place)

    def base_of(self, place: str) -> str:
        """Return the deepest experiment's place, or artifact root, that a place lies in; the folder above if none."""
        above = place.rpartition("/")[0]
        return self._bases.deepest(above) or above


@dataclass(frozen=True)
class Bundle:
    """Items that are done together: those of one group, and of others that share its places.

    Attributes:
        items: In the order of the plan; rows go when what is stored of all of them is gone.
    """

    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """How much is to be done, roughly."""
        return len(self.items) + sum(item.holding.count for item in self.items)


def bundles_of(items: Iterable[Item]) -> list[Bundle]:
    """Return the items of a plan in bundles, in its order."""
    found = list(items)
    joined = _Joined()
    first_at: dict[str, str] = {}
    for item in found:
        group = item.group or f"{item.kind}/{item.id}"
        shares = item.kind in (Kind.RUN, Kind.MODEL, Kind.TRACE)
        for place in item.places if shares else ():
            joined.join(first_at.setdefault(place, group), group)
    by_group: dict[str, list[Item]] = {}
    for item in found:
        by_group.setdefault(joined.head(item.group or f"{item.kind}/{item.id}"), []).append(item)
    return [Bundle(tuple(members)) for members in by_group.values()]


class _Joined:
    """Which groups are one because they share something."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def head(self, group: str) -> str:
        while group in self._above:
            group = self._above[group]
        return group

    def join(self, one: str, other: str) -> None:
        first, second = self.head(one), self.head(other)
        if first != second:
            self._above[second] = first


def chunks_of(bundles: Iterable[Bundle], limit: int) -> Iterable[list[Bundle]]:
    """Cut bundles into lists of about as much work each."""
    chunk: list[Bundle] = []
    size = 0
    for bundle in bundles:
        if chunk and size + bundle.size > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(bundle)
        size += bundle.size
    if chunk:
        yield chunk
