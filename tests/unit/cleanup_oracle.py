"""What must stay in a store and what is garbage, told record by record and object by object, slowly and plainly.

It is written from the words of the decision on clean-up and shares nothing with the rules but the records: places are
compared text by text, ranks are counted, and what stays is asked over and over until nothing more has to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cleanup_world import NOW, World

from holdfast.core.cleanup.plan import Kind
from holdfast.core.cleanup.records import Form, ModelRecord, RunRecord, StoredObject, TraceRecord
from holdfast.core.cleanup.rules import RetentionRule

Name = tuple[Kind, str]
_LIVE = ("RUNNING", "SCHEDULED")


def plain(place: str) -> str:
    """Return a place as it protects: no slash at its end, and a path without `..`."""
    if not place.startswith("/"):
        return place.rstrip("/")
    walked: list[str] = []
    for segment in place.split("/"):
        walked = walked[:-1] if segment == ".." else walked + [segment] * (segment not in ("", "."))
    return "/" + "/".join(walked) if walked else ""


def inside(inner: str, outer: str) -> bool:
    """Whether an address is a place or lies in it."""
    return outer != "" and f"{inner}/".startswith(f"{outer}/")


def touch(one: str, other: str) -> bool:
    """Whether one of two places lies in the other."""
    return one != "" and other != "" and (inside(one, other) or inside(other, one))


@dataclass(frozen=True)
class Thing:
    """A run, a logged model or a trace, with its place as it is written and as it protects."""

    name: Name
    experiment_id: str
    run_id: str
    written: str
    place: str = ""


def _thing(name: Name, one: RunRecord | ModelRecord | TraceRecord) -> Thing:
    return Thing(name, one.experiment_id, one.run_id, one.place, plain(one.place))


class Oracle:
    """What is garbage, what of it stays, and which objects may go.

    Attributes:
        settled: What looks like garbage, with the time after which nothing should have written to it.
        marked: Runs that rules take and that are only marked deleted.
        staying: What stays with its files, of all there is.
        purged: The rest.
    """

    def __init__(self, world: World) -> None:
        self.state, self.objects, self.rules = world
        state = self.state
        self.runs = {run.run_id: run for run in state.runs}
        self.things = [_thing((Kind.RUN, one.run_id), one) for one in state.runs]
        self.things += [_thing((Kind.MODEL, one.model_id), one) for one in state.models]
        self.things += [_thing((Kind.TRACE, one.trace_id), one) for one in state.traces]
        self.experiments: list[Name] = [(Kind.EXPERIMENT, one.experiment_id) for one in state.experiments]
        self.needed_places = self._needed_places()
        self._known: dict[str, str] = {}
        self.needed = self._needed()
        self.taken = {run.run_id for run in state.runs if self._is_taken(run)}
        self.settled = self._looks_like_garbage()
        self.staying = {one.name for one in self.things} | set(self.experiments)
        self.staying -= set(self.settled)
        self.staying |= {name for name in self.settled if self._stays_by_itself(name)}
        self.marked = {name for name in set(self.settled) - self.staying if self._is_only_marked(name)}
        self.staying |= self.marked
        self._spread()
        self.purged = set(self.settled) - self.staying

    # What needs something.

    def _needed_places(self) -> list[str]:
        places = [place for version in self.state.versions for place in version.places]
        places += [need.place for need in self.state.needs]
        owned = [need.experiment_id for need in self.state.needs if need.experiment_id]
        places += [one.place for one in self.state.experiments if one.experiment_id in owned]
        return [plain(place) for place in places if plain(place)]

    def _needed(self) -> set[Name]:
        needing = (*self.state.versions, *self.state.needs)
        needed: set[Name] = {(Kind.RUN, one.run_id) for one in needing}
        needed |= {(Kind.MODEL, one.model_id) for one in needing}
        owned = {need.experiment_id for need in self.state.needs}
        needed |= {(Kind.EXPERIMENT, one) for one in owned}
        needed |= {thing.name for thing in self.things if thing.experiment_id in owned - {""}}
        for thing in self.things:
            if any(touch(thing.place, place) for place in self.needed_places):
                needed.add(thing.name)
        for _ in range(2):
            needed |= {(Kind.RUN, one.run_id) for one in self.things if one.name in needed and one.run_id}
            needed |= {one.name for one in self.things if one.run_id and (Kind.RUN, one.run_id) in needed}
        return needed

    # What looks like garbage.

    def _looks_like_garbage(self) -> dict[Name, int | None]:
        found: dict[Name, int | None] = {}
        asked, runs_asked = self._is_asked, self.rules.run_ids
        for run in self.state.runs:
            if run.is_deleted and asked(run.experiment_id, run.run_id) and self._is_long_ago(run.deleted_ms):
                found[Kind.RUN, run.run_id] = run.deleted_ms
            if run.run_id in self.taken and asked(run.experiment_id, run.run_id):
                found[Kind.RUN, run.run_id] = run.ended_ms
        for one in self.state.experiments:
            if one.is_deleted and not runs_asked and asked(one.experiment_id) and self._is_long_ago(one.changed_ms):
                found[Kind.EXPERIMENT, one.experiment_id] = one.changed_ms
        return found | self._goes_along({name: at for name, at in found.items() if not self._is_only_marked(name)})

    def _goes_along(self, whole: dict[Name, int | None]) -> dict[Name, int | None]:
        found: dict[Name, int | None] = {}
        for model in self.state.models:
            if (Kind.RUN, model.run_id) in whole:
                found[Kind.MODEL, model.model_id] = whole[Kind.RUN, model.run_id]
            is_asked = self._is_asked(model.experiment_id, model.run_id)
            if model.is_deleted and is_asked and self._is_long_ago(model.changed_ms):
                found[Kind.MODEL, model.model_id] = model.changed_ms
        for trace in self.state.traces:
            owner = (Kind.RUN, trace.run_id) if trace.run_id in self.runs else (Kind.EXPERIMENT, trace.experiment_id)
            if owner in whole:
                found[Kind.TRACE, trace.trace_id] = whole[owner]
        return found

    def _is_asked(self, experiment_id: str, run_id: str = "") -> bool:
        return experiment_id in (self.rules.experiment_ids or [experiment_id]) and run_id in (
            self.rules.run_ids or [run_id]
        )

    def _is_long_ago(self, then_ms: int | None) -> bool:
        if self.rules.older_than_s == 0:
            return True
        return then_ms is not None and then_ms <= NOW - self.rules.older_than_s * 1000

    def _is_taken(self, run: RunRecord) -> bool:
        return any(
            not rule.checkpoints
            and is_about(rule, run)
            and is_spare(rule, run)
            and not self._is_among_the_kept(rule, run)
            for rule in self.rules.retention
        )

    def _is_among_the_kept(self, rule: RetentionRule, run: RunRecord) -> bool:
        peers = [one for one in self.state.runs if is_about(rule, one) and one.experiment_id == run.experiment_id]
        later = [one for one in peers if (one.started_ms, one.run_id) > (run.started_ms, run.run_id)]
        better = [one for one in peers if _value(rule, one) > _value(rule, run)]
        better += [one for one in later if _value(rule, one) == _value(rule, run)]
        return len(later) < rule.keep_last or len(better) < rule.keep_best

    # What of it stays.

    def _stays_by_itself(self, name: Name) -> bool:
        if name in self.needed or name[0] is Kind.EXPERIMENT:
            return name in self.needed
        thing = next(one for one in self.things if one.name == name)
        has_no_files = name[0] is Kind.TRACE and not thing.written
        is_above_a_root = any(inside(plain(root), thing.place) for root in self.rules.roots)
        holds_root = is_above_a_root and not self._is_only_marked(name)
        return holds_root or self._is_alive(thing) or not (has_no_files or is_understood(thing.written))

    def _is_alive(self, thing: Thing) -> bool:
        written = [
            one.modified_ms or 0
            for one in self.objects
            if one.form is not Form.MARKER and thing.place and self.lies_at(one.address) == thing.place
        ]
        created = [one.created_ms for one in self.state.traces if (Kind.TRACE, one.trace_id) == thing.name]
        if any(self.is_recent(one) and one > (self.settled[thing.name] or 0) for one in written + created):
            return True
        run = self.runs.get(thing.run_id)
        if thing.name[0] is not Kind.RUN or run is None or not run.is_deleted or run.status not in _LIVE:
            return False
        return any(self.is_recent(one) for one in [*written, run.started_ms, run.ended_ms or 0])

    def is_recent(self, then_ms: int | None) -> bool:
        """Whether a time lies in the grace period."""
        return then_ms is not None and then_ms > NOW - self.rules.grace_s * 1000

    def lies_at(self, address: str) -> str:
        """The deepest place of a thing or a need that an address lies in."""
        if address not in self._known:
            places = [one.place for one in self.things] + self.needed_places
            self._known[address] = max((place for place in places if inside(address, place)), key=len, default="")
        return self._known[address]

    def _is_only_marked(self, name: Name) -> bool:
        return name[0] is Kind.RUN and name[1] in self.taken and self.rules.older_than_s > 0

    def _spread(self) -> None:
        before = -1
        while before != len(self.staying):
            before = len(self.staying)
            for name in set(self.settled) - self.staying:
                if self._stays_with_others(name):
                    self.staying.add(name)

    def _stays_with_others(self, name: Name) -> bool:
        kind, found_id = name
        if kind is Kind.EXPERIMENT:
            return any(one.experiment_id == found_id and one.name in self.staying for one in self.things)
        thing = next(one for one in self.things if one.name == name)
        if any(touch(thing.place, one.place) and one.name in self.staying for one in self.things):
            return True
        if any(inside(place, thing.place) for place in self.experiment_places()):
            return True
        if kind is Kind.RUN:
            return any(one.run_id == found_id and one.name in self.staying for one in self.things)
        return self._owner_stays(thing)

    def _owner_stays(self, thing: Thing) -> bool:
        if thing.name[0] is Kind.MODEL:
            model = next(one for one in self.state.models if one.model_id == thing.name[1])
            by_itself = model.is_deleted and self._is_asked(model.experiment_id, model.run_id)
            return not (by_itself and self._is_long_ago(model.changed_ms)) and (Kind.RUN, thing.run_id) in self.staying
        has_run = thing.run_id in self.runs
        return ((Kind.RUN, thing.run_id) if has_run else (Kind.EXPERIMENT, thing.experiment_id)) in self.staying

    def experiment_places(self) -> dict[str, str]:
        """The places of experiments that stay, each with the greatest id."""
        staying = [one for one in self.state.experiments if (Kind.EXPERIMENT, one.experiment_id) in self.staying]
        return {plain(one.place): one.experiment_id for one in staying if plain(one.place)}

    # Which objects may go.

    def may_go(self) -> set[StoredObject]:
        """Return all that is stored and garbage; with trash only current objects are."""
        found = {one for one in self.objects if self._may_go(one)}
        return {one for one in found if one.form is Form.OBJECT} if self.rules.trash else found

    def _may_go(self, one: StoredObject) -> bool:
        at = self.lies_at(one.address)
        if not at:
            return self._is_orphan(one) or self._is_stale_and_loose(one)
        here = {thing.name for thing in self.things if thing.place == at}
        if at in self.needed_places or not here:
            return False
        return here <= self.purged or self._is_stale_upload(one, at) or self._is_spare_checkpoint(one, at)

    def _is_stale(self, one: StoredObject) -> bool:
        is_old = one.modified_ms is not None and not self.is_recent(one.modified_ms)
        return one.form is Form.UPLOAD and is_old and self.root_of(one.address) != ""

    def root_of(self, address: str) -> str:
        """The deepest root that an address lies in."""
        return max((root for root in self.rules.roots if inside(address, root)), key=len, default="")

    def _is_stale_upload(self, one: StoredObject, at: str) -> bool:
        above = [thing for thing in self.things if inside(at, thing.place)]
        under_way = {run.run_id for run in self.state.runs if run.status in _LIVE}
        is_used = any(thing.name in self.needed or thing.run_id in under_way for thing in above)
        is_asked = any(self._is_asked(thing.experiment_id, thing.run_id) for thing in above if thing.place == at)
        is_needed = any(inside(at, place) for place in self.needed_places)
        return self._is_stale(one) and self.root_of(at) != "" and is_asked and not is_used and not is_needed

    def _is_spare_checkpoint(self, one: StoredObject, at: str) -> bool:
        found = False
        for run in self.state.runs:
            is_free = (Kind.RUN, run.run_id) not in self.needed | self.marked and is_understood(run.place)
            is_free = is_free and run.place == at
            if is_free and one.form is not Form.UPLOAD and self._is_asked(run.experiment_id, run.run_id):
                found = found or self._loses_checkpoint(run, one)
        return found

    def _loses_checkpoint(self, run: RunRecord, one: StoredObject) -> bool:
        late = [
            other.modified_ms or 0
            for other in self.objects
            if other.form is not Form.MARKER and self.lies_at(other.address) == run.place
        ]
        if any(self.is_recent(then) and then > (run.ended_ms or 0) for then in late):
            return False
        names = [name for rule in self.rules.retention for name in self._spare_names(rule, run)]
        return any(inside(one.address, f"{run.place}/{name}") and self._is_clear(run, name) for name in names)

    def _is_clear(self, run: RunRecord, name: str) -> bool:
        place = f"{run.place}/{name}"
        own = [one for one in self.objects if inside(one.address, place) and self.lies_at(one.address) == run.place]
        if any(self.is_recent(one.modified_ms) for one in own if one.form not in (Form.MARKER, Form.UPLOAD)):
            return False
        others = [one for one in self.things if one.name != (Kind.RUN, run.run_id) and one.name in self.staying]
        below = [*self.experiment_places(), *self.rules.roots]
        return not any(touch(place, one.place) for one in others) and not any(inside(one, place) for one in below)

    def _spare_names(self, rule: RetentionRule, run: RunRecord) -> list[str]:
        if not rule.checkpoints or not is_about(rule, run) or not is_spare(rule, run):
            return []
        current = [one for one in self.objects if one.form is Form.OBJECT and self.lies_at(one.address) == run.place]
        names = {checkpoint_of(rule, run, one.address) for one in current} - {""}
        if rule.checkpoints.endswith("/"):
            names -= {one.address.removeprefix(f"{run.place}/") for one in self.objects if one.form is not Form.UPLOAD}
        numbers = {name: _number(name) for name in names if _number(name)}
        return [
            name
            for name, number in numbers.items()
            if sum(other > number for other in numbers.values()) >= rule.keep_last
        ]

    def loose(self) -> Iterator[StoredObject]:
        """Yield what lies below a root and belongs to nothing."""
        yield from (one for one in self.objects if not self.lies_at(one.address) and self.root_of(one.address))

    def is_refused(self, root: str) -> bool:
        """Whether nothing below a root is known, so that it is probably another's."""
        known = [one for one in self.objects if one.form is not Form.UPLOAD and self.lies_at(one.address)]
        return not any(inside(one.address, root) for one in known)

    def _bases(self) -> dict[str, str]:
        return dict.fromkeys(self.rules.roots, "") | self.experiment_places()

    def folder_of(self, address: str) -> str:
        """The loose folder of an address, as it is once what goes has gone."""
        base = max((one for one in self._bases() if inside(address, one)), key=len)
        rest = address.split("/")[len(base.split("/")) :]
        one_deeper = rest[1:2] in (["models"], ["traces"]) or rest[2:3] == ["artifacts"]
        usual = rest[0:1] in (["models"], ["traces"]) or rest[1:2] == ["artifacts"]
        depth = 2 if usual and len(rest) > 1 else 3 if one_deeper and len(rest) > 2 else 1
        return "/".join([base, *rest[:depth]])

    def _is_loose_asked(self, address: str) -> bool:
        base = max((one for one in self._bases() if inside(self.folder_of(address), one)), key=len)
        root = self.root_of(address)
        is_asked = self._is_asked(self._bases()[base]) and not self.rules.run_ids
        return root != "" and is_asked and not self.is_refused(root)

    def _is_stale_and_loose(self, one: StoredObject) -> bool:
        return self._is_stale(one) and self._is_loose_asked(one.address)

    def _is_orphan(self, one: StoredObject) -> bool:
        if not self.rules.orphans or not self.root_of(one.address):
            return False
        folder = self.folder_of(one.address)
        return all(
            self._is_old_garbage(other) and self._is_empty_of_places(self.folder_of(other.address))
            for other in self.loose()
            if inside(self.folder_of(other.address), folder)
        )

    def _is_old_garbage(self, one: StoredObject) -> bool:
        is_known = one.modified_ms is not None
        return is_known and not self.is_recent(one.modified_ms) and self._is_loose_asked(one.address)

    def _is_empty_of_places(self, folder: str) -> bool:
        standing = [one.place for one in self.things if one.name in self.staying] + self.needed_places
        return not any(inside(place, folder) for place in [*standing, *self._bases()])


def is_about(rule: RetentionRule, run: RunRecord) -> bool:
    """Whether a rule of a world is about a run: the worlds know no globs but `*`."""
    is_over = not run.is_deleted and run.status not in _LIVE and run.ended_ms is not None
    in_experiment = rule.experiments[0] in ("*", f"name-{run.experiment_id}")
    return is_over and in_experiment and all(name in run.tags for name, _ in rule.tags)


def is_spare(rule: RetentionRule, run: RunRecord) -> bool:
    """Whether a run has no tag that keeps it, and ended long enough ago for a rule."""
    is_young = rule.older_than_s is not None and NOW - (run.ended_ms or 0) < rule.older_than_s * 1000
    return run.tags.get("holdfast.keep", "false") == "false" and not is_young


def is_understood(place: str) -> bool:
    """Whether a place of a world is one below which something may be deleted."""
    if place.startswith("/disk"):
        return plain(place) == place
    return place.startswith("s3://b") and not place.endswith("/")


def checkpoint_of(rule: RetentionRule, run: RunRecord, address: str) -> str:
    """The checkpoint of a rule of a world that an address belongs to: its second segment below the run's place."""
    rest = address.split("/")[len(run.place.split("/")) :]
    if rest[:1] != ["checkpoints"] or len(rest) < 2 or not rest[1]:
        return ""
    matches = len(rest) > 2 if rule.checkpoints.endswith("/") else rest[1].endswith(".ckpt")
    return "/".join(rest[:2]) if matches else ""


def _number(name: str) -> int:
    return int("0" + "".join(one for one in name if one.isdigit()))


def _value(rule: RetentionRule, run: RunRecord) -> float:
    value = run.metrics.get("m", math.nan)
    if math.isnan(value):
        return -math.inf
    return value if rule.mode == "max" else -value
