"""Making the plan of a clean-up from what a store says and what is stored.

What is garbage: runs deleted long enough ago with their logged models and traces, logged models deleted on their own,
deleted experiments in which nothing is left, what retention rules take, and, below the places that were listed, what
nothing knows and uploads that were never finished. What is protected, `needs` and `keeping` say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from holdfast.core.cleanup import loose as loose_folders
from holdfast.core.cleanup.ages import shown_age
from holdfast.core.cleanup.candidates import Candidate, Candidates
from holdfast.core.cleanup.checkpoints import Watched, watched_runs
from holdfast.core.cleanup.keeping import Keeping
from holdfast.core.cleanup.needs import find_guards, shown
from holdfast.core.cleanup.places import PlaceMap, protecting
from holdfast.core.cleanup.plan import Action, Holding, Item, Kept, Kind, Plan
from holdfast.core.cleanup.records import State, StoredObject
from holdfast.core.cleanup.retention import taken_runs
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.core.cleanup.sorting import Sorted
from holdfast.core.cleanup.stock import Key, Stock
from holdfast.core.cleanup.tally import Tally

_ORDER = list(Kind)


def make_plan(state: State, objects: Iterable[StoredObject], rules: CleanupRules, now_ms: int) -> Plan:
    """Return what is to be done, and what stays though it looks like garbage.

    Args:
        state: The store, read before the objects were listed.
        objects: All that is stored below `rules.roots`, and at the places of what is deleted; each once. They are gone
            through once, and what is kept in memory grows with the places, not with them.
        rules: What was asked.
        now_ms: The present, in milliseconds since the epoch.
    """
    return _Planner(state, rules, now_ms).plan(objects)


class _Planner:
    def __init__(self, state: State, rules: CleanupRules, now_ms: int) -> None:
        self._state, self._now_ms = state, now_ms
        self._rules = rules
        self._stock = Stock(state)
        self._guards = find_guards(self._stock)
        taken = taken_runs(state, rules.retention, now_ms)
        self._candidates = Candidates(self._stock, rules, taken, now_ms)
        self._watched = watched_runs(state, rules, now_ms)
        self._sorted = Sorted(
            owners=PlaceMap((place, None) for place in (*self._stock.places, *self._guards.places)),
            bases=self._bases(set()),
            wanted={*self._watched, *self._candidate_places()},
            watched=self._watched,
            rules=rules,
            now_ms=now_ms,
        )
        self._keeping = Keeping(self._stock, self._candidates, self._guards, self._sorted, rules, now_ms)
        self._going: set[Key] = set()
        self._purged: set[Key] = set()
        self._bases_left: PlaceMap[str] = PlaceMap()

    def plan(self, objects: Iterable[StoredObject]) -> Plan:
        self._sorted.sort(objects)
        self._keeping.find()
        self._going = self._keeping.going
        self._purged = {key for key in self._going if not self._candidates.found[key].expires}
        self._bases_left = self._bases(self._purged)
        things = list(self._things())
        checkpoints, kept_checkpoints = self._checkpoints()
        loose_items, kept_orphans, told = self._loose()
        items = sorted([*loose_items, *checkpoints, *things], key=_turn)
        kept = sorted([*self._kept(), *kept_checkpoints, *kept_orphans], key=lambda one: (one.kind, one.id))
        return Plan(self._now_ms, self._rules, tuple(items), tuple(kept), (*self._guards.told, *told))

    def _candidate_places(self) -> Iterator[str]:
        for key in self._candidates.found:
            if key.kind is not Kind.EXPERIMENT and self._stock.things[key].place:
                yield self._stock.things[key].place

    def _bases(self, gone: set[Key]) -> PlaceMap[str]:
        bases: PlaceMap[str] = PlaceMap((root, "") for root in self._rules.roots)
        for experiment in self._state.experiments:
            place = protecting(experiment.place)
            if place and Key(Kind.EXPERIMENT, experiment.experiment_id) not in gone:
                bases.add(place, experiment.experiment_id)
        return bases

    def _things(self) -> Iterator[Item]:
        counted: set[str] = set()
        for key in sorted(self._going):
            if key.kind is Kind.EXPERIMENT:
                yield from self._experiment(key)
                continue
            place = self._stock.things[key].place
            # What things share that all go is counted with the first of them.
            tally = None if place in counted else self._sorted.owned.get(place)
            counted.add(place)
            yield from self._thing(key, tally.holding() if tally is not None else Holding())

    def _experiment(self, key: Key) -> Iterator[Item]:
        if self._state.has_rows and not self._rules.trash:
            name, why = self._stock.experiments[key.id].name, self._candidates.found[key].why
            yield Item(key.kind, key.id, name, why, Action.PURGE, group=f"experiment/{key.id}")

    def _thing(self, key: Key, holding: Holding) -> Iterator[Item]:
        candidate, thing = self._candidates.found[key], self._stock.things[key]
        action = self._action(candidate, holding)
        if action is not None:
            places = (thing.place,) if thing.place else ()
            group = self._group(key, candidate)
            yield Item(key.kind, key.id, thing.name, candidate.why, action, places, holding, group)

    def _action(self, candidate: Candidate, holding: Holding) -> Action | None:
        if candidate.expires:
            return Action.EXPIRE
        purged = Action.TRASH if self._rules.trash else Action.PURGE
        makes_work = holding.objects if self._rules.trash else self._state.has_rows or holding.count
        if makes_work:
            return purged
        return Action.EXPIRE if candidate.is_active else None

    def _group(self, key: Key, candidate: Candidate) -> str:
        owner = candidate.through or self._stock.run_of(key)
        named = owner if owner is not None and owner in self._purged else key
        return f"{_GROUPS[named.kind]}/{named.id}"

    def _kept(self) -> Iterator[Kept]:
        for key, reasons in self._keeping.kept.items():
            yield Kept(key.kind, key.id, self._name(key), shown(reasons))
        for key, why in self._candidates.unknown.items():
            needs = (f"{need} needs it" for need in self._guards.needed.get(key, ()))
            yield Kept(key.kind, key.id, self._name(key), shown([*needs, why]))

    def _name(self, key: Key) -> str:
        is_experiment = key.kind is Kind.EXPERIMENT
        return self._stock.experiments[key.id].name if is_experiment else self._stock.things[key].name

    def _checkpoints(self) -> tuple[list[Item], list[Kept]]:
        items: list[Item] = []
        kept: list[Kept] = []
        for watched in (watched for runs in self._watched.values() for watched in runs):
            key = Key(Kind.RUN, watched.run.run_id)
            if key in self._going:
                continue
            for place, tally, why in watched.taken():
                name = f"{place[len(watched.run.place) + 1 :]} of {self._stock.things[key].said}"
                if obstacles := [*self._fresh(tally), *self._obstacles(place, watched, key)]:
                    kept.append(Kept(Kind.CHECKPOINT, place, name, shown(obstacles)))
                else:
                    action = Action.TRASH if self._rules.trash else Action.PURGE
                    holding, group = tally.holding(), f"checkpoint/{place}"
                    items.append(Item(Kind.CHECKPOINT, place, name, why, action, (place,), holding, group))
        return items, kept

    def _fresh(self, tally: Tally) -> Iterator[str]:
        if tally.newest_ms is not None and self._rules.is_recent(tally.newest_ms, self._now_ms):
            yield f"written {shown_age((self._now_ms - tally.newest_ms) / 1000)} ago"

    def _obstacles(self, place: str, watched: Watched, key: Key) -> list[str]:
        found = [f"{why} needs its run" for why in self._guards.needed.get(key, ())]
        for _, other in self._stock.places.around(place):
            if other != key and other not in self._purged:
                found.append(f"{self._stock.things[other].said}, which stays, shares its place")
        if self._bases_left.at(place) or any(self._bases_left.below(place)):
            found.append("an experiment or an artifact root lies in it")
        newest = self._sorted.owned[watched.run.place].newest_ms
        if newest is not None and newest > (watched.run.ended_ms or 0) and self._rules.is_recent(newest, self._now_ms):
            found.append("its run was written to after it ended")
        return found

    def _loose(self) -> tuple[list[Item], list[Kept], list[str]]:
        standing: PlaceMap[str] = PlaceMap()
        for place in self._stock.places:
            staying = [key for key in self._stock.places.at(place) if key not in self._purged]
            for key in staying[:1]:
                standing.add(place, f"{self._stock.things[key].said}, which stays,")
        for place in self._guards.places:
            standing.add(place, f"what {self._guards.places.at(place)[0]} needs")
        loose = loose_folders.gather(self._sorted, self._bases_left, standing, self._rules)
        refused = loose_folders.refused_roots(loose, self._sorted)
        orphans, kept = loose_folders.orphans(loose, refused, self._rules, self._now_ms)
        gone: PlaceMap[None] = PlaceMap((item.id, None) for item in orphans)
        uploads = loose_folders.stale_uploads(loose, self._sorted, refused, gone, self._rules, self._is_free)
        told = [_REFUSED.format(root=root) for root in refused] if self._rules.orphans else []
        items = [item for item in orphans if not self._rules.trash or item.holding.objects]
        return [*items, *uploads], kept, told

    def _is_free(self, place: str) -> bool:
        """Whether unfinished uploads at a place of things are garbage of their own."""
        if any(True for _ in self._guards.places.at_or_above(place)):
            return False
        if any(key in self._purged for key in self._stock.places.at(place)):
            return False
        above = [key for _, key in self._stock.places.at_or_above(place)]
        is_needed = any(key in self._guards.needed for key in above)
        return not is_needed and not any(self._is_under_way(key) for key in above) and self._is_asked(place)

    def _is_under_way(self, key: Key) -> bool:
        return self._stock.things[key].run_id in self._stock.under_way

    def _is_asked(self, place: str) -> bool:
        things = [self._stock.things[key] for key in self._stock.places.at(place)]
        return any(self._rules.is_asked(thing.experiment_id, thing.run_id) for thing in things)


_GROUPS = {Kind.RUN: "run", Kind.MODEL: "model", Kind.TRACE: "trace", Kind.EXPERIMENT: "experiment"}
_REFUSED = (
    "{root}: nothing below it is known to this store, so it is probably another's; no orphans are looked for there"
)


def _turn(item: Item) -> tuple[int, str, int, str]:
    """Return when an item is done: a run's things together and it last, experiments after all else."""
    stage = {Kind.UPLOAD: 0, Kind.ORPHAN: 1, Kind.CHECKPOINT: 2, Kind.EXPERIMENT: 4}.get(item.kind, 3)
    return stage, item.group, _ORDER.index(item.kind), item.id
