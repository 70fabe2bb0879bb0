"""What clean-up reads of MLflow's stores, on every kind of store."""

from __future__ import annotations

import secrets

import pytest
from cleanup_scene import Scene, versions_of

from holdfast.backend.cleanup.opening import open_cleanup
from holdfast.backend.cleanup.store import CleanupStore, Wanted
from holdfast.backend.client import Connection
from holdfast.errors import InvalidInputError, SettingsError
from holdfast.testing.fixtures import RunningMlflow

databases = pytest.mark.backends("sqlite", "postgresql")


def test_runs_and_experiments_are_read_with_their_states(store: CleanupStore, scene: Scene) -> None:
    kept, gone = scene.run(color="red"), scene.run()
    scene.metrics(kept)
    scene.client.delete_run(gone)
    other = scene.client.create_experiment(f"{scene.name}-other")
    scene.client.delete_experiment(other)
    state = store.census(Wanted(details_of=frozenset({scene.experiment_id})))
    runs = {run.run_id: run for run in state.runs}
    experiments = {item.experiment_id: item for item in state.experiments}
    assert not experiments[scene.experiment_id].is_deleted
    assert experiments[other].is_deleted
    assert (experiments[other].changed_ms or 0) > 0
    assert runs[kept].place == scene.place(kept)
    assert (runs[kept].status, runs[kept].is_deleted, runs[kept].deleted_ms) == ("FINISHED", False, None)
    assert runs[kept].tags["color"] == "red"
    assert runs[kept].metrics["m2"] == 2.0
    assert runs[kept].metrics["odd"] != runs[kept].metrics["odd"]
    assert runs[gone].is_deleted
    assert (runs[gone].deleted_ms is not None) == store.has_rows
    assert state.has_rows == store.has_rows


@pytest.mark.backends("http")
def test_the_database_of_another_server(connection: Connection, sqlite_uri: str) -> None:
    with pytest.raises(SettingsError, match="is not the one behind") as caught:
        open_cleanup(connection, sqlite_uri).census(Wanted())
    assert "--backend-store-uri" in caught.value.hint


def test_tags_and_metrics_are_read_of_some_experiments_only(store: CleanupStore, scene: Scene) -> None:
    run = scene.run(color="red")
    found = next(item for item in store.census(Wanted()).runs if item.run_id == run)
    assert not found.tags
    assert not found.metrics


def test_models_and_what_uses_them(store: CleanupStore, scene: Scene) -> None:
    source, user = scene.run(), scene.run()
    mine, taken = scene.model(source), scene.model(source)
    loose = scene.model()
    scene.takes_in(user, taken)
    scene.gives_out(user, loose)
    scene.client.delete_run(source)
    state = store.census(Wanted())
    models = {model.model_id: model for model in state.models}
    assert (models[taken].run_id, models[taken].experiment_id) == (source, scene.experiment_id)
    assert models[taken].place == scene.client.get_logged_model(taken).artifact_location
    why = {need.model_id: need.why for need in state.needs}
    # Over REST MLflow 3.0 does not tell, when many runs are read at once.
    given = [run.outputs.model_outputs for run in scene.client.search_runs([scene.experiment_id]) if run.outputs]
    is_told = store.has_rows or any(given)
    assert why.get(loose) == (f"output of run {user}" if is_told else None)
    assert why.get(taken) == (f"input of run {user}" if store.has_rows else None)
    assert mine not in why
    assert all(need.run_id == "" for need in state.needs)


@databases
def test_deleted_models_are_read_from_a_database(store: CleanupStore, scene: Scene) -> None:
    model = scene.model()
    scene.client.delete_logged_model(model)
    found = {item.model_id: item for item in store.census(Wanted()).models}
    assert found[model].is_deleted


def test_versions_name_all_that_they_come_from(store: CleanupStore, scene: Scene) -> None:
    run, other = scene.run(), scene.run()
    model = scene.model(run)
    # A server lets no version name two runs.
    other = other if store.has_rows else run
    by_run, _ = scene.register(f"runs:/{run}/model", other)
    by_model, _ = scene.register(f"models:/{model}")
    by_place, _ = scene.register(f"{scene.place(run)}/net", run)
    copied, _ = scene.register(f"models:/{by_run}/1")
    scene.client.set_registered_model_alias(by_place, "champion", "1")
    state = store.census(Wanted())
    assert {item.run_id for item in versions_of(state, by_run)} == {run, other}
    assert {f"{scene.place(run)}/model"} <= {place for item in versions_of(state, by_run) for place in item.places}
    assert [(item.run_id, item.model_id) for item in versions_of(state, by_model)] == [(run, model)]
    assert [item.aliases for item in versions_of(state, by_place)] == [("champion",)]
    assert versions_of(state, by_place)[0].places == (f"{scene.place(run)}/net",)
    assert {item.run_id for item in versions_of(state, copied)} == {run, other}
    assert versions_of(store.versions(), by_model)[0].model_id == model


def test_a_deleted_version_protects_nothing(store: CleanupStore, scene: Scene) -> None:
    run = scene.run()
    name, _ = scene.register(f"{scene.place(run)}/net", run)
    scene.client.delete_model_version(name, "1")
    assert versions_of(store.census(Wanted()), name) == []


def test_files_of_a_deleted_model_that_is_registered_are_known(store: CleanupStore, scene: Scene) -> None:
    model = scene.model(scene.run())
    place = scene.client.get_logged_model(model).artifact_location
    name, _ = scene.register(f"models:/{model}")
    scene.client.delete_logged_model(model)
    assert place in versions_of(store.census(Wanted()), name)[0].places


def test_traces_of_deleted_runs_are_read(store: CleanupStore, scene: Scene) -> None:
    run, live = scene.run(), scene.run()
    mine, other = scene.trace(run), scene.trace(live)
    scene.client.delete_run(run)
    found = {item.trace_id: item for item in store.census(Wanted(every_trace=False)).traces}
    assert (found[mine].run_id, found[mine].experiment_id) == (run, scene.experiment_id)
    assert found[mine].place.endswith(f"{mine}/artifacts")
    assert other not in found


@databases
def test_all_traces_with_files_are_read_from_a_database(store: CleanupStore, scene: Scene) -> None:
    traces = {scene.trace(scene.run()), scene.trace()}
    assert traces <= {item.trace_id for item in store.census(Wanted()).traces}


@pytest.mark.backends("sqlite")
def test_versions_of_a_registry_elsewhere_are_read(
    tracking_uri: str, scene: Scene, mlflow_server: RunningMlflow
) -> None:
    apart = Connection(tracking_uri, mlflow_server.url)
    run = scene.run()
    name = f"apart-{secrets.token_hex(4)}"
    apart.client.create_registered_model(name)
    apart.client.create_model_version(name, "s3://b/net", run)
    assert versions_of(open_cleanup(apart).census(Wanted()), name)[0].run_id == run
    assert versions_of(open_cleanup(apart).versions(), name)[0].places == ("s3://b/net",)


@pytest.mark.backends("sqlite")
def test_places_are_made_by_the_caller(connection: Connection, scene: Scene) -> None:
    run = scene.run()
    state = open_cleanup(connection, place_of=lambda address: f"<{address}>").census(Wanted())
    assert next(item for item in state.runs if item.run_id == run).place == f"<{scene.place(run)}>"


def test_a_database_behind_a_server_is_used_directly() -> None:
    connection = Connection("http://127.0.0.1:9")
    assert open_cleanup(connection, "sqlite:////tmp/x.db").has_rows
    assert not open_cleanup(connection).has_rows
    with pytest.raises(InvalidInputError):
        open_cleanup(connection, "s3://bucket")
