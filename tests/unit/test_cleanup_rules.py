"""What is garbage, what protects it, and with which words, example by example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.core.cleanup.garbage import make_plan
from holdfast.core.cleanup.plan import Action, Kind, Plan
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
from holdfast.core.cleanup.rules import CleanupRules, RetentionRule

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_000 * DAY
ROOT = "s3://b"
EXPERIMENT = ExperimentRecord("1", "games", f"{ROOT}/1")
RULES = CleanupRules(roots=(ROOT,))


def _run(run_id: str = "r", **fields: Any) -> RunRecord:
    place = f"{ROOT}/1/{run_id}/artifacts"
    deleted = {"is_deleted": True, "deleted_ms": NOW - 40 * DAY}
    return RunRecord(
        **{"run_id": run_id, "experiment_id": "1", "place": place, "ended_ms": NOW - 50 * DAY} | deleted | fields
    )


def _active(run_id: str = "r", **fields: Any) -> RunRecord:
    return _run(run_id, **{"is_deleted": False, "deleted_ms": None} | fields)


def _file(address: str, age_days: float | None = 50, form: Form = Form.OBJECT, version_id: str = "") -> StoredObject:
    modified = None if age_days is None else int(NOW - age_days * DAY)
    return StoredObject(address, 0 if form is Form.MARKER else 10, modified, form, version_id)


def _plan(objects: list[StoredObject] | None = None, rules: CleanupRules = RULES, **state: Any) -> Plan:
    return make_plan(State(**{"experiments": (EXPERIMENT,)} | state), objects or [], rules, NOW)


def _ids(plan: Plan) -> list[tuple[Kind, str, Action]]:
    return [(item.kind, item.id, item.action) for item in plan.items]


def _why(plan: Plan, found_id: str = "r") -> str:
    assert plan.items == ()
    return next(kept.why for kept in plan.kept if kept.id == found_id)


def test_a_deleted_run_goes_with_its_models_and_traces_in_all_forms() -> None:
    run = _run()
    model = ModelRecord("m-1", "1", f"{ROOT}/1/models/m-1/artifacts", "r")
    trace = TraceRecord("tr-1", "1", f"{ROOT}/1/traces/tr-1/artifacts", "r")
    objects = [
        _file(f"{run.place}/f"),
        _file(f"{run.place}/f", form=Form.OLD, version_id="v1"),
        _file(f"{run.place}/g", form=Form.MARKER),
        _file(f"{run.place}/h", form=Form.UPLOAD),
        _file(f"{model.place}/w"),
    ]
    plan = _plan(objects, runs=(run,), models=(model,), traces=(trace,))
    assert [(item.kind, item.group, item.holding.count) for item in plan.items] == [
        (Kind.TRACE, "run/r", 0),
        (Kind.MODEL, "run/r", 1),
        (Kind.RUN, "run/r", 4),
    ]
    assert plan.items[-1].why == "deleted 40 days ago"
    assert (plan.total.objects, plan.total.size_bytes, plan.total.old_bytes, plan.total.uploads) == (2, 20, 10, 1)


@pytest.mark.parametrize(
    ("run", "older_than_s", "goes"),
    [
        (_run(deleted_ms=NOW - 29 * DAY), 30 * 86_400, False),
        (_run(deleted_ms=NOW - 30 * DAY), 30 * 86_400, True),
        (_run(deleted_ms=None), 30 * 86_400, False),
        (_run(deleted_ms=None), 0, True),
        (_run(deleted_ms=NOW), 0, True),
        (_active(), 0, False),
        (_run(place=""), 0, False),
        (_run(place="mlruns/1/r"), 0, False),
        (_run(place="/disk/1/../r"), 0, False),
    ],
)
def test_the_age_and_the_place_of_a_deleted_run(run: RunRecord, older_than_s: float, goes: bool) -> None:
    plan = _plan(runs=(run,), rules=replace(RULES, older_than_s=older_than_s))
    assert bool(plan.items) is goes
    has_reason = not goes and run.is_deleted and (run.deleted_ms is None or older_than_s == 0)
    assert bool(plan.kept) is has_reason


@pytest.mark.parametrize(
    "version",
    [
        VersionRecord("fraud", 3, (), "r", "", "Production", ("champion",)),
        VersionRecord("fraud", 3, (), "", "m-1", "Production", ("champion",)),
        VersionRecord("fraud", 3, (f"{ROOT}/1/r/artifacts/model",), "", "", "Production", ("champion",)),
        VersionRecord("fraud", 3, (f"{ROOT}/1/models/m-1/artifacts/x",), "", "", "Production", ("champion",)),
    ],
)
def test_a_version_protects_its_run_and_all_of_it(version: VersionRecord) -> None:
    model = ModelRecord("m-1", "1", f"{ROOT}/1/models/m-1/artifacts", "r", is_deleted=True)
    plan = _plan([_file(f"{ROOT}/1/r/artifacts/f")], runs=(_run(),), models=(model,), versions=(version,))
    assert _why(plan).startswith("fraud version 3 (Production, alias champion) needs it")
    assert _why(plan, "m-1").startswith("fraud version 3 (Production, alias champion) needs it")


@pytest.mark.parametrize(
    "need",
    [
        Need("approval", run_id="r"),
        Need("approval", experiment_id="1"),
        Need("approval", place=f"{ROOT}/1"),
        Need("approval", place=f"{ROOT}/1/r/artifacts/data/"),
    ],
)
def test_other_needs_protect_as_well(need: Need) -> None:
    assert _why(_plan(runs=(_run(),), needs=(need,))).startswith("approval needs it")


def test_reasons_are_few_and_counted() -> None:
    needs = tuple(Need(f"approval {number}", run_id="r") for number in range(5))
    assert _why(_plan(runs=(_run(),), needs=needs)) == (
        "approval 0 needs it; approval 1 needs it; approval 2 needs it; and 2 more"
    )


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (f"{ROOT}/1", f"has all of {ROOT}/1 as its place"),
        (f"{ROOT}/1/r/artifacts", "has the same place"),
        (f"{ROOT}/1/r/artifacts/x", f"has its place in this one, {ROOT}/1/r/artifacts/x"),
    ],
)
def test_an_active_run_protects_what_shares_its_place(place: str, why: str) -> None:
    assert f"run s, which stays, {why}" in _why(_plan(runs=(_run(), _active("s", place=place))))


def test_a_place_that_only_begins_alike_protects_nothing() -> None:
    alike = _active("s", place=f"{ROOT}/1/r/artifacts2")
    assert _ids(_plan(runs=(_run(), alike))) == [(Kind.RUN, "r", Action.PURGE)]


def test_recent_writes_protect() -> None:
    written = _file(f"{ROOT}/1/r/artifacts/f", age_days=0.5)
    assert _why(_plan([written], runs=(_run(),))) == "written to after it was deleted, 12 hours ago"
    # A delete marker is no write, and what was written before the deletion is not meant.
    assert _plan([replace(written, form=Form.MARKER)], runs=(_run(),)).items
    fresh = _run(deleted_ms=NOW)
    assert _plan([written], runs=(fresh,), rules=replace(RULES, older_than_s=0)).items


def test_a_run_deleted_while_under_way_waits_for_its_last_sign_of_life() -> None:
    rules = replace(RULES, older_than_s=0)
    run = _run(status="RUNNING", started_ms=NOW - HOUR, ended_ms=None, deleted_ms=NOW)
    assert _why(_plan(runs=(run,), rules=rules)).startswith("under way when it was deleted")
    assert _plan(runs=(replace(run, started_ms=NOW - 2 * DAY),), rules=rules).items


def test_experiments_go_when_nothing_is_left_in_them() -> None:
    experiment = replace(EXPERIMENT, is_deleted=True, changed_ms=NOW - 40 * DAY)
    trace = TraceRecord("tr-1", "1")
    plan = _plan(experiments=(experiment,), runs=(_run(),), traces=(trace,))
    assert [item.kind for item in plan.items] == [Kind.TRACE, Kind.RUN, Kind.EXPERIMENT]
    living = ModelRecord("m-1", "1", f"{ROOT}/1/models/m-1/artifacts")
    plan = _plan(experiments=(experiment,), runs=(_run(),), traces=(trace,), models=(living,))
    assert [item.kind for item in plan.items] == [Kind.RUN]
    assert {kept.why for kept in plan.kept if kept.kind is Kind.EXPERIMENT} == {
        "logged model m-1 in it stays; trace tr-1 in it stays"
    }


def test_orphans() -> None:
    rules = replace(RULES, orphans=True)
    objects = [
        _file(f"{ROOT}/1/s/artifacts/known"),
        _file(f"{ROOT}/1/gone/artifacts/f"),
        _file(f"{ROOT}/1/models/m-9/artifacts/f"),
        _file(f"{ROOT}/1/young/f", age_days=0.5),
        _file(f"{ROOT}/1/young/g"),
        _file(f"{ROOT}/1/unknown/f", age_days=None),
        _file(f"{ROOT}/1/s/beside"),
        _file("s3://other/1/gone/f"),
    ]
    plan = _plan(objects, rules, runs=(_active("s"),))
    assert [item.id for item in plan.items] == [f"{ROOT}/1/gone/artifacts", f"{ROOT}/1/models/m-9"]
    assert {kept.id for kept in plan.kept} == {f"{ROOT}/1/unknown", f"{ROOT}/1/s"}
    refused = _plan(objects[1:], rules, runs=(_active("s"),))
    assert refused.items == ()
    assert "probably another's" in refused.told[0]
    assert _plan(objects, runs=(_active("s"),)).items == ()


@pytest.mark.parametrize(
    ("status", "age_days", "goes"), [("FINISHED", 2, True), ("FINISHED", 0.5, False), ("RUNNING", 2, False)]
)
def test_uploads_that_were_never_finished(status: str, age_days: float, goes: bool) -> None:
    objects = [_file(f"{ROOT}/1/r/artifacts/f", age_days, Form.UPLOAD, "id"), _file(f"{ROOT}/1/r/artifacts/g")]
    plan = _plan(objects, runs=(_active(status=status),))
    assert [(item.kind, item.holding.count) for item in plan.items] == ([(Kind.UPLOAD, 1)] if goes else [])


def test_over_rest_what_has_no_files_is_no_item() -> None:
    runs = (_run(), _run("s"))
    plan = _plan([_file(f"{ROOT}/1/s/artifacts/f")], runs=runs, has_rows=False)
    assert _ids(plan) == [(Kind.RUN, "s", Action.PURGE)]


def test_trash_needs_current_objects() -> None:
    objects = [_file(f"{ROOT}/1/r/artifacts/f"), _file(f"{ROOT}/1/s/artifacts/f", form=Form.OLD)]
    plan = _plan(objects, replace(RULES, trash=True), runs=(_run(), _run("s")))
    assert _ids(plan) == [(Kind.RUN, "r", Action.TRASH)]


@pytest.mark.parametrize(("older_than_s", "action"), [(0, Action.PURGE), (1, Action.EXPIRE)])
def test_retention_marks_runs_or_purges_them(older_than_s: float, action: Action) -> None:
    best = RetentionRule("best", keep_best=1, metric="loss", mode="min")
    runs = (
        _active("a", metrics={"loss": 0.5}),
        _active("b", metrics={"loss": 0.1}),
        _active("c", metrics={"loss": float("nan")}),
        _active("d", tags={"holdfast.keep": "1"}),
        _active("e", status="RUNNING"),
    )
    rules = replace(RULES, older_than_s=older_than_s, retention=(best,))
    assert _ids(_plan(runs=runs, rules=rules)) == [(Kind.RUN, "a", action), (Kind.RUN, "c", action)]
    needed = _plan(runs=runs, rules=rules, needs=(Need("approval", run_id="a"),))
    assert [item.id for item in needed.items] == ["c"]


def test_the_last_checkpoints_stay_by_their_numbers() -> None:
    place = f"{ROOT}/1/r/artifacts"
    names = ["e=2.ckpt", "e=10.ckpt/part", "e=9.ckpt", "last.ckpt"]
    objects = [_file(f"{place}/checkpoints/{name}") for name in names]
    objects.append(_file(f"{place}/checkpoints/e=2.ckpt", form=Form.OLD, version_id="v1"))
    rules = replace(RULES, retention=(RetentionRule("files", keep_last=2, checkpoints="checkpoints/*.ckpt"),))
    plan = _plan(objects, rules, runs=(_active(),))
    assert [(item.id, item.holding.objects, item.holding.old_versions) for item in plan.items] == [
        (f"{place}/checkpoints/e=2.ckpt", 1, 1)
    ]
    needed = _plan(objects, rules, runs=(_active(),), versions=(VersionRecord("fraud", 1, (), "r"),))
    assert "fraud version 1 needs its run" in _why(needed, f"{place}/checkpoints/e=2.ckpt")


def test_only_what_was_asked_for_goes_and_all_else_protects() -> None:
    experiments = (EXPERIMENT, ExperimentRecord("2", "sweeps", f"{ROOT}/2"))
    gone = replace(experiments[1], is_deleted=True, changed_ms=NOW - 40 * DAY)
    runs = (_run(), _run("s"), _run("t", experiment_id="2", place=f"{ROOT}/2/t/artifacts"))
    orphans = [_file(f"{ROOT}/1/s/artifacts/f"), _file(f"{ROOT}/1/x/f"), _file(f"{ROOT}/2/x/f"), _file(f"{ROOT}/3/x/f")]

    def ids(**asked: Any) -> list[str]:
        rules = replace(RULES, orphans=True, **asked)
        return [item.id for item in _plan(orphans, rules, experiments=(experiments[0], gone), runs=runs).items]

    # With experiment 2 its folders become the root's, and those are nobody's.
    assert ids() == [f"{ROOT}/1/x", f"{ROOT}/2", f"{ROOT}/3", "r", "s", "t", "2"]
    assert ids(experiment_ids=("1",)) == [f"{ROOT}/1/x", "r", "s"]
    assert ids(run_ids=("s", "t")) == ["s", "t"]
    assert ids(experiment_ids=("2",), run_ids=("s",)) == []
    inner = _run("s", place=f"{ROOT}/1/r/artifacts/s")
    asked = replace(RULES, run_ids=("r",))
    assert "run s, which stays, has its place in this one, s3://b/1/r/artifacts/s" in _why(
        _plan(rules=asked, runs=(_run(), inner))
    )


def test_a_young_file_keeps_all_that_is_loose_in_an_experiment_that_goes() -> None:
    experiment = replace(EXPERIMENT, is_deleted=True, changed_ms=NOW - 40 * DAY)
    rules = replace(RULES, orphans=True)
    objects = [_file(f"{ROOT}/2/s/artifacts/f"), _file(f"{ROOT}/1/x/f"), _file(f"{ROOT}/1/y/f", age_days=0.5)]
    active = _active("s", experiment_id="2", place=f"{ROOT}/2/s/artifacts")
    assert [item.id for item in _plan(objects, rules, experiments=(experiment,), runs=(active,)).items] == ["1"]
    assert [item.id for item in _plan(objects, rules, runs=(active,)).items] == [f"{ROOT}/1/x"]


def test_a_run_that_is_only_marked_deleted_keeps_what_shares_its_place() -> None:
    rules = replace(RULES, retention=(RetentionRule("all", older_than_s=0),))
    inner = _run("s", place=f"{ROOT}/1/r/artifacts/s")
    model = ModelRecord("m-1", "1", f"{ROOT}/1/models/m-1/artifacts", "r")
    plan = _plan(rules=rules, runs=(_active(), inner), models=(model,))
    assert _ids(plan) == [(Kind.RUN, "r", Action.EXPIRE)]
    ((name, why),) = [(kept.id, kept.why) for kept in plan.kept]
    assert name == "s"
    assert f"run r, which stays, has all of {ROOT}/1/r/artifacts as its place" in why
    both = _plan(rules=rules, runs=(_active(), replace(inner, is_deleted=False, deleted_ms=None)))
    assert _ids(both) == [(Kind.RUN, "r", Action.EXPIRE), (Kind.RUN, "s", Action.EXPIRE)]


def test_a_version_protects_the_other_models_of_a_run_that_is_gone() -> None:
    models = tuple(
        ModelRecord(f"m-{one}", "1", f"{ROOT}/1/models/m-{one}/artifacts", "gone", is_deleted=True) for one in "12"
    )
    assert len(_plan(models=models).items) == 2
    plan = _plan(models=models, versions=(VersionRecord("fraud", 3, (), "", "m-1"),))
    assert _why(plan, "m-2") == "fraud version 3 needs it"


def test_loose_folders_in_one_another_are_one() -> None:
    rules = replace(RULES, orphans=True)
    known = _file(f"{ROOT}/1/s/artifacts/f")
    objects = [known, _file(f"{ROOT}/9/f"), _file(f"{ROOT}/9/gone/artifacts/f")]
    plan = _plan(objects, rules, runs=(_active("s"),))
    assert [(item.id, item.holding.objects) for item in plan.items] == [(f"{ROOT}/9", 2)]
    uploads = [known, *(replace(one, form=Form.UPLOAD) for one in objects[1:])]
    plan = _plan(uploads, runs=(_active("s"),))
    assert [(item.kind, item.id, item.holding.uploads) for item in plan.items] == [(Kind.UPLOAD, f"{ROOT}/9", 2)]


def test_uploads_above_those_that_nobody_asked_about_stay() -> None:
    inner = ExperimentRecord("2", "sweeps", f"{ROOT}/1/x/in")
    objects = [_file(f"{ROOT}/1/s/artifacts/f")]
    objects += [_file(f"{ROOT}/1/x/{name}", form=Form.UPLOAD, version_id="id") for name in ("f", "in/y/f")]
    rules = replace(RULES, experiment_ids=("1",))
    assert _plan(objects, rules, experiments=(EXPERIMENT, inner), runs=(_active("s"),)).items == ()


def test_a_rule_about_folders_takes_no_file_of_the_same_name() -> None:
    place = f"{ROOT}/1/r/artifacts/checkpoints"
    folders = RetentionRule("folders", keep_last=0, checkpoints="checkpoints/*/")
    objects = [_file(f"{place}/e=1/part"), _file(f"{place}/e=2"), _file(f"{place}/e=2/part"), _file(f"{place}/e=3")]
    plan = _plan(objects, replace(RULES, retention=(folders,)), runs=(_active(),))
    assert [item.id for item in plan.items] == [f"{place}/e=1"]


def test_a_run_is_marked_deleted_whatever_shares_its_place() -> None:
    rules = replace(RULES, retention=(RetentionRule("all", older_than_s=0),))
    running = _active("s", status="RUNNING", place=f"{ROOT}/1/r/artifacts/s")
    assert _ids(_plan(rules=rules, runs=(_active(), running))) == [(Kind.RUN, "r", Action.EXPIRE)]


def test_uploads_at_a_place_that_was_not_listed_whole_stay() -> None:
    uploads = [_file(f"{ROOT}/1/x/f", form=Form.UPLOAD, version_id="id")]
    above = _active(place=ROOT)
    assert _plan(uploads, replace(RULES, roots=(f"{ROOT}/1",)), runs=(above,)).items == ()
    assert [item.id for item in _plan(uploads, runs=(above,)).items] == [ROOT]
