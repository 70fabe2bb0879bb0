"""Links below an experiment's folder keep what lies behind them; links above it are only names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from holdfast.core.cleanup.garbage import make_plan
from holdfast.core.cleanup.records import ExperimentRecord, ModelRecord, RunRecord, State, StoredObject, TraceRecord
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.maintenance.links import needs_of_links
from holdfast.maintenance.places import Places

NOW = 1_700_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "real" / "1").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    (tmp_path / "data").symlink_to("real")
    return tmp_path


def link(path: Path, to: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)
    return f"{path} -> {to}"


def kept(experiment: str, runs: Iterable[str], places: Places | None = None, **things: str) -> dict[str, str]:
    """Return what a plan keeps of an experiment whose things are all deleted, with the reasons; `a` has the things."""
    places = places or Places("sqlite:///x.db")
    place_of = places.place_of
    found = tuple(RunRecord(run, "1", place_of(f"{experiment}/{run}/artifacts"), is_deleted=True) for run in runs)
    state = State(
        (ExperimentRecord("1", "one", place_of(experiment)),),
        found,
        tuple(ModelRecord(name, "1", place_of(where), "a", True) for name, where in things.items() if name[0] == "m"),
        tuple(TraceRecord(name, "1", place_of(where), "a") for name, where in things.items() if name[0] == "t"),
    )
    state = State(state.experiments, state.runs, state.models, state.traces, needs=tuple(needs_of_links(state, places)))
    plan = make_plan(state, (), CleanupRules(older_than_s=0, grace_s=0), NOW)
    return {one.id: one.why for one in plan.kept}


@pytest.mark.parametrize("name", ["a", "a/artifacts"])
@pytest.mark.parametrize("above", ["real", "data"])
def test_a_link_to_a_run(folder: Path, name: str, above: str) -> None:
    told = link(folder / "real" / "1" / name, folder / "away")
    found = kept(f"{folder}/{above}/1", "ab")
    assert found.keys() == {"a"}
    assert f"its folder is a link: {told}" in found["a"]


def test_links_above_are_names(folder: Path) -> None:
    (folder / "real" / "two").symlink_to(folder / "away")
    for experiment in ("real/1", "data/1", "data/two", "real/two"):
        things = {"m1": f"{folder}/{experiment}/models/m1/artifacts", "t1": f"{folder}/{experiment}/traces/t1"}
        assert kept(f"{folder}/{experiment}", "ab", **things) == {}


def test_links_to_logged_models_and_traces_keep_their_run(folder: Path) -> None:
    for thing, kind in (("m1", "models"), ("t1", "traces")):
        where = folder / "data" / "1" / kind / thing
        told = link(where, folder / "away").replace("/data/", "/real/")
        found = kept(f"{folder}/data/1", "ab", **{thing: f"{where}/artifacts"})
        assert found.keys() == {"a", thing}
        assert all(told in why for why in found.values())


def test_a_link_to_nothing_and_one_to_another_run(folder: Path) -> None:
    link(folder / "real" / "1" / "a", folder / "nothing")
    link(folder / "real" / "1" / "b", folder / "real" / "1" / "c")
    assert kept(f"{folder}/data/1", "abcd").keys() == {"a", "b", "c"}


def test_a_link_to_its_own_experiment_is_no_name_of_it(folder: Path) -> None:
    for name in ("a/artifacts", "b"):
        told = link(folder / "real" / "1" / name, folder / "real" / "1")
        places = Places("sqlite:///x.db")
        places.place_of(f"{folder}/data/1/{name}")
        assert told in kept(f"{folder}/data/1", "ab", places)[name[0]]


def test_a_link_from_elsewhere(folder: Path) -> None:
    for to in ("away", "real/1"):
        told = link(folder / f"to {Path(to).name}", folder / to)
        assert told in kept(f"{folder}/real/1", (), m1=f"{folder}/to {Path(to).name}")["m1"]


def test_what_a_server_keeps(folder: Path) -> None:
    link(folder / "real" / "1" / "a", folder / "away")
    for destination in ("real", "data"):
        places = Places("http://host:5000", f"{folder}/{destination}")
        assert kept("mlflow-artifacts:/1", "ab", places).keys() == {"a"}


def test_a_link_below_a_root_is_no_orphan(folder: Path) -> None:
    link(folder / "real" / "1" / "a", folder / "away")
    places = Places("sqlite:///x.db")
    root = places.place_of(f"{folder}/data/1")
    run = RunRecord("a", "1", places.place_of(f"{folder}/data/1/a/artifacts"), is_deleted=True)
    state = State((ExperimentRecord("1", "one", root),), (run,))
    state = State(state.experiments, state.runs, needs=tuple(needs_of_links(state, places)))
    stored = [StoredObject(f"{root}/{name}", 0, 1) for name in ("a", "b/artifacts/x")]
    # Something that belongs to the store, so that the root is not taken for another's.
    mine = RunRecord("c", "1", f"{root}/c/artifacts")
    state = State(state.experiments, (*state.runs, mine), needs=state.needs)
    stored.append(StoredObject(f"{mine.place}/x", 0, 1))
    rules = CleanupRules(older_than_s=0, grace_s=0, orphans=True, roots=(root,))
    plan = make_plan(state, stored, rules, NOW)
    assert [item.id for item in plan.items] == [f"{root}/b/artifacts"]
