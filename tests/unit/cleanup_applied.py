"""What applying a plan, or a part of it, makes of a store: objects first, then the rows of what is done whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from cleanup_oracle import Name, Oracle, inside
from cleanup_world import NOW, World

from holdfast.core.cleanup.plan import Action, Item, Kind, Plan
from holdfast.core.cleanup.records import Form, State, StoredObject


def members(item: Item, oracle: Oracle, plan: Plan | None = None) -> set[StoredObject]:
    """What an item takes: what lies in its places and in no deeper one, of the forms that its kind takes.

    With a plan, what lies in a deeper folder that goes whole is left to that.
    """
    orphans = [one.id for one in (plan.items if plan else ()) if one.kind is Kind.ORPHAN and one is not item]
    deeper = [one for one in orphans if inside(one, item.places[0])] if item.places else []
    found = {one for one in oracle.objects if any(_belongs(one, place, item, oracle) for place in item.places)}
    return {one for one in found if not any(inside(one.address, place) for place in deeper)}


def _belongs(one: StoredObject, place: str, item: Item, oracle: Oracle) -> bool:
    deepest = oracle.lies_at(one.address)
    if not inside(one.address, place) or (deepest != place and inside(deepest, place)):
        return False
    is_stale = one.form is Form.UPLOAD and one.modified_ms is not None and not oracle.is_recent(one.modified_ms)
    takes = {Kind.UPLOAD: is_stale, Kind.CHECKPOINT: one.form is not Form.UPLOAD}.get(item.kind, True)
    return takes and (item.action is Action.PURGE or one.form is Form.OBJECT)


def destroyed(plan: Plan, oracle: Oracle) -> set[StoredObject]:
    """What a whole plan takes."""
    items = [item for item in plan.items if item.action is not Action.EXPIRE]
    return {one for item in items for one in members(item, oracle)}


def apply(done: Collection[Item], plan: Plan, world: World) -> World:
    """Return the store after some items of its plan were done; a group's rows go once all its items are."""
    state, objects, rules = world
    oracle = Oracle(world)
    taken = {one for item in done if item.action is not Action.EXPIRE for one in members(item, oracle)}
    left = [one for one in objects if one not in taken]
    if rules.trash:
        left += [replace(one, form=Form.OLD) for one in objects if one in taken]
        left += [StoredObject(one.address, 0, NOW, Form.MARKER, "mark") for one in objects if one in taken]
    open_groups = {item.group for item in plan.items if item not in done}
    gone = {(item.kind, item.id) for item in done if item.action is Action.PURGE and item.group not in open_groups}
    marked = _without_rows(state, set(), {item.group for item in done})
    return _without_rows(marked, gone, set()) if state.has_rows else marked, tuple(left), rules


def _without_rows(state: State, gone: set[Name], groups: set[str]) -> State:
    """Mark the runs of groups as deleted, and remove rows; an experiment goes only if nothing is left in it."""
    left = replace(
        state,
        runs=tuple(
            replace(one, is_deleted=True, deleted_ms=NOW)
            if f"run/{one.run_id}" in groups and not one.is_deleted
            else one
            for one in state.runs
            if (Kind.RUN, one.run_id) not in gone
        ),
        models=tuple(one for one in state.models if (Kind.MODEL, one.model_id) not in gone),
        traces=tuple(one for one in state.traces if (Kind.TRACE, one.trace_id) not in gone),
    )
    full = {one.experiment_id for one in (*left.runs, *left.models, *left.traces)}
    experiments = [
        one
        for one in state.experiments
        if one.experiment_id in full or (Kind.EXPERIMENT, one.experiment_id) not in gone
    ]
    return replace(left, experiments=tuple(experiments))
