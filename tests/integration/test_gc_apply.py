"""Applying a plan of a clean-up on real stores: just that goes which must, and what fails is told and gone on with."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gc_world import FILES, NOW, GcWorld, ids, in_bucket
from sqlalchemy import column, create_engine, make_url, table

from holdfast.core.cleanup.plan import Action, Kind, Plan
from holdfast.core.cleanup.rules import RetentionRule
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.maintenance import applying, removing, working
from holdfast.maintenance.applying import Outcome, apply
from holdfast.maintenance.asking import Asked
from holdfast.maintenance.ledger import all_of, home_of, ledgers_in, taken
from holdfast.maintenance.survey import survey
from holdfast.maintenance.undoing import undo
from holdfast.testing import FaultProxy
from holdfast.testing import S3Access as Server
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.postgres import PostgresAccess

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not os.environ.get("HOLDFAST_LONG_TESTS"), reason="takes minutes: make test-long"),
]
TRASH = replace(NOW, trash=True)


@pytest.fixture
def local(sqlite_uri: str, tmp_path: Path) -> GcWorld:
    return GcWorld(tmp_path / "project", sqlite_uri, str(tmp_path / "root"))


@pytest.fixture(params=["local", "unversioned", "versioned"])
def world(request: pytest.FixtureRequest, sqlite_uri: str, tmp_path: Path) -> GcWorld:
    if request.param == "local":
        return GcWorld(tmp_path / "project", sqlite_uri, str(tmp_path / "root"))
    server = request.getfixturevalue("s3_server")
    return in_bucket(server, tmp_path / "project", sqlite_uri, request.param == "versioned")


@pytest.fixture
def bucket(s3_server: Server, sqlite_uri: str, tmp_path: Path) -> GcWorld:
    return in_bucket(s3_server, tmp_path / "project", sqlite_uri)


@pytest.fixture
def versioned(s3_server: Server, sqlite_uri: str, tmp_path: Path) -> GcWorld:
    return in_bucket(s3_server, tmp_path / "project", sqlite_uri, versioned=True)


def whole(outcome: Outcome, plan: Plan) -> bool:
    said = (outcome.error, outcome.skipped, outcome.refused, outcome.left)
    assert said == (None, (), (), 0)
    return set(outcome.done) == set(plan.items)


def left_of(world: GcWorld, gone: list[str]) -> set[str]:
    return {path for path in world.readable() if any(run_id in path for run_id in gone)}


# -- what goes and what stays ---------------------------------------------------------


def test_just_what_is_planned_goes(world: GcWorld) -> None:
    kept = world.runs(2)
    before, stored = world.dump(), world.stored()
    gone = world.deleted(3)
    if world.bucket:
        for run_id in gone:
            world.s3.create_multipart_upload(Bucket=world.bucket, Key=f"{world.place(run_id)[5:].partition('/')[2]}/u")
    plan = world.plan()
    assert ids(plan.items) == set(gone)
    outcome = world.apply(plan)
    assert whole(outcome, plan)
    assert world.stored() == stored
    assert world.dump() == before
    assert outcome.reclaimed.objects == 6
    assert outcome.reclaimed.size_bytes == 21
    assert outcome.rows["runs"] == 3
    assert not world.rows_naming(*gone)
    if not world.bucket:
        assert {path.parent.name for path in Path(world.root).rglob("artifacts")} == set(kept)
        assert not any(path.name in gone for path in Path(world.root).rglob("*"))
    assert world.plan().items == ()
    (summary,) = all_of(home_of(world.project()))
    assert (summary.gc_id, summary.counts["done"], summary.reclaimed.objects) == (outcome.gc_id, 3, 6)
    assert summary.ended_ms is not None


def test_models_traces_and_a_whole_experiment(world: GcWorld) -> None:
    project = world.project()
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
    assert project.runs.experiments()


def test_orphans_and_checkpoints(world: GcWorld) -> None:
    (run_id,) = world.runs(1, files={f"checkpoints/step={step}/weights": b"12" for step in range(5)})
    rules = replace(NOW, orphans=True, retention=(RetentionRule(checkpoints="checkpoints/*", keep_last=2),))
    place = world.place(run_id)
    kept = {place.replace(world.root, "root" if world.bucket else "").strip("/") + f"/checkpoints/step={n}/weights"
            for n in (3, 4)}  # fmt: skip
    world.write(f"{world.root}/one/nobodys/artifacts", FILES)
    plan = world.plan(rules)
    assert sorted(item.kind for item in plan.items) == [Kind.CHECKPOINT] * 3 + [Kind.ORPHAN]
    assert whole(world.apply(plan), plan)
    assert world.readable() == kept
    if world.bucket:
        assert len(world.stored()) == 2


def test_a_run_that_a_rule_takes(world: GcWorld) -> None:
    runs = world.runs(3)
    rule = (RetentionRule(keep_last=1),)
    marking = world.plan(replace(NOW, older_than_s=3600, retention=rule))
    assert [item.action for item in marking.items] == [Action.EXPIRE] * 2
    stored = world.stored()
    assert whole(world.apply(marking), marking)
    assert world.stored() == stored
    assert {run.info.lifecycle_stage for run in map(world.client.get_run, ids(marking.items))} == {"deleted"}
    assert set(undo(world.project()).runs) == ids(marking.items)
    assert {run.info.lifecycle_stage for run in map(world.client.get_run, runs)} == {"active"}
    plan = world.plan(replace(NOW, retention=rule))
    assert whole(world.apply(plan), plan)
    assert not world.rows_naming(*ids(plan.items))


def test_files_behind_a_server(mlflow_server: RunningMlflow, unique: str, tmp_path: Path) -> None:
    world = GcWorld(tmp_path / "project", mlflow_server.url, f"mlflow-artifacts:/{unique}")
    kept, gone = world.runs(1, unique), world.deleted(2, unique)
    experiment = world.client.get_experiment_by_name(unique).experiment_id
    plan = world.plan(replace(NOW, experiment_ids=(experiment,)))
    assert ids(plan.items) == set(gone)
    assert whole(world.apply(plan), plan)
    left = [path for path in Path(mlflow_server.artifacts, unique).rglob("*") if path.is_file()]
    assert len(left) == 2
    assert all(kept[0] in str(path) for path in left)
    assert world.plan(plan.rules).items == ()


# -- what has changed since -----------------------------------------------------------


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
    assert left_of(world, [gone]) == set()


@contextmanager
def just_before(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something once, when a worker comes to one of its steps."""
    step, pending = getattr(working.Worker, name), [do]

    def first(self: Any, *arguments: Any) -> Any:
        if pending:
            pending.pop()()
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(working.Worker, name, first)
        yield


@pytest.mark.parametrize("what", ["restored", "registered", "written"])
def test_what_changes_in_the_middle_is_skipped(world: GcWorld, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The survey has seen it as it was; the second of two pieces of work finds it otherwise."""
    monkeypatch.setattr(applying, "_CHUNK", 1)
    world.deleted(2)
    plan = world.plan()
    first, last = (item.id for item in plan.items)
    place = world.place(last)
    client, begun = world.client, [0]

    def change() -> None:
        if what == "restored":
            client.restore_run(last)
        elif what == "registered":
            world.register("net", place)
        else:
            world.write(place, {"late": b"1"})

    step = working.Worker.do

    def second(self: Any, *arguments: Any) -> Any:
        begun[0] += 1
        if begun[0] == 2:
            change()
        return step(self, *arguments)

    monkeypatch.setattr(working.Worker, "do", second)
    outcome = world.apply(plan)
    assert ids(outcome.done) == {first}
    (skipped,) = outcome.skipped
    expected = {"restored": "restored in the meantime", "registered": "registered since: net version 1",
                "written": "1 file was added since"}  # fmt: skip
    assert (skipped.item.id, skipped.why) == (last, expected[what])
    assert len(left_of(world, [last])) == 2 + (what == "written")


def test_what_is_written_while_the_rest_is_deleted(bucket: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_id,) = bucket.deleted(1)
    place, plan = bucket.place(run_id), bucket.plan()
    take = removing.Remover.take

    def taking(self: Any, *arguments: Any) -> Any:
        done = take(self, *arguments)
        bucket.write(place, {"late": b"1"})
        return done

    monkeypatch.setattr(removing.Remover, "take", taking)
    (refused,) = bucket.apply(plan).refused
    assert [failure.code for failure in refused.failures] == ["WrittenMeanwhile"]
    assert bucket.rows_naming(run_id)["runs"] == 1


def test_an_active_run_that_is_written_to_is_given_back(bucket: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = bucket.runs(2)
    place = bucket.place(first)
    plan = bucket.plan(replace(NOW, retention=(RetentionRule(keep_last=1),)))
    assert ids(plan.items) == {first}
    with just_before(monkeypatch, "_remove", lambda: bucket.write(place, {"late": b"1"})):
        outcome = bucket.apply(plan)
    assert [one.why for one in outcome.skipped] == ["1 file was added since"]
    assert bucket.client.get_run(first).info.lifecycle_stage == "active"


# -- what fails -----------------------------------------------------------------------


def deny(world: GcWorld, *keys: str, actions: tuple[str, ...] = ("s3:Delete*",)) -> dict[str, str]:
    """Return the settings of somebody who may not do all."""
    assert world.server is not None
    arn = f"arn:aws:s3:::{world.bucket}"
    resources = [f"{arn}/{key}" for key in keys] or [arn, f"{arn}/*"]
    rules = [{"Effect": "Allow", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]},
             {"Effect": "Deny", "Action": list(actions), "Resource": resources}]  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": rules}
    account = world.server.add_account(f"{world.bucket}-less-{len(keys)}", [world.bucket], policy=policy)
    return {
        "MLFLOW_AWS_ACCESS_KEY_ID": account.access_key_id,
        "MLFLOW_AWS_SECRET_ACCESS_KEY": account.secret_access_key,
    }


def test_one_key_is_refused(bucket: GcWorld) -> None:
    first, second = bucket.deleted(2)
    key = f"{bucket.place(first)[5:].partition('/')[2]}/log.txt"
    plan = bucket.plan()
    outcome = bucket.apply(plan, **deny(bucket, key))
    assert ids(outcome.done) == {second}
    (refused,) = outcome.refused
    assert [(one.address, one.code) for one in refused.failures] == [(f"s3://{bucket.bucket}/{key}", "AccessDenied")]
    assert bucket.readable() == {key}
    assert bucket.rows_naming(first)["runs"] == 1
    assert not bucket.rows_naming(second)
    again = bucket.apply(plan)  # by the same plan, with better keys
    assert (again.gc_id, ids(again.done)) == (outcome.gc_id, {first, second})
    assert (again.refused, bucket.stored()) == ((), set())


@pytest.mark.parametrize("actions", [("s3:ListBucket", "s3:ListBucketVersions"), ("s3:DeleteObject",)])
def test_a_whole_bucket_is_refused(bucket: GcWorld, local: GcWorld, actions: tuple[str, ...]) -> None:
    denied = bucket.deleted(2)
    other = replace(bucket.forget(), root=str(Path(bucket.folder).parent / "beside"), bucket="")
    gone = other.deleted(2, "elsewhere")
    plan, before = bucket.plan(), bucket.stored()
    outcome = bucket.apply(plan, **deny(bucket, actions=actions))
    assert ids(outcome.done) == set(gone)
    assert {one.item.id for one in outcome.refused} == set(denied)
    assert {failure.code for one in outcome.refused for failure in one.failures} == {"AccessDenied"}
    assert (bucket.stored(), bucket.rows_naming(*denied)["runs"]) == (before, 2)


def test_a_bucket_that_is_gone(bucket: GcWorld) -> None:
    gone = bucket.deleted(1)
    plan = bucket.plan()
    for key in bucket.readable():
        bucket.s3.delete_object(Bucket=bucket.bucket, Key=key)
    bucket.s3.delete_bucket(Bucket=bucket.bucket)
    outcome = bucket.apply(plan)
    assert (ids(one.item for one in outcome.refused), outcome.done) == (set(gone), ())
    assert bucket.rows_naming(*gone)["runs"] == 1


def test_a_server_with_hiccups(bucket: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bucket.server is not None
    bucket.deleted(3)
    plan = bucket.plan()
    with (
        FaultProxy(bucket.server.endpoint_url) as proxy,
        just_before(monkeypatch, "_remove", lambda: proxy.fail_next(3, 503)),
    ):
        outcome = bucket.apply(plan, MLFLOW_S3_ENDPOINT_URL=proxy.url, HOLDFAST_TRANSFER_DEADLINE="30")
    assert whole(outcome, plan)
    assert bucket.stored() == set()


@pytest.mark.parametrize("step", ["_still_garbage", "_remove", "_end", "_begin"])
def test_a_server_that_dies_in_the_middle(bucket: GcWorld, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    assert bucket.server is not None
    gone = bucket.deleted(3)
    plan = bucket.plan()
    with FaultProxy(bucket.server.endpoint_url) as proxy, just_before(monkeypatch, step, proxy.refuse):
        outcome = bucket.apply(plan, MLFLOW_S3_ENDPOINT_URL=proxy.url, HOLDFAST_TRANSFER_DEADLINE="1")
    if step == "_end":  # all was verified by then
        assert whole(outcome, plan)
        return
    assert outcome.error is not None
    assert outcome.error.retryable
    assert (outcome.left, outcome.done) == (3, ())
    assert bucket.rows_naming(*gone)["runs"] == 3
    again = bucket.apply(plan)
    assert whole(again, plan)
    assert (again.gc_id, bucket.stored()) == (outcome.gc_id, set())
    assert not bucket.rows_naming(*gone)


def test_rows_that_may_not_be_removed(postgres: PostgresAccess, postgres_uri: str, tmp_path: Path, canary: str) -> None:
    world = GcWorld(tmp_path / "project", postgres_uri, str(tmp_path / "root"))
    gone = world.deleted(2)
    plan, before = world.plan(), world.dump()
    url, role = make_url(postgres_uri), f"reader_{gone[0][:8]}"
    with postgres.connect(str(url.database)) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{canary}'")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            uri = url.set(username=role, password=canary).render_as_string(hide_password=False)
            outcome = replace(world, tracking_uri=uri, _project=None).apply(plan)
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")
    assert outcome.error is not None
    assert not outcome.error.retryable
    assert (ids(one.item for one in outcome.refused), outcome.done) == (set(gone), ())
    assert world.dump() == before
    again = world.apply(plan)
    assert whole(again, plan)
    assert not world.rows_naming(*gone)


def test_a_database_that_goes_before_the_rows(postgres_uri: str, tmp_path: Path, monkeypatch: Any) -> None:
    url = make_url(postgres_uri)
    world = GcWorld(tmp_path / "project", postgres_uri, str(tmp_path / "root"))
    gone = world.deleted(2)
    plan, before = world.plan(), world.dump()
    with FaultProxy(f"{url.host}:{url.port}", raw=True) as proxy:
        port = int(proxy.address.rpartition(":")[2])
        uri = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        with just_before(monkeypatch, "_end", proxy.refuse):
            outcome = replace(world, tracking_uri=uri).apply(plan)
    assert outcome.error is not None
    assert outcome.error.retryable
    assert (outcome.left, world.dump()) == (2, before)
    again = world.apply(plan)
    assert whole(again, plan)
    assert not world.rows_naming(*gone)


# -- stopping -------------------------------------------------------------------------


def test_stopped_between_two_pieces_and_gone_on_with(world: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "_CHUNK", 1)
    gone = world.deleted(3)
    plan, stop = world.plan(), threading.Event()
    with just_before(monkeypatch, "_end", stop.set):
        outcome = apply(world.project(), plan, Asked(plan.rules), stop=stop)
    assert (len(outcome.done), outcome.left, outcome.error) == (1, 2, None)
    assert world.rows_naming(*gone)["runs"] == 2
    assert whole(world.apply(plan), plan)


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


def test_one_at_a_time(local: GcWorld) -> None:
    local.deleted(1)
    plan = local.plan()
    with taken(home_of(local.project())), pytest.raises(HoldfastError, match="Another clean-up") as caught:
        local.apply(plan)
    assert caught.value.retryable
    assert whole(local.apply(plan), plan)


def test_a_broken_last_line_is_cut_off(bucket: GcWorld) -> None:
    first, second = bucket.deleted(2)
    key = f"{bucket.place(first)[5:].partition('/')[2]}/log.txt"
    plan = bucket.plan()
    bucket.apply(plan, **deny(bucket, key))
    (log,) = home_of(bucket.project()).glob("*/log.jsonl")
    with log.open("ab") as file:
        file.write(b'{"is": "done", "items": [0')
    assert ids(bucket.apply(plan).done) == {first, second}
    assert all(json.loads(line) for line in log.read_bytes().splitlines())


# -- the trash ------------------------------------------------------------------------


def test_trash_and_back(versioned: GcWorld) -> None:
    kept, gone = versioned.runs(1), versioned.deleted(3)
    before, stored, seen = versioned.dump(), versioned.stored(), versioned.readable()
    plan = versioned.plan(TRASH)
    outcome = versioned.apply(plan)
    assert whole(outcome, plan)
    assert (outcome.reclaimed.count, outcome.rows) == (0, {})
    assert all(kept[0] in key for key in versioned.readable())
    assert (stored <= versioned.stored(), versioned.dump()) == (True, before)
    assert versioned.plan(TRASH).items == ()
    done = undo(versioned.project())
    assert (done.gc_id, done.objects, done.failures, done.error) == (outcome.gc_id, 6, (), None)
    assert (versioned.stored(), versioned.readable(), versioned.dump()) == (stored, seen, before)
    assert undo(versioned.project(), outcome.gc_id).objects == 6  # again
    with pytest.raises(InvalidInputError, match="nothing in the trash"):
        undo(versioned.project())
    assert [one.undone for one in all_of(home_of(versioned.project()))] == [True]
    plan = versioned.plan()
    assert whole(versioned.apply(plan), plan)
    assert {key for key, _ in versioned.stored()} == versioned.readable()
    assert not versioned.rows_naming(*gone)


def test_an_active_run_in_the_trash_and_back(versioned: GcWorld) -> None:
    first, _ = versioned.runs(2)
    seen = versioned.readable()
    plan = versioned.plan(replace(TRASH, retention=(RetentionRule(keep_last=1),)))
    assert whole(versioned.apply(plan), plan)
    assert versioned.client.get_run(first).info.lifecycle_stage == "deleted"
    assert left_of(versioned, [first]) == set()
    assert undo(versioned.project()).runs == (first,)
    assert versioned.client.get_run(first).info.lifecycle_stage == "active"
    assert versioned.readable() == seen


@pytest.mark.parametrize("where", ["local", "bucket"])
def test_no_trash_without_versions(request: pytest.FixtureRequest, where: str) -> None:
    world: GcWorld = request.getfixturevalue(where)
    world.deleted(2)
    plan, stored, before = world.plan(TRASH), world.stored(), world.dump()
    outcome = world.apply(plan)
    assert (len(outcome.refused), outcome.done) == (2, ())
    assert "leave --trash out" in outcome.refused[0].failures[0].message
    assert (world.stored(), world.dump()) == (stored, before)


def test_what_was_written_again_is_not_brought_back(versioned: GcWorld) -> None:
    (run_id,) = versioned.deleted(1)
    place = versioned.place(run_id)
    plan = versioned.plan(TRASH)
    versioned.apply(plan)
    versioned.write(place, {"log.txt": b"new"})
    done = undo(versioned.project())
    assert (done.objects, [one.code for one in done.failures]) == (1, ["WrittenAgain"])
    assert not all_of(home_of(versioned.project()))[0].undone


def test_markers_that_were_not_noted_are_found(versioned: GcWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill between the store's answer and the ledger leaves them."""
    versioned.deleted(2)
    seen = versioned.readable()
    plan = versioned.plan(TRASH)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(applying.Ledger, "hide", die)
        with pytest.raises(KeyboardInterrupt):
            versioned.apply(plan)
    assert versioned.readable() == set()
    assert undo(versioned.project()).objects == 4
    assert versioned.readable() == seen


# -- how long it takes ----------------------------------------------------------------


def test_a_thousand_runs(bucket: GcWorld) -> None:
    """Not as long as a request for each run would take."""
    run = bucket.run("one", {})
    about = {"name": "x", "status": "FINISHED", "start_time": 1, "end_time": 2, "deleted_time": 3}
    about |= {"lifecycle_stage": "deleted", "experiment_id": int(run.experiment_id)}
    rows = [
        {"run_uuid": f"{number:032x}", "artifact_uri": f"{bucket.root}/one/{number:032x}/artifacts", **about}
        for number in range(1000)
    ]
    engine = create_engine(bucket.tracking_uri)
    with engine.begin() as connection:
        connection.execute(table("runs", *map(column, rows[0])).insert(), rows)
    engine.dispose()
    for number in range(1000):
        for name in FILES:
            bucket.s3_put(f"root/one/{number:032x}/artifacts/{name}")
    plan = bucket.plan()
    began_s = time.monotonic()
    assert whole(bucket.apply(plan), plan)
    assert time.monotonic() - began_s < 30
    assert bucket.stored() == set()


def test_nothing_to_undo(local: GcWorld) -> None:
    with pytest.raises(InvalidInputError, match="nothing in the trash"):
        undo(local.project())
    with pytest.raises(InvalidInputError, match="no clean-up"):
        undo(local.project(), "20200101-000000-abcd")


def test_the_same_plan_twice(local: GcWorld) -> None:
    gone = local.deleted(2)
    plan = local.plan()
    assert whole(local.apply(plan), plan)
    outcome = local.apply(plan)
    assert {one.item.id for one in outcome.skipped} == set(gone)
    assert survey(local.project(), Asked(NOW)).plan.items == ()
