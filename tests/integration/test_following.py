"""Following Production on a real server: swaps, outages, versions that cannot be loaded, and the end."""

from __future__ import annotations

import _thread
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from journaling import until
from typer.testing import CliRunner

from holdfast import MLflowTracker, ModelRegistry, Project, open_project
from holdfast.cli.models_load import add_to
from holdfast.errors import BackendUnavailableError, InvalidInputError, NotFoundError, RegistryError
from holdfast.registry.serving.following import follow
from holdfast.registry.serving.loading import load_model
from holdfast.registry.serving.model_cache import ModelCache
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow

Release = Callable[[float], int]


def answer_of(model: Any) -> float:
    return float(model.predict([[1.0]])[0])


@pytest.fixture
def tracker(mlflow_server: RunningMlflow, unique: str) -> MLflowTracker:
    return MLflowTracker(tracking_uri=mlflow_server.url, experiment_name=unique)


@pytest.fixture
def registry(tracker: MLflowTracker) -> ModelRegistry:
    return ModelRegistry(open_project(tracker.settings))


@pytest.fixture
def release(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> Release:
    """Log a tiny real model that predicts a number, register it, and make it Production; returns the version."""

    def release(answer: float) -> int:
        import mlflow.sklearn
        from sklearn.dummy import DummyRegressor

        model = DummyRegressor(strategy="constant", constant=answer).fit([[0.0]], [answer])
        with tracker.run() as run_id:
            mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
        made = registry.register(unique, f"runs:/{run_id}/model").version
        registry.promote(unique, made, "Production")
        return made

    return release


@pytest.fixture
def project(proxy: FaultProxy) -> Project:
    """A project that reaches the server through a network that fails on command."""
    return open_project(tracking_uri=proxy.url)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models")


def test_production_is_swapped_in_and_out(
    release: Release, registry: ModelRegistry, project: Project, proxy: FaultProxy, cache: ModelCache, unique: str
) -> None:
    release(1.0)
    seen: list[tuple[int, float]] = []

    def note(model: Any, version: Any) -> None:
        seen.append((version.version, answer_of(model)))
        raise ValueError("a callback with a bug")

    with follow(unique, callback=note, interval_s=0.05, project=project, cache=cache) as production:
        assert (answer_of(production.model), seen) == (1.0, [(1, 1.0)])
        release(2.0)
        until(lambda: answer_of(production.model) == 2.0)
        registry.promote(unique, 1, "Production")
        until(lambda: answer_of(production.model) == 1.0)
        proxy.forget()
        until(lambda: proxy.count >= 10)
        assert {line.split("?")[0].split("/api/2.0/mlflow/")[1] for line in proxy.passed} == {"registered-models/alias"}
    until(lambda: len(seen) == 3)
    assert seen == [(1, 1.0), (2, 2.0), (1, 1.0)]
    release(3.0)
    assert answer_of(production.model) == 1.0  # nobody follows any more
    assert [thread for thread in threading.enumerate() if thread.name == "holdfast-follow" and thread.is_alive()] == []


def test_an_outage_is_said_once_and_survived(
    release: Release,
    project: Project,
    proxy: FaultProxy,
    cache: ModelCache,
    unique: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release(1.0)
    caplog.set_level(logging.INFO, logger="holdfast")
    with follow(unique, interval_s=0.05, project=project, cache=cache) as production:
        proxy.refuse()
        until(lambda: production._lookout.pause_s > 0.3)
        assert answer_of(production.model) == 1.0
        release(2.0)
        proxy.pass_on()
        until(lambda: answer_of(production.model) == 2.0)
        until(lambda: production._lookout.pause_s == 0.05)
    said = [
        record.message for record in caplog.records if record.name.startswith("holdfast.registry.serving.following")
    ]
    assert len([text for text in said if "the model stays" in text]) == 1
    assert len([text for text in said if "answers again" in text]) == 1


def test_a_version_that_cannot_be_loaded_keeps_the_old_one(
    release: Release,
    tracker: MLflowTracker,
    registry: ModelRegistry,
    project: Project,
    cache: ModelCache,
    unique: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release(1.0)
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: not_there_at_all\n")
    with tracker.run() as run_id:
        tracker.log_artifacts_dir(folder, "model")
    with follow(unique, interval_s=0.05, project=project, cache=cache) as production:
        broken = registry.register(unique, f"runs:/{run_id}/model").version
        registry.promote(unique, broken, "Production")
        until(lambda: "cannot be loaded" in caplog.text)
        until(lambda: production._failures >= 2)
        assert (answer_of(production.model), production.version and production.version.version) == (1.0, 1)
        release(3.0)
        until(lambda: answer_of(production.model) == 3.0)
    assert caplog.text.count("a new version cannot be loaded") == 1
    with pytest.raises(ImportError, match="not_there_at_all"):
        load_model(unique, version=broken, project=project, cache=cache)


def calls_of(thread_name: str) -> set[str]:
    """Return the functions that a thread is in."""
    found = [thread.ident for thread in threading.enumerate() if thread.name == thread_name]
    frames = [sys._current_frames().get(ident or 0) for ident in found]
    return {call.name for frame in frames for call in traceback.extract_stack(frame)}


def test_closing_waits_for_no_request(
    release: Release, project: Project, proxy: FaultProxy, cache: ModelCache, unique: str
) -> None:
    release(1.0)
    calls: list[int] = []
    following = follow(
        unique, callback=lambda _, v: calls.append(v.version), interval_s=0.05, project=project, cache=cache
    )
    with following:
        proxy.black_hole()
        until(lambda: "send" in calls_of("holdfast-follow"))
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5.0
    assert calls == [1]


def test_where_there_is_nothing_yet(release: Release, project: Project, cache: ModelCache, unique: str) -> None:
    with pytest.raises(NotFoundError), follow(unique, project=project, cache=cache):
        pass
    with follow(unique, interval_s=0.05, project=project, cache=cache, must_exist=False) as production:
        assert production.current is None
        release(1.0)
        until(lambda: production.model is not None)
    for bad in ({"stage": "Archived"}, {"stage": "None"}, {"alias": "v1"}, {"interval_s": 0}):
        with pytest.raises(InvalidInputError):
            follow(unique, project=project, **bad)  # type: ignore[arg-type]


def test_loaded_while_the_registry_is_down(
    release: Release,
    project: Project,
    proxy: FaultProxy,
    cache: ModelCache,
    unique: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release(1.0)
    assert answer_of(load_model(unique, project=project, cache=cache)) == 1.0
    proxy.refuse()
    later = open_project(tracking_uri=proxy.url)  # as after a restart
    assert answer_of(load_model(unique, project=later, cache=cache)) == 1.0
    assert "the registry does not answer" in caplog.text
    with follow(unique, interval_s=60, project=later, cache=cache) as production:
        assert answer_of(production.model) == 1.0
    for wanted in ({"version": 1}, {"stage": "Staging"}):  # never asked for before
        with pytest.raises(BackendUnavailableError):
            load_model(unique, project=later, cache=cache, **wanted)  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailableError):
        load_model(unique, project=later, cache=False)


def test_files_that_were_changed_are_not_loaded(
    release: Release, mlflow_server: RunningMlflow, project: Project, cache: ModelCache, unique: str
) -> None:
    release(1.0)
    assert answer_of(load_model(unique, project=project, cache=cache)) == 1.0
    version = ModelRegistry(project).get(unique, 1)
    model = next(Path(mlflow_server.artifacts).rglob(f"{version.source.removeprefix('models:/')}/artifacts/MLmodel"))
    model.write_text(model.read_text() + "\n# changed\n")
    with pytest.raises(RegistryError, match="not those that were registered"):
        load_model(unique, project=project, cache=False)
    assert answer_of(load_model(unique, project=project, cache=cache)) == 1.0  # what was registered is kept


# -- the command line ---------------------------------------------------------------------


def run(proxy: FaultProxy, *arguments: str) -> Any:
    import typer

    app = typer.Typer()
    app.callback()(lambda: None)
    add_to(app)
    Path(".env").write_text(f"MLFLOW_TRACKING_URI={proxy.url}\n")
    return CliRunner().invoke(app, list(arguments))


def test_watch_and_download(release: Release, proxy: FaultProxy, unique: str, tmp_path: Path) -> None:
    assert isinstance(run(proxy, "watch", unique, "--once").exception, NotFoundError)
    release(1.0)
    once = run(proxy, "watch", unique, "--once", "--json")
    assert {key: json.loads(once.stdout)[key] for key in ("name", "wanted", "version")} == {
        "name": unique,
        "wanted": "Production",
        "version": 1,
    }
    done = run(proxy, "download", unique, "production", "--into", str(tmp_path / "here"), "--json")
    assert json.loads(done.stdout)["version"] == 1
    assert (tmp_path / "here" / "MLmodel").is_file()
    assert f"{unique} version 1 is in " in run(proxy, "download", unique, "@production").stdout
    assert Path(f"{unique}-1", "MLmodel").is_file()

    def interrupt() -> None:
        until(lambda: proxy.count >= 5)
        _thread.interrupt_main()

    proxy.forget()
    threading.Thread(target=interrupt).start()
    watched = run(proxy, "watch", unique, "--interval", "0.05")
    assert (watched.exit_code, watched.stdout.count("\n")) == (0, 1)
    assert watched.stdout.rstrip().endswith(f"{unique} Production: version 1")
    proxy.refuse()
    assert isinstance(run(proxy, "watch", unique, "--once").exception, BackendUnavailableError)
