"""Applying a plan of a clean-up on real stores: just that goes which must, and what was stopped is gone on with."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gc_world import FILES, NOW, GcWorld, ids, just_before, on, whole, world_for
from sqlalchemy import Connection, Engine, event

from holdfast.core.cleanup.plan import Action, Kind
from holdfast.core.cleanup.rules import RetentionRule
from holdfast.errors import HoldfastError
from holdfast.maintenance import applying
from holdfast.maintenance.applying import apply
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.ledger import all_of, home_of, ledgers_in, taken
from holdfast.maintenance.undoing import undo
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow


@pytest.fixture
def world(request: pytest.FixtureRequest) -> GcWorld:
    return world_for(request)


# -- what goes and what stays ---------------------------------------------------------


@on("local", "unversioned", "versioned")
def test_just_what_is_planned_goes(world: GcWorld) -> None:
    kept = world.runs(1)
    before, stored = world.dump(), world.stored()
    gone = world.deleted(2)
    if world.bucket:
        for run_id in gone:
            world.s3.create_multipart_upload(Bucket=world.bucket, Key=world.key(world.place(run_id), "u"))
    plan = world.plan()
    assert ids(plan.items) == set(gone)
    outcome = world.apply(plan)
    assert whole(outcome, plan)
    assert world.stored() == stored
    assert world.dump() == before
    assert outcome.reclaimed.objects == 4
    assert outcome.reclaimed.size_bytes == 14
    assert outcome.rows["runs"] == 2
    if not world.bucket:
        assert {path.parent.name for path in Path(world.root).rglob("artifacts")} == set(kept)
        assert not any(path.name in gone for path in Path(world.root).rglob("*"))
    assert world.plan().items == ()
    (summary,) = all_of(home_of(world.project()))
    assert (summary.gc_id, summary.counts["done"], summary.reclaimed.objects) == (outcome.gc_id, 2, 4)
    assert summary.ended_ms is not None


@on("local", "versioned")
def test_models_traces_and_a_whole_experiment(world: GcWorld) -> None:
    world.runs(1, "other")
    before, stored = world.dump(), world.stored()
    run = world.run("one", FILES)
    model = world.client.create_logged_model(run.experiment_id, name="net", source_run_id=run.run_id)
    world.write(model.artifact_location, FILES)
    world.client.delete_experiment(run.experiment_id)
    plan = world.plan()
    assert [item.kind for item in plan.items] == [Kind.MODEL, Kind.RUN, Kind.EXPERIMENT]
    assert whole(world.apply(plan), plan)
    assert world.stored() == stored
    assert world.dump() == before
    if not world.bucket:
        assert not Path(world.root, "one").exists()


@on("local", "unversioned", "versioned")
def test_orphans_and_checkpoints(world: GcWorld) -> None:
    (run_id,) = world.runs(1, files={f"checkpoints/step={step}/weights": b"12" for step in range(4)})
    rules = replace(NOW, orphans=True, retention=(RetentionRule(checkpoints="checkpoints/*", keep_last=2),))
    place = world.place(run_id)
    kept = {place.replace(world.root, "root" if world.bucket else "").strip("/") + f"/checkpoints/step={n}/weights"
            for n in (2, 3)}  # fmt: skip
    world.write(f"{world.root}/one/nobodys/artifacts", FILES)
    plan = world.plan(rules)
    assert sorted(item.kind for item in plan.items) == [Kind.CHECKPOINT] * 2 + [Kind.ORPHAN]
    assert whole(world.apply(plan), plan)
    assert world.readable() == kept
    if world.bucket:
        assert len(world.stored()) == 2


@on("local", "versioned")
def test_a_run_that_a_rule_takes(world: GcWorld) -> None:
    runs = world.runs(2)
    rule = (RetentionRule(keep_last=1),)
    marking = world.plan(replace(NOW, older_than_s=3600, retention=rule))
    (marked,) = marking.items
    assert marked.action is Action.EXPIRE
    stored = world.stored()
    assert whole(world.apply(marking), marking)
    assert world.stored() == stored
    assert world.client.get_run(marked.id).info.lifecycle_stage == "deleted"
    assert undo(world.project()).runs == (marked.id,)
    assert {run.info.lifecycle_stage for run in map(world.client.get_run, runs)} == {"active"}
    plan = world.plan(replace(NOW, retention=rule))
    assert whole(world.apply(plan), plan)
    assert not world.rows_naming(marked.id)


def test_files_behind_a_server(mlflow_server: RunningMlflow, unique: str, tmp_path: Path) -> None:
    more = {"HOLDFAST_TRANSFER_DEADLINE": "60"}
    world = GcWorld(tmp_path / "project", mlflow_server.url, f"mlflow-artifacts:/{unique}", more)
    kept, gone = world.runs(1, unique), world.deleted(2, unique)
    experiment = world.client.get_experiment_by_name(unique).experiment_id
    plan = world.plan(replace(NOW, experiment_ids=(experiment,)))
    assert ids(plan.items) == set(gone)
    assert whole(world.apply(plan), plan)
    left = [path for path in Path(mlflow_server.artifacts, unique).rglob("*") if path.is_file()]
    assert len(left) == 2
    assert all(kept[0] in str(path) for path in left)
    assert world.plan(plan.rules).items == ()


@on("local")
def test_the_same_plan_twice(world: GcWorld) -> None:
    gone = world.deleted(2)
    plan = world.plan()
    assert whole(world.apply(plan), plan)
    outcome = world.apply(plan)
    assert {one.item.id for one in outcome.skipped} == set(gone)
    assert world.plan().items == ()


# -- stopping -------------------------------------------------------------------------


@on("local", "unversioned")
def test_stopped_between_two_pieces_and_gone_on_with(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "_CHUNK", 1)
    gone = world.deleted(2)
    plan, stop = world.plan(), threading.Event()
    with just_before(monkeypatch, "_end", stop.set):
        outcome = apply(world.project(), plan, Asked(plan.rules), stop=stop)
    assert (len(outcome.done), outcome.left, outcome.error) == (1, 1, None)
    assert world.rows_naming(*gone)["runs"] == 1
    assert whole(world.apply(plan), plan)


@on("local", "unversioned")
def test_ctrl_c_leaves_the_ledger_whole(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = world.deleted(2)
    plan = world.plan()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with just_before(monkeypatch, "_end", interrupt), pytest.raises(KeyboardInterrupt) as caught:
        world.apply(plan)
    (ledger,) = ledgers_in(home_of(world.project()))
    assert "goes on" in caught.value.__notes__[0]
    assert [record["is"] for record in ledger.records()][-1] == "ended"
    assert world.rows_naming(*gone)["runs"] == 2
    assert whole(world.apply(plan), plan)


@on("local")
def test_one_at_a_time(world: GcWorld) -> None:
    world.deleted(1)
    plan = world.plan()
    with taken(home_of(world.project())), pytest.raises(HoldfastError, match="Another clean-up") as caught:
        world.apply(plan)
    assert caught.value.retryable
    assert whole(world.apply(plan), plan)


@on("local")
def test_a_broken_last_line_is_cut_off(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "_CHUNK", 1)
    gone = world.deleted(2)
    plan, stop = world.plan(), threading.Event()
    with just_before(monkeypatch, "_end", stop.set):
        apply(world.project(), plan, Asked(plan.rules), stop=stop)
    (log,) = home_of(world.project()).glob("*/log.jsonl")
    with log.open("ab") as file:
        file.write(b'{"is": "done", "items": [0')
    assert ids(world.apply(plan).done) == set(gone)
    assert all(json.loads(line) for line in log.read_bytes().splitlines())


# -- how much is asked for ------------------------------------------------------------


@on("unversioned")
def test_many_runs_take_no_more_requests_than_some(world: GcWorld) -> None:
    assert world.server is not None
    statements: list[str] = []

    def note(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if world.tracking_uri.endswith(str(connection.engine.url.database)):
            statements.append(statement)

    def cost(runs: int) -> tuple[int, int]:
        world.deleted(runs, files={"log.txt": b"12"})
        plan = world.plan()
        proxy.forget()
        statements.clear()
        assert whole(world.apply(plan), plan)
        return proxy.count, len(statements)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with FaultProxy(world.server.endpoint_url) as proxy:
            world.more["MLFLOW_S3_ENDPOINT_URL"] = proxy.url
            some = cost(10)
            assert min(some) > 0
            assert cost(25) == some
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert world.stored() == set()


@on("local")
def test_a_deleted_experiment_with_a_trace_that_no_run_has(world: GcWorld) -> None:
    import mlflow

    experiment_id = world.run("one", FILES).experiment_id  # without its root a disk would be taken for unmounted
    before = world.dump()
    other = world.client.create_experiment("traced", artifact_location=f"{world.root}/traced")
    mlflow.set_tracking_uri(world.tracking_uri)
    with mlflow.start_span("alone", trace_destination=mlflow.entities.trace_location.MlflowExperimentLocation(other)):
        pass
    mlflow.flush_trace_async_logging()
    world.client.delete_experiment(other)
    plan = world.plan()
    assert [item.kind for item in plan.items] == [Kind.TRACE, Kind.EXPERIMENT]
    outcome = world.apply(plan)
    assert whole(outcome, plan)
    assert world.dump() == before
    assert world.plan().items == ()
    assert world.client.get_experiment(experiment_id).lifecycle_stage == "active"
