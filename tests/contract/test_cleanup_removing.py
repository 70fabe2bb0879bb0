"""What clean-up removes from MLflow's stores, on every kind of store."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from cleanup_scene import Scene, link, mentions
from sqlalchemy import MetaData, Table, create_engine
from sqlalchemy.engine import make_url

from holdfast.backend.cleanup.opening import open_cleanup
from holdfast.backend.cleanup.store import LINKED, NOT_DELETED, REGISTERED, RESTORED, USED, CleanupStore, Wanted, total
from holdfast.backend.client import Connection
from holdfast.core.cleanup.records import TraceRecord
from holdfast.core.redaction import Redactor
from holdfast.errors import BackendError, BackendUnavailableError, PermissionDeniedError
from holdfast.testing import PostgresAccess

databases = pytest.mark.backends("sqlite", "postgresql")
over_rest = pytest.mark.backends("http")


@databases
def test_nothing_mentions_what_was_purged(store: CleanupStore, scene: Scene, tracking_uri: str) -> None:
    run, kept = scene.run(a="1"), scene.run()
    model, evaluated = scene.model(run), scene.model(kept)
    scene.metrics(run, evaluated)
    scene.dataset(run)
    scene.takes_in(run, evaluated)
    scene.metrics(kept)
    trace = scene.trace(run)
    link(tracking_uri, trace, run)
    scene.client.delete_run(run)
    before = mentions(tracking_uri, kept)
    done = [
        total(store.purge_traces([TraceRecord(trace, scene.experiment_id)])),
        total(store.purge_models([model])),
        total(store.purge_runs([run])),
    ]
    assert [item.done for item in done] == [(trace,), (model,), (run,)]
    assert not any(item.skipped for item in done)
    assert done[2].rows["metrics"] == 7
    assert done[2].rows["runs"] == 1
    assert [mentions(tracking_uri, item) for item in (run, model, trace)] == [{}, {}, {}]
    assert mentions(tracking_uri, kept) == before
    assert scene.client.get_logged_model(evaluated).source_run_id == kept


@databases
def test_the_sums_of_a_day_that_loses_traces_are_made_anew(
    store: CleanupStore, scene: Scene, tracking_uri: str
) -> None:
    run = scene.run()
    trace, kept = scene.trace(run), scene.trace(run)
    engine = create_engine(tracking_uri)
    known = MetaData()
    known.reflect(engine)
    if "sql_trace_rollup_rebuild_queue" not in known.tables:
        pytest.skip("this MLflow keeps no sums")
    queue, sums = known.tables["sql_trace_rollup_rebuild_queue"], known.tables["sql_trace_metric_daily_rollups"]
    experiment_id, day = int(scene.experiment_id), datetime.now(UTC).date()
    mine = queue.select().where(queue.c.experiment_id == experiment_id)
    scene.client.delete_run(run)
    total(store.purge_traces([TraceRecord(trace, scene.experiment_id)]))
    with engine.begin() as connection:
        assert connection.execute(mine).all() == []  # it keeps none
        row = {"experiment_id": experiment_id, "rollup_day": day, "metric_name": "latency", "grouping_set": "global"}
        connection.execute(sums.insert(), {**row, "sample_count": 2})
    for _ in range(2):
        total(store.purge_traces([TraceRecord(kept, scene.experiment_id)]))
        with engine.begin() as connection:
            assert [tuple(row) for row in connection.execute(mine)] == [(experiment_id, day, "trace_metric")]
    engine.dispose()


@databases
def test_what_is_gone_counts_as_done(store: CleanupStore) -> None:
    missing = secrets.token_hex(16)
    assert total(store.purge_runs([missing, missing])).done == (missing,)
    assert total(store.purge_models([f"m-{missing}"])).done == (f"m-{missing}",)
    assert total(store.purge_traces([TraceRecord("tr-1", "0")])).done == ("tr-1",)
    assert total(store.purge_experiments(["424242"])).done == ("424242",)


@databases
def test_a_run_restored_in_the_meantime_stays(store: CleanupStore, scene: Scene, tracking_uri: str) -> None:
    run, gone = scene.run(), scene.run()
    model, trace = scene.model(run), scene.trace(run)
    scene.metrics(run)
    for item in (run, gone):
        scene.client.delete_run(item)
    scene.client.restore_run(run)
    before = mentions(tracking_uri, run)
    found = total(store.purge_runs([run, gone]))
    assert (found.done, found.skipped) == ((gone,), {run: RESTORED})
    assert total(store.purge_models([model])).skipped == {model: RESTORED}
    assert total(store.purge_traces([TraceRecord(trace, scene.experiment_id)])).skipped == {trace: RESTORED}
    assert mentions(tracking_uri, run) == before


@databases
@pytest.mark.parametrize("how", ["run", "runs:/", "place", "models:/", "model's place", "copy"])
def test_a_run_registered_in_the_meantime_stays(store: CleanupStore, scene: Scene, how: str) -> None:
    run = scene.run()
    model = scene.model(run)
    place = scene.client.get_logged_model(model).artifact_location
    if how == "copy":
        name, _ = scene.register(f"runs:/{run}/net")
        scene.register(f"models:/{name}/1")
        scene.client.delete_run(run)
    else:
        scene.client.delete_run(run)
        source = {
            "run": "s3://elsewhere/net",
            "runs:/": f"runs:/{run}/net",
            "place": f"{scene.place(run)}/net",
            "models:/": f"models:/{model}",
            "model's place": place,
        }[how]
        scene.register(source, run if how == "run" else None)
    assert total(store.purge_runs([run])).skipped == {run: REGISTERED}
    if "model" in how:
        assert total(store.purge_models([model])).skipped == {model: REGISTERED}


@databases
def test_models_and_traces_that_live_runs_use_stay(store: CleanupStore, scene: Scene, tracking_uri: str) -> None:
    run, live = scene.run(), scene.run()
    model, trace, alone = scene.model(run), scene.trace(run), scene.trace()
    scene.takes_in(live, model)
    scene.client.delete_run(run)
    assert total(store.purge_models([model])).skipped == {model: USED}
    assert total(store.purge_traces([TraceRecord(alone, "")])).skipped == {alone: NOT_DELETED}
    if hasattr(scene.client, "link_traces_to_run"):
        scene.client.link_traces_to_run([trace], live)
        assert total(store.purge_traces([TraceRecord(trace, "")])).skipped == {trace: LINKED}
        needs = {need.place for need in store.census(Wanted()).needs}
        assert any(trace in place for place in needs)
    scene.client.delete_run(live)
    assert total(store.purge_models([model])).done == (model,)


@databases
def test_models_whose_run_is_gone_are_purged(store: CleanupStore, scene: Scene, tracking_uri: str) -> None:
    run, live = scene.run(), scene.run()
    left, deleted, kept = scene.model(run), scene.model(live), scene.model()
    scene.client.delete_run(run)
    scene.client.delete_logged_model(deleted)
    total(store.purge_runs([run]))
    found = total(store.purge_models([left, deleted, kept]))
    assert (found.done, found.skipped) == ((left, deleted), {kept: RESTORED})
    assert mentions(tracking_uri, left) == mentions(tracking_uri, deleted) == {}


@databases
def test_an_experiment_goes_when_it_is_empty(store: CleanupStore, scene: Scene, tracking_uri: str) -> None:
    marked = f"{scene.name}-gone"
    doomed = scene.client.create_experiment(marked, tags={"marked": marked})
    run = scene.run(doomed)
    model, trace = scene.model(run, doomed), scene.trace(run, doomed)
    scene.dataset(run)
    assert total(store.purge_experiments([doomed])).skipped == {doomed: RESTORED}
    scene.client.delete_experiment(doomed)
    assert total(store.purge_experiments([doomed])).skipped == {doomed: "it still has runs"}
    total(store.purge_traces([TraceRecord(trace, doomed)]))
    total(store.purge_models([model]))
    total(store.purge_runs([run]))
    found = total(store.purge_experiments([doomed]))
    assert (found.done, found.skipped) == ((doomed,), {})
    assert found.rows["datasets"] == 1
    assert mentions(tracking_uri, marked) == {}
    assert scene.experiment_id in {item.experiment_id for item in store.census(Wanted()).experiments}


@databases
def test_a_restore_under_way_is_waited_for(store: CleanupStore, scene: Scene, tracking_uri: str) -> None:
    run = scene.run()
    scene.client.delete_run(run)
    engine = create_engine(tracking_uri)
    found: list[Any] = []
    purging = threading.Thread(target=lambda: found.append(total(store.purge_runs([run]))))
    with engine.begin() as connection:
        runs = Table("runs", MetaData(), autoload_with=connection, resolve_fks=False)
        connection.execute(runs.update().where(runs.c.run_uuid == run).values(lifecycle_stage="active"))
        purging.start()
        purging.join(0.5)
        assert purging.is_alive()
    purging.join(60)
    engine.dispose()
    assert found[0].skipped == {run: RESTORED}


@pytest.mark.backends("sqlite")
def test_a_locked_file_can_be_tried_again(scene: Scene, tracking_uri: str) -> None:
    run = scene.run()
    scene.client.delete_run(run)
    held = sqlite3.connect(make_url(tracking_uri).database or "", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    impatient = open_cleanup(Connection(f"{tracking_uri}?timeout=0.2"))
    with pytest.raises(BackendUnavailableError) as caught:
        total(impatient.purge_runs([run]))
    assert caught.value.retryable
    held.rollback()
    held.close()
    assert total(impatient.purge_runs([run])).done == (run,)


@pytest.mark.backends("postgresql")
@pytest.mark.parametrize("missing", ["runs", "metrics"])
def test_a_role_that_may_not_delete_changes_nothing(
    scene: Scene, postgres: PostgresAccess, tracking_uri: str, missing: str, canary: str
) -> None:
    run = scene.run()
    scene.metrics(run)
    scene.client.delete_run(run)
    url = make_url(tracking_uri)
    role = f"r{secrets.token_hex(6)}"
    with postgres.connect(url.database or "") as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{canary}'")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        admin.execute(f"REVOKE DELETE ON {missing} FROM {role}")
    weak = url.set(username=role, password=canary).render_as_string(hide_password=False)
    before = mentions(tracking_uri, run)
    by_role = open_cleanup(Connection(weak, redact=Redactor([canary])))
    for refused in (by_role.check_may_purge, lambda: total(by_role.purge_runs([run]))):
        with pytest.raises(PermissionDeniedError, match="may not change rows") as caught:
            refused()
        assert "GRANT" in caught.value.hint
        assert canary not in str(caught.value)
        assert mentions(tracking_uri, run) == before
    open_cleanup(Connection(tracking_uri)).check_may_purge()
    assert mentions(tracking_uri, run) == before


@pytest.mark.backends("postgresql")
def test_a_server_that_goes_away_in_the_middle(scene: Scene, postgres: PostgresAccess, tracking_uri: str) -> None:
    runs = [scene.run() for _ in range(2)]
    for run in runs:
        scene.client.delete_run(run)
    purging = open_cleanup(Connection(tracking_uri))
    name = make_url(tracking_uri).database
    holder = psycopg.connect(tracking_uri.replace("+psycopg2", "").replace("+psycopg", ""))
    holder.execute("SELECT 1 FROM runs WHERE run_uuid = %s FOR UPDATE", (runs[0],))

    errors: list[BaseException] = []

    def purge() -> None:
        try:
            total(purging.purge_runs(runs))
        except BackendError as error:
            errors.append(error)

    thread = threading.Thread(target=purge)
    thread.start()
    with postgres.connect() as admin:
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        while not (found := admin.execute(waiting, (name,)).fetchall()):
            assert thread.is_alive()
        admin.execute("SELECT pg_terminate_backend(%s)", found[0])
    thread.join(60)
    holder.close()
    assert isinstance(errors[0], BackendUnavailableError)
    assert errors[0].retryable
    assert all(mentions(tracking_uri, run) for run in runs)


# -- over REST, and MLflow's own deletion ---------------------------------------------------


@over_rest
def test_rows_cannot_be_removed_over_rest(store: CleanupStore) -> None:
    with pytest.raises(BackendError, match="rows of runs"):
        store.purge_runs(["r"])
    with pytest.raises(BackendError, match="rows of experiments"):
        store.purge_experiments(["1"])


@over_rest
def test_models_and_traces_are_deleted_over_rest(store: CleanupStore, scene: Scene) -> None:
    run, live = scene.run(), scene.run()
    mine, kept, registered = scene.model(run), scene.model(live), scene.model(run)
    scene.register(f"models:/{registered}")
    traces = [TraceRecord(scene.trace(item), scene.experiment_id, run_id=item) for item in (run, live)]
    scene.client.delete_run(run)
    models = total(store.purge_models([mine, kept, registered, "m-" + "0" * 32]))
    assert models.done == (mine, "m-" + "0" * 32)
    assert models.skipped == {kept: RESTORED, registered: REGISTERED}
    found = total(store.purge_traces(traces))
    assert (found.done, found.skipped) == ((traces[0].trace_id,), {traces[1].trace_id: RESTORED})
    assert not [item for item in store.census(Wanted()).traces if item.experiment_id == scene.experiment_id]


def test_runs_are_deleted_and_restored_as_by_mlflow(store: CleanupStore, scene: Scene) -> None:
    run, missing = scene.run(), secrets.token_hex(16)
    found = total(store.delete_runs([run, missing]))
    assert found.done == (run,)
    assert list(found.skipped) == [missing]
    assert scene.client.get_run(run).info.lifecycle_stage == "deleted"
    assert total(store.restore_runs([run])).done == (run,)
    assert scene.client.get_run(run).info.lifecycle_stage == "active"
