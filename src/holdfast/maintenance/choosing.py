"""Which items of a plan may still be done, by what the store is now; all else is told why not.

An item is taken if the same rules would take it again and the same is stored there, or if an earlier apply of this very
plan had begun it, and nothing has come since: what is there now is looked at just before it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from holdfast.core.cleanup.needs import version_said
from holdfast.core.cleanup.places import overlap
from holdfast.core.cleanup.plan import Action, Holding, Item, Kept, Kind, Plan
from holdfast.core.cleanup.records import State, StoredObject, VersionRecord
from holdfast.core.cleanup.stock import Key
from holdfast.maintenance.belongings import Belongings, Bundle, key_of
from holdfast.maintenance.fingerprints import fingerprint, holding_of, is_same

_RESTORED = "restored in the meantime"
_NOT_GARBAGE = "it is no garbage any more by the rules of the plan"
_GONE = "there is nothing of it any more"
_THINGS = (Kind.RUN, Kind.MODEL, Kind.TRACE)


@dataclass(frozen=True)
class Present:
    """The store as an apply finds it.

    Attributes:
        state: What MLflow knows.
        plan: The plan as it would be now.
        belongings: What belongs to which item.
        begun: What an earlier apply of the same plan found at the items that it began, by the marks of each object.
        planned: The items of the plan that is applied.
    """

    state: State
    plan: Plan
    belongings: Belongings
    begun: Mapping[Key, Set[str]] = field(default_factory=dict)
    planned: Set[Key] = frozenset()

    @property
    def items(self) -> dict[Key, Item]:
        """The items of the plan as it would be now."""
        return {key_of(item): item for item in self.plan.items}

    @property
    def kept(self) -> dict[Key, Kept]:
        """What would stay now."""
        return {Key(one.kind, one.id): one for one in self.plan.kept}


class Choice:
    """Compares a plan with the present.

    Args:
        present: The present.
    """

    def __init__(self, present: Present) -> None:
        self._present = present
        self._new, self._kept = present.items, present.kept
        self._groups: dict[str, set[Key]] = {}
        for item in present.plan.items:
            self._groups.setdefault(item.group, set()).add(key_of(item))
        self._runs = {run.run_id: run for run in present.state.runs}

    def obstacles(self, bundle: Bundle) -> dict[Key, str]:
        """Return which items of a bundle stay and why; where one does, all do."""
        found: dict[Key, str] = {}
        for item in bundle.items:
            if why := self._obstacle(item):
                found[key_of(item)] = why
        # An experiment is done after the traces of its group, and they are not done with it.
        now = set().union(*(self._groups.get(item.group, set()) for item in bundle.items))
        for key in sorted(now - self._present.planned):
            found.setdefault(key, f"{key.kind} {key.id} came to it since")
        return found

    def _obstacle(self, item: Item) -> str:
        key, new = key_of(item), self._new.get(key_of(item))
        if new is not None and new.action is item.action:
            is_begun = key in self._present.begun
            return "" if is_begun or is_same(new.holding, item.holding) else changes(item.holding, new.holding)
        if key in self._present.begun:
            return self._obstacle_to_the_rest(item)
        return self._why_gone(item)

    def _obstacle_to_the_rest(self, item: Item) -> str:
        """Return what stands in the way of an item that was begun, and that a new plan would not have."""
        if self._is_settled(item):
            return ""
        is_loose = item.kind is Kind.ORPHAN and key_of(item) not in self._kept
        if is_loose and self._present.belongings.is_free(item.id):
            return ""
        return self._why_gone(item)

    def _is_settled(self, item: Item) -> bool:
        """Whether no more than what is stored may be left of an item: its rows are gone, or are to stay."""
        if item.kind not in _THINGS and item.kind is not Kind.EXPERIMENT:
            return key_of(item) not in self._kept and item.kind is not Kind.ORPHAN
        if not self._is_known(item):
            return True
        stays = item.action is not Action.PURGE or not self._present.state.has_rows
        return stays and key_of(item) not in self._kept and not self._is_live(item)

    def _is_known(self, item: Item) -> bool:
        stock = self._present.belongings.stock
        return item.id in stock.experiments if item.kind is Kind.EXPERIMENT else key_of(item) in stock.things

    def _is_live(self, item: Item) -> bool:
        stock = self._present.belongings.stock
        if item.kind is Kind.EXPERIMENT:
            return not stock.experiments[item.id].is_deleted
        run = self._runs.get(stock.things[key_of(item)].run_id)
        return run is not None and not run.is_deleted

    def _why_gone(self, item: Item) -> str:
        kept = self._kept.get(key_of(item))
        if kept is not None:
            return kept.why
        if item.kind not in _THINGS and item.kind is not Kind.EXPERIMENT:
            return _NOT_GARBAGE if item.kind is not Kind.UPLOAD else _GONE
        if not self._is_known(item):
            return _GONE
        was_active = item.action is Action.EXPIRE
        return _RESTORED if self._is_live(item) and not was_active else _NOT_GARBAGE

    def is_unchanged(self, item: Item, found: Iterable[StoredObject]) -> str:
        """Return why what lies at an item now is not what the plan has seen; an empty text where it is, or less."""
        there = list(found)
        now = holding_of(there)
        if is_same(now, item.holding):
            return ""
        known = self._present.begun.get(key_of(item))
        if known is None:
            return changes(item.holding, now)
        fresh = [one for one in there if fingerprint(one) not in known and not _is_ours(one, item)]
        return f"{_counted(len(fresh))} added since" if fresh else ""


def _is_ours(stored: StoredObject, item: Item) -> bool:
    """Whether it may be a marker that an earlier apply has made."""
    return item.action is Action.TRASH and not stored.size_bytes and stored.form.value == "delete marker"


def changes(planned: Holding, now: Holding) -> str:
    """Return how what is stored differs from what a plan has seen, for people."""
    more = now.count - planned.count
    if more > 0:
        return f"{_counted(more)} added since"
    if more < 0:
        return f"{_count(-more)} fewer than then"
    return "what is stored there has changed since"


def _counted(count: int) -> str:
    return f"{_count(count)} {'was' if count == 1 else 'were'}"


def _count(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def registered_since(bundle: Bundle, fresh: Iterable[VersionRecord], state: State) -> str:
    """Return which version, registered since, needs something of a bundle; an empty text where none does."""
    things = {key_of(item) for item in bundle.items}
    places = [place for item in bundle.items for place in item.places]
    logged_by = {model.model_id: model.run_id for model in state.models}
    for version in fresh:
        runs = {version.run_id, logged_by.get(version.model_id, "")}
        is_named = Key(Kind.MODEL, version.model_id) in things or any(Key(Kind.RUN, run) in things for run in runs)
        if is_named or any(overlap(one, place) for one in version.places for place in places):
            return f"registered since: {version_said(version)}"
    return ""
