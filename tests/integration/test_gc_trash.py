"""The trash of a clean-up: hidden in buckets with versions, and brought back by what the ledger says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gc_world import TRASH, GcWorld, on, whole, world_for

from holdfast.core.cleanup.rules import RetentionRule
from holdfast.errors import InvalidInputError
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.ledger import Ledger, all_of, home_of
from holdfast.maintenance.survey import survey
from holdfast.maintenance.undoing import undo


@pytest.fixture
def world(request: pytest.FixtureRequest) -> GcWorld:
    return world_for(request)


@on("versioned")
def test_trash_and_back(world: GcWorld) -> None:
    kept, gone = world.runs(1), world.deleted(2)
    before, stored, seen = world.dump(), world.stored(), world.readable()
    plan = world.plan(TRASH)
    outcome = world.apply(plan)
    assert whole(outcome, plan)
    assert (outcome.reclaimed.count, outcome.rows) == (0, {})
    assert all(kept[0] in key for key in world.readable())
    assert (stored <= world.stored(), world.dump()) == (True, before)
    assert world.plan(TRASH).items == ()
    done = undo(world.project())
    assert (done.gc_id, done.objects, done.failures, done.error) == (outcome.gc_id, 4, (), None)
    assert (world.stored(), world.readable(), world.dump()) == (stored, seen, before)
    assert undo(world.project(), outcome.gc_id).objects == 4  # again
    with pytest.raises(InvalidInputError, match="nothing in the trash"):
        undo(world.project())
    assert [one.undone for one in all_of(home_of(world.project()))] == [True]
    plan = world.plan()
    assert whole(world.apply(plan), plan)
    assert {key for key, _ in world.stored()} == world.readable()
    assert not world.rows_naming(*gone)


@on("versioned")
def test_an_active_run_in_the_trash_and_back(world: GcWorld) -> None:
    first, _ = world.runs(2)
    seen = world.readable()
    plan = world.plan(replace(TRASH, retention=(RetentionRule(keep_last=1),)))
    assert whole(world.apply(plan), plan)
    assert world.client.get_run(first).info.lifecycle_stage == "deleted"
    assert world.left_of([first]) == set()
    assert undo(world.project()).runs == (first,)
    assert world.client.get_run(first).info.lifecycle_stage == "active"
    assert world.readable() == seen


@on("versioned")
def test_a_plan_that_is_in_the_trash_already(world: GcWorld) -> None:
    """Applied again it changes nothing, and what the first apply hid is still the last that can be undone."""
    first, second = world.runs(2)
    seen = world.readable()
    plan = world.plan(replace(TRASH, retention=(RetentionRule(keep_last=1),)))
    outcome = world.apply(plan)
    stored, rows = world.stored(), world.dump()
    again = world.apply(plan)
    assert ([one.item.id for one in again.skipped], again.done, again.refused) == ([first], (), ())
    assert (world.stored(), world.dump()) == (stored, rows)
    assert world.left_of([first, second]) == world.left_of([second])
    done = undo(world.project())
    assert (done.gc_id, done.objects, done.runs) == (outcome.gc_id, 2, (first,))
    assert world.readable() == seen


@on("local", "unversioned")
def test_no_trash_without_versions(world: GcWorld) -> None:
    world.deleted(2)
    found = survey(world.project(), Asked(TRASH))
    assert found.plan.items == ()
    assert [one.code for one in found.troubles] == ["NotVersioned"]
    assert "leave --trash out" in found.troubles[0].message


@on("versioned")
def test_a_bucket_that_keeps_no_versions_any_more(world: GcWorld) -> None:
    world.deleted(2)
    plan, stored, before = world.plan(TRASH), world.stored(), world.dump()
    world.s3.put_bucket_versioning(Bucket=world.bucket, VersioningConfiguration={"Status": "Suspended"})
    outcome = world.apply(plan)
    assert (len(outcome.refused), outcome.done) == (2, ())
    assert {one.code for refused in outcome.refused for one in refused.failures} == {"NotVersioned"}
    assert (world.stored(), world.dump()) == (stored, before)


@on("versioned")
def test_what_was_written_again_is_not_brought_back(world: GcWorld) -> None:
    (run_id,) = world.deleted(1)
    place = world.place(run_id)
    plan = world.plan(TRASH)
    world.apply(plan)
    world.write(place, {"log.txt": b"new"})
    done = undo(world.project())
    assert (done.objects, [one.code for one in done.failures]) == (1, ["WrittenAgain"])
    assert not all_of(home_of(world.project()))[0].undone


@on("versioned")
def test_markers_that_were_not_noted_are_found(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill between the store's answer and the ledger leaves them."""
    world.deleted(2)
    seen = world.readable()
    plan = world.plan(TRASH)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "hide", die)
        with pytest.raises(KeyboardInterrupt):
            world.apply(plan)
    assert world.readable() == set()
    assert undo(world.project()).objects == 4
    assert world.readable() == seen


@on("local")
def test_nothing_to_undo(world: GcWorld) -> None:
    with pytest.raises(InvalidInputError, match="nothing in the trash"):
        undo(world.project())
    with pytest.raises(InvalidInputError, match="no clean-up"):
        undo(world.project(), "20200101-000000-abcd")
