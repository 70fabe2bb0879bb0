"""What has changed since a clean-up was planned stays, however late it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gc_world import NOW, GcWorld, ids, just_before, on, world_for

from holdfast.core.cleanup.rules import RetentionRule
from holdfast.maintenance import applying, removing


@pytest.fixture
def world(request: pytest.FixtureRequest) -> GcWorld:
    return world_for(request)


@on("local", "versioned")
def test_what_has_changed_since_is_skipped(world: GcWorld) -> None:
    restored, registered, written, gone = world.deleted(4)
    places = {run_id: world.place(run_id) for run_id in (registered, written)}
    plan = world.plan()
    stored = world.stored()
    world.client.restore_run(restored)
    world.client.restore_run(registered)
    world.register("fraud", places[registered], registered)
    world.client.delete_run(registered)
    world.write(places[written], {"late/one": b"1", "late/two": b"2"})
    outcome = world.apply(plan)
    assert ids(outcome.done) == {gone}
    why = {one.item.id: one.why for one in outcome.skipped}
    assert why[restored] == "restored in the meantime"
    assert "fraud version 1" in why[registered]
    assert why[written] == "2 files were added since"
    assert {pair for pair in stored if gone not in pair[0]} <= world.stored()
    assert world.left_of([gone]) == set()


EXPECTED = {
    "restored": "restored in the meantime",
    "registered": "registered since: net version 1",
    "written": "1 file was added since",
}


@pytest.mark.parametrize(
    ("world", "what"),
    [("local", "restored"), ("local", "registered"), ("local", "written"), ("versioned", "written")],
    indirect=["world"],
)
def test_what_changes_in_the_middle_is_skipped(world: GcWorld, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The survey has seen it as it was; the second of two pieces of work finds it otherwise."""
    monkeypatch.setattr(applying, "_CHUNK", 1)
    world.deleted(2)
    plan = world.plan()
    first, last = (item.id for item in plan.items)
    place, client = world.place(last), world.client

    def change() -> None:
        if what == "restored":
            client.restore_run(last)
        elif what == "registered":
            world.register("net", place)
        else:
            world.write(place, {"late": b"1"})

    with just_before(monkeypatch, "do", change, time=2):
        outcome = world.apply(plan)
    assert ids(outcome.done) == {first}
    (skipped,) = outcome.skipped
    assert (skipped.item.id, skipped.why) == (last, EXPECTED[what])
    assert len(world.left_of([last])) == 2 + (what == "written")


@on("unversioned")
def test_what_is_written_while_the_rest_is_deleted(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_id,) = world.deleted(1)
    place, plan = world.place(run_id), world.plan()
    take = removing.Remover.take

    def taking(self: Any, *arguments: Any) -> Any:
        done = take(self, *arguments)
        world.write(place, {"late": b"1"})
        return done

    monkeypatch.setattr(removing.Remover, "take", taking)
    (refused,) = world.apply(plan).refused
    assert [failure.code for failure in refused.failures] == ["WrittenMeanwhile"]
    assert world.rows_naming(run_id)["runs"] == 1


@on("unversioned")
def test_an_active_run_that_is_written_to_is_given_back(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = world.runs(2)
    place = world.place(first)
    plan = world.plan(replace(NOW, retention=(RetentionRule(keep_last=1),)))
    assert ids(plan.items) == {first}
    with just_before(monkeypatch, "_remove", lambda: world.write(place, {"late": b"1"})):
        outcome = world.apply(plan)
    assert [one.why for one in outcome.skipped] == ["1 file was added since"]
    assert world.client.get_run(first).info.lifecycle_stage == "active"
