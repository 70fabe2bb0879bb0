"""For any store: what a plan takes is garbage and all of it, and a plan that was applied, or begun, leaves the same."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from holdfast.core.cleanup.garbage import make_plan
from holdfast.core.cleanup.plan import Action, Item, Kind, Plan, add_up, from_text, to_text
from holdfast.core.cleanup.records import Form, State, StoredObject

sys.path.insert(0, str(Path(__file__).parent))
from cleanup_applied import apply, destroyed, members
from cleanup_oracle import Name, Oracle
from cleanup_world import NOW, World, dice_of, more_needs, try_world

# A smaller seed gives no smaller world; worlds are made smaller by `try_world`.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
_EXAMPLES = settings(max_examples=125, phases=_PHASES)
_SEEDS = st.integers(0, 2**32 - 1)
# Several worlds of each seed that is drawn: drawing costs as much as a world does.
_EACH = 5


def _plan(world: World) -> Plan:
    return make_plan(*world, NOW)


def _rows(plan: Plan) -> set[Name]:
    """The things whose rows and files go."""
    folders = (Kind.ORPHAN, Kind.UPLOAD, Kind.CHECKPOINT)
    return {(one.kind, one.id) for one in plan.items if one.action is not Action.EXPIRE and one.kind not in folders}


def _expired(plan: Plan) -> set[Name]:
    return {(one.kind, one.id) for one in plan.items if one.action is Action.EXPIRE}


def _covered(item: Item, plan: Plan, oracle: Oracle) -> set[StoredObject]:
    """What belongs to an item, in all forms: a trash takes less than that."""
    others = tuple(one for one in plan.items if one is not item)
    return members(replace(item, action=Action.PURGE), oracle, replace(plan, items=others))


def _in_words(found: set[StoredObject]) -> list[str]:
    return sorted(f"{one.address} ({one.form})" for one in found)


@_EXAMPLES
@given(_SEEDS)
def test_nothing_protected_is_in_a_plan(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, _check_protected)


def _check_protected(world: World) -> None:
    oracle, plan = Oracle(world), _plan(world)
    assert _in_words(destroyed(plan, oracle) - oracle.may_go()) == []
    assert _rows(plan) - oracle.purged == set()
    assert _expired(plan) - oracle.marked - (oracle.purged & {(Kind.RUN, one) for one in oracle.taken}) == set()


@_EXAMPLES
@given(_SEEDS)
def test_all_that_is_garbage_is_in_a_plan_and_what_looks_like_it_is_told(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, _check_garbage)


def _check_garbage(world: World) -> None:
    oracle, plan = Oracle(world), _plan(world)
    assert _in_words(oracle.may_go() - destroyed(plan, oracle)) == []
    assert oracle.marked - _expired(plan) == set()
    if oracle.state.has_rows and not oracle.rules.trash:
        assert oracle.purged - _rows(plan) == set()
    told = {(one.kind, one.id) for one in plan.kept if one.why}
    assert (set(oracle.settled) & oracle.staying) - oracle.marked - told == set()
    assert not told & {(one.kind, one.id) for one in plan.items}


@_EXAMPLES
@given(_SEEDS)
def test_items_tell_what_they_hold(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, _check_holdings)


def _check_holdings(world: World) -> None:
    oracle, plan, seen = Oracle(world), _plan(world), set[StoredObject]()
    for item in plan.items:
        # What things share is told of the first of them alone.
        found = _covered(item, plan, oracle) if item.holding.count else set()
        told = [item.holding.objects, item.holding.old_versions, item.holding.markers, item.holding.uploads]
        assert told == [sum(one.form is form for one in found) for form in Form], item
        assert item.holding.all_bytes == sum(one.size_bytes for one in found), item
        assert not found & seen or item.action is Action.EXPIRE, item
        seen |= found if item.action is not Action.EXPIRE else set()
    assert destroyed(plan, oracle) <= seen
    assert plan.total == add_up(one.holding for one in plan.items if one.action is not Action.EXPIRE)
    assert from_text(to_text(plan)) == plan


@settings(max_examples=100, phases=_PHASES)
@given(_SEEDS)
def test_the_order_of_objects_changes_nothing(seed: int) -> None:
    try_world(seed, lambda world: _check_order(world, dice_of(seed)))


def _check_order(world: World, dice: random.Random) -> None:
    state, objects, rules = world
    assert to_text(make_plan(state, dice.sample(objects, len(objects)), rules, NOW)) == to_text(_plan(world))


@settings(max_examples=300, phases=_PHASES)
@given(_SEEDS)
def test_a_digest_tells_of_every_change(seed: int) -> None:
    try_world(seed, lambda world: _check_digests(world, dice_of(seed)))


def _check_digests(world: World, dice: random.Random) -> None:
    state, objects, rules = world
    oracle, plan = Oracle(world), _plan(world)
    for one in dice.sample(objects, min(2, len(objects))):
        changed = replace(one, size_bytes=one.size_bytes + 1)
        after = make_plan(state, [changed if other is one else other for other in objects], rules, NOW)
        digests = {(item.kind, item.id): item.holding.digest for item in after.items}
        for item in (item for item in plan.items if item.holding.count):
            is_in = one in _covered(item, plan, oracle)
            assert (digests[item.kind, item.id] != item.holding.digest) is is_in, (item, one)


@_EXAMPLES
@given(_SEEDS)
def test_a_second_plan_is_empty(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, _check_second)


def _check_second(world: World) -> None:
    plan = _plan(world)
    assert _plan(apply(plan.items, plan, world)).items == ()


@example(18525610)
@_EXAMPLES
@given(_SEEDS)
def test_a_plan_of_which_any_part_was_done_is_finished_by_the_next(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, lambda world: _check_begun(world, dice_of(seed)))


def _check_begun(world: World, dice: random.Random) -> None:
    oracle, plan = Oracle(world), _plan(world)
    share = dice.random()
    part = [item for item in plan.items if dice.random() < share]
    begun = apply(part, plan, world)
    assert _in_words(set(world[1]) - set(begun[1]) - oracle.may_go()) == []
    finished, whole = _finished(begun), apply(plan.items, plan, world)
    assert _in_words(_lasting(whole) - _lasting(finished)) == []
    left = {(kind, id_): is_active for kind, id_, is_active in _left(finished[0])}
    assert [(kind, id_) for kind, id_, is_active in _left(whole[0]) if left.get((kind, id_), -1) < is_active] == []
    if _is_stable(world):
        # What proved that a root is this store's may be gone; then its orphans stay.
        end = Oracle(finished)
        more = {one for one in finished[1] if end.lies_at(one.address) or not end.is_refused(end.root_of(one.address))}
        assert _in_words(more - set(whole[1])) == []
        assert _left(finished[0]) == _left(whole[0])


def _lasting(world: World) -> set[StoredObject]:
    """What is stored, without what a trash makes of it."""
    return {one for one in world[1] if one.form is Form.OBJECT or not world[2].trash}


def _finished(world: World) -> World:
    for _ in range(4):
        plan = _plan(world)
        if not plan.items:
            return world
        world = apply(plan.items, plan, world)
    raise AssertionError("no end of plans")


def _is_stable(world: World) -> bool:
    """Whether what a plan takes cannot change what is taken by the next.

    A run or a checkpoint that one rule takes may have been among those that another rule keeps. With it gone, the next
    best is kept in its stead, and is no garbage any more: less is taken then, never more.
    """
    rules = world[2].retention
    return sum(not one.checkpoints for one in rules) < 2 and sum(bool(one.checkpoints) for one in rules) < 2


def _left(state: State) -> set[tuple[Kind, str, bool]]:
    runs = {(Kind.RUN, one.run_id, not one.is_deleted) for one in state.runs}
    models = {(Kind.MODEL, one.model_id, True) for one in state.models}
    traces = {(Kind.TRACE, one.trace_id, True) for one in state.traces}
    return runs | models | traces | {(Kind.EXPERIMENT, one.experiment_id, True) for one in state.experiments}


@_EXAMPLES
@given(_SEEDS)
def test_more_needs_never_make_more_garbage(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, lambda world: _check_less(world, more_needs(world, dice_of(seed))))


@_EXAMPLES
@given(_SEEDS)
def test_longer_ages_never_make_more_garbage(seed: int) -> None:
    for at in range(_EACH):
        try_world(seed + at, lambda world: _check_less(world, _older(world, dice_of(seed))))


def _older(world: World, dice: random.Random) -> World:
    state, objects, rules = world
    name = dice.choice(["older_than_s", "grace_s"])
    longer = getattr(rules, name) + dice.choice([1, 24, 1000]) * 3600
    return state, objects, replace(rules, **{name: longer})


def _check_less(world: World, stricter: World) -> None:
    one, other = _plan(world), _plan(stricter)
    before, after = Oracle(world), Oracle(stricter)
    assert _rows(other) <= _rows(one)
    # With an age of 0 a run that a rule takes is purged at once, and stays if a logged model of it does; with another
    # it is only marked deleted, which harms none of these.
    if world[2].older_than_s == stricter[2].older_than_s or world[2].older_than_s > 0:
        assert _expired(other) <= _expired(one) | _rows(one)
    more = destroyed(other, after) - destroyed(one, before)
    assert _in_words({found for found in more if not _is_meant(found, before, after)}) == []


def _is_meant(found: StoredObject, before: Oracle, after: Oracle) -> bool:
    """Whether an object may become garbage though more is needed, or ages are longer.

    A need may prove that a root is this store's. And an experiment that stays keeps its loose folders apart, so that
    those that are old go though another in it is young.
    """
    if before.lies_at(found.address):
        return False
    is_proven = before.is_refused(before.root_of(found.address))
    return is_proven or before.experiment_places() != after.experiment_places()
