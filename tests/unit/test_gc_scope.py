"""Where a survey looks, what it keeps of what it finds, and what it remembers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.cleanup.places import PlaceMap
from holdfast.core.cleanup.records import (
    ExperimentRecord,
    Form,
    ModelRecord,
    Need,
    RunRecord,
    State,
    StoredObject,
    TraceRecord,
    VersionRecord,
)
from holdfast.core.cleanup.rules import CleanupRules
from holdfast.errors import HoldfastError, SettingsError
from holdfast.maintenance import listing
from holdfast.maintenance.asking import configured
from holdfast.maintenance.listing import Findings, on_empty_disks, on_missing_disks, worth_listing
from holdfast.maintenance.scope import outermost, roots_of, scope_of
from holdfast.maintenance.seen import home_of, with_ages
from holdfast.settings import Settings, load_settings

RULES = CleanupRules(older_than_s=0, grace_s=0)
NOW = 1_700_000_000_000


def experiment(number: int, place: str = "", **changes: Any) -> ExperimentRecord:
    return ExperimentRecord(str(number), f"e{number}", place or f"s3://b/r/{number}", **changes)


def runs(number: int, count: int, is_deleted: bool = True, first: int = 0, root: str = "s3://b/r") -> list[RunRecord]:
    ids = (f"{number}-{run}" for run in range(first, first + count))
    return [
        RunRecord(run_id, str(number), f"{root}/{number}/{run_id}/artifacts", is_deleted=is_deleted) for run_id in ids
    ]


def test_an_experiment_is_listed_as_a_whole_where_much_of_it_may_go() -> None:
    many, few = runs(1, 10), runs(2, 9)
    buried = [*runs(3, 10), *runs(3, 91, is_deleted=False, first=10)]
    state = State((experiment(1), experiment(2), experiment(3)), (*many, *few, *buried))
    found = scope_of(state, RULES, NOW)
    assert set(found.places) == {"s3://b/r/1", *(run.place for run in few), *(run.place for run in buried[:10])}
    assert len(found.wanted) == 29
    folders = State((experiment(1, "/r/1"),), tuple(runs(1, 20, root="/r")))
    assert len(scope_of(folders, RULES, NOW).places) == 20


def test_what_is_needed_is_not_listed() -> None:
    state = State((experiment(1),), tuple(runs(1, 3)), needs=(Need("it", run_id="1-0"),))
    assert scope_of(state, RULES, NOW).places == ("s3://b/r/1/1-1/artifacts", "s3://b/r/1/1-2/artifacts")


def test_roots() -> None:
    known = [experiment(1), experiment(2, "s3://b/r/2/in"), experiment(3, "s3://whole"), experiment(4, "relative/")]
    assert roots_of(known, ["s3://b/r"], ())[0] == ("s3://b/r",)
    assert roots_of(known, ["s3://b/r"], ("1", "2"))[0] == ("s3://b/r/1", "s3://b/r/2/in")
    roots, told = roots_of(known, ["s3://whole"], ())
    assert set(roots) == {"s3://whole", "s3://b/r/1", "s3://b/r/2/in"}
    assert ["looks like an orphan" in text for text in told] == [True]
    assert "s3://whole" in roots_of(known, [], ())[1][0]
    assert outermost(["/a/b", "/a", "/ab", "/a/c/d"]) == ("/a", "/ab")


def test_findings_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_IN_MEMORY_BYTES", 1)
    found = [StoredObject(f"/x/\udce4{number}", number, None, form, "v") for number, form in enumerate(Form)]
    with Findings() as findings:
        findings.add(found[:1])
        assert list(findings) == found[:1]
        findings.add(found[1:])
        assert list(findings) == list(findings) == found
        assert findings.count == len(found)


def test_missing_disks(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    known = [f"{tmp_path}/{name}" for name in ("there/1", "gone/1", "project/art/1")]
    experiments = PlaceMap((place, None) for place in known)
    places = [*(f"{place}/run/artifacts" for place in known), f"{tmp_path}/lost/9/run/artifacts", "s3://b/x"]
    found = on_missing_disks(places, experiments, f"{tmp_path}/project")
    assert [trouble.place for trouble in found] == [f"{tmp_path}/gone", f"{tmp_path}/lost"]


def test_a_folder_that_is_empty_though_it_holds_files(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    (root / "1").mkdir(parents=True)
    gone = RunRecord("gone", "1", f"{root}/1/gone/artifacts", is_deleted=True)
    wanted = [gone.place, "s3://b/x"]
    model = ModelRecord("m-1", "1", f"{root}/1/models/m-1/artifacts", "live")

    def found(*models: ModelRecord, runs: tuple[RunRecord, ...] = (gone,), **more: Any) -> list[str]:
        return [trouble.place for trouble in on_empty_disks(wanted, State((experiment(1),), runs, models, **more))]

    assert found(model) == found(replace(model, run_id="")) == [f"{root}/1"]
    assert found(versions=(VersionRecord("net", 1, (f"{gone.place}/model",)),)) == [f"{root}/1"]
    # These may be gone already, and a trace, like a run, may have no files.
    assert found() == found(replace(model, is_deleted=True)) == found(replace(model, run_id="gone")) == []
    assert found(traces=(TraceRecord("t-1", "1", f"{root}/1/traces/t-1"),)) == []
    assert on_empty_disks(wanted, State((experiment(1, is_deleted=True),), (gone,), (model,))) == []
    assert found(replace(model, place=f"{tmp_path}/other/models/m-1")) == found(replace(model, place="s3://b/y")) == []
    (root / "1" / "any").touch()
    assert found(model) == []


def test_an_experiment_that_was_never_used(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    places = [f"{tmp_path}/there", f"{tmp_path}/gone", f"{tmp_path}/gone", "s3://b/r", "mlflow-artifacts:/1"]
    experiments = tuple(experiment(number, place) for number, place in enumerate(places))
    state = State(experiments, tuple(runs(2, 1)))
    assert [item.experiment_id for item in worth_listing(state)] == ["0", "2", "3", "4"]
    for used in (
        State(experiments, models=(ModelRecord("m", "1", ""),)),
        State(experiments, traces=(TraceRecord("t", "1"),)),
    ):
        assert "1" in [item.experiment_id for item in worth_listing(used)]


# -- settings -------------------------------------------------------------------------


def settings(**gc: Any) -> Settings:
    return load_settings(tracking_uri="http://127.0.0.1:9", gc=gc)


def test_the_table_of_clean_up() -> None:
    found = configured(settings(**{"older-than": "90d", "rules": [{"keep-last": 3}]}))
    assert (found.older_than_s, found.grace_s) == (90 * 86_400, None)
    assert [rule.keep_last for rule in found.retention] == [3]
    assert configured(settings()) == configured(settings(rules=[]))
    with pytest.raises(SettingsError) as caught:
        configured(settings(older="1d", grace=5, rules=[{"keep": 1}]))
    for text in ("did you mean older-than", "grace is '5'", "keep-last"):
        assert text in str(caught.value)


def test_the_table_in_pyproject(tmp_path: Path) -> None:
    text = '[tool.holdfast.gc]\nolder-than = "2w"\n[[tool.holdfast.gc.rules]]\nkeep-last = 2\n'
    Path("pyproject.toml").write_text(text)
    found = load_settings()
    assert configured(found).older_than_s == 14 * 86_400
    assert "older-than" in next(row.shown for row in found.describe() if row.field == "gc")


# -- what is remembered ---------------------------------------------------------------


def test_since_when_runs_are_deleted() -> None:
    found = settings()
    one, two = runs(1, 2)
    live = replace(two, is_deleted=False)
    first = with_ages(State(runs=(one, live)), found, NOW)
    assert [run.deleted_ms for run in first.runs] == [NOW, None]
    second = with_ages(State(runs=(one, two)), found, NOW + 5)
    assert [run.deleted_ms for run in second.runs] == [NOW, NOW + 5]
    with_ages(State(runs=(live,)), found, NOW + 6)
    assert [run.deleted_ms for run in with_ages(State(runs=(one, two)), found, NOW + 7).runs] == [NOW + 7] * 2
    assert [run.deleted_ms for run in with_ages(State(runs=(one,)), found, NOW - 9).runs] == [NOW - 9]
    assert (home_of(found).parent / ".gitignore").exists()


def test_a_store_that_says_it_needs_no_note() -> None:
    found = settings()
    known = replace(runs(1, 1)[0], deleted_ms=5)
    assert with_ages(State(runs=(known,)), found, NOW).runs == (known,)
    assert not home_of(found).exists()


def test_a_note_that_is_broken_or_of_a_later_release() -> None:
    found = settings()
    state = State(runs=tuple(runs(1, 1)))
    with_ages(state, found, NOW)
    (path,) = home_of(found).glob("seen-*.json")
    path.write_text("{")
    assert with_ages(state, found, NOW + 1).runs[0].deleted_ms == NOW + 1
    path.write_text(json.dumps({"format": 9}))
    with pytest.raises(HoldfastError, match="later release"):
        with_ages(state, found, NOW)
