"""Clean-up of runs whose folder is a link: what lies behind it is never touched, and the run stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from gc_world import GcWorld, ids, just_before, on, whole, world_for

from holdfast.maintenance.applying import apply
from holdfast.maintenance.asking import Asked


@pytest.fixture
def world(request: pytest.FixtureRequest) -> GcWorld:
    return world_for(request)


def move(folder: Path, to: Path) -> str:
    """Move a folder to another disk, with a link in its place."""
    to.parent.mkdir(exist_ok=True)
    folder.rename(to)
    folder.symlink_to(to)
    return f"{folder} -> {to}"


def files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


@on("local")
def test_what_lies_behind_a_link_stays_with_its_run(world: GcWorld, tmp_path: Path) -> None:
    fine, moved, shared = world.deleted(3)
    told = {
        moved: move(Path(world.place(moved)).parent, tmp_path / "away" / "run"),
        shared: move(Path(world.place(shared)), tmp_path / "away" / "artifacts"),
    }
    plan = world.plan()
    assert ids(plan.items) == {fine}
    assert {kept.id: told[kept.id] in kept.why for kept in plan.kept} == dict.fromkeys(told, True)
    assert whole(world.apply(plan), plan)
    assert files_in(tmp_path / "away") == 4
    assert set(world.rows_naming(moved)) == set(world.rows_naming(shared)) >= {"runs"}
    assert not world.rows_naming(fine)
    assert all(Path(text.split(" -> ")[0]).is_symlink() for text in told.values())


@on("local")
def test_a_folder_that_becomes_a_link_after_the_plan(world: GcWorld, tmp_path: Path) -> None:
    """Before the apply, and in its middle: the same files, by the same names."""
    early, late, fine = world.deleted(3)
    plan = world.plan()
    move(Path(world.place(early)).parent, tmp_path / "away" / "early")
    with (
        pytest.MonkeyPatch.context() as patch,
        just_before(patch, "do", lambda: move(Path(world.place(late)).parent, tmp_path / "away" / "late")),
    ):
        outcome = apply(world.project(), plan, Asked(plan.rules))
    assert ids(outcome.done) == {fine}
    assert (ids(one.item for one in outcome.skipped), ids(one.item for one in outcome.refused)) == ({early}, {late})
    assert files_in(tmp_path / "away") == 4
    assert world.rows_naming(early)
    assert world.rows_naming(late)


@on("local")
def test_a_link_above_the_experiment_is_only_a_name(world: GcWorld, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    world.client.create_experiment("linked", f"{tmp_path}/data/linked")
    gone = world.deleted(2, "linked")
    assert world.place(gone[0]).startswith(f"{tmp_path}/data/")
    plan = world.plan()
    assert ids(plan.items) == set(gone)
    assert whole(world.apply(plan), plan)
    assert files_in(tmp_path / "disk") == 0
    assert not world.rows_naming(*gone)
