"""Loading versions of registered models, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

import logging
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast import MLflowTracker, ModelRegistry, Project, open_project
from holdfast.backend.model_places import place_of_version
from holdfast.core.stages import Stage
from holdfast.errors import (
    ArtifactError,
    InvalidInputError,
    NotFoundError,
    RegistryError,
)
from holdfast.registry.checksums import measure
from holdfast.registry.serving.loading import download_version, lease_version, load_model, load_version
from holdfast.registry.serving.model_cache import ModelCache
from holdfast.registry.serving.resolving import resolve, wanted_of

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


@pytest.fixture
def project(tracker: MLflowTracker) -> Project:
    return open_project(tracker.settings)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "models")


@pytest.fixture
def register(tracker: MLflowTracker, project: Project, unique: str, tmp_path: Path) -> Callable[[float], str]:
    """Log a tiny real model that predicts a number and register it; returns the model's name."""

    def register(answer: float) -> str:
        import mlflow.sklearn
        from sklearn.dummy import DummyRegressor

        model = DummyRegressor(strategy="constant", constant=answer).fit([[0.0]], [answer])
        with tracker.run() as run_id:
            mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
        ModelRegistry(project).register(f"{unique}-model", f"runs:/{run_id}/model")
        return f"{unique}-model"

    return register


def answer_of(model: object) -> float:
    return float(model.predict([[1.0]])[0])  # type: ignore[attr-defined]


def test_loaded_by_stage_alias_and_number(
    project: Project, register: Callable[[float], str], cache: ModelCache
) -> None:
    register(1.0)
    name = register(2.0)
    registry = ModelRegistry(project)
    registry.promote(name, 1, "Production")
    registry.promote(name, 2, "Staging")
    environment = dict(os.environ)

    def load(**wanted: object) -> float:
        return answer_of(load_model(name, project=project, cache=cache, **wanted))  # type: ignore[arg-type]

    assert load() == load(stage="production") == load(alias="production") == load(version=1) == 1.0
    assert load(stage=Stage.STAGING) == load(alias="@staging") == load(version="2") == load(version="latest") == 2.0
    sklearn = load_model(name, version=1, project=project, flavor="sklearn", cache=False)
    assert type(sklearn).__name__ == "DummyRegressor"
    with pytest.raises(InvalidInputError, match=r"cannot be loaded as 'xgboost'") as refused:
        load(version=1, flavor="xgboost")
    assert "pyfunc, sklearn" in refused.value.hint
    for missing in ({"version": 9}, {"alias": "champion"}, {"stage": "Archived"}):
        with pytest.raises(NotFoundError):
            load(**missing)
    with pytest.raises(InvalidInputError, match="stage and version are given"):
        load(stage="Production", version=1)
    with pytest.raises(InvalidInputError, match="no model version"):
        load(version=0)
    assert dict(os.environ) == environment


def test_what_was_registered_is_what_is_loaded(
    project: Project, register: Callable[[float], str], cache: ModelCache, tmp_path: Path
) -> None:
    name = register(1.0)
    version = ModelRegistry(project).get(name, 1)
    checksum = measure(project, place_of_version(project.connection, name, 1)).checksum
    with lease_version(project, version, checksum, cache) as lease:
        assert lease.checksum == checksum
        assert cache.holds(checksum)
    into = download_version(project, version, tmp_path / "here", checksum=checksum, cache=cache)
    assert (into / "MLmodel").is_file()
    other = "sha256:" + "0" * 64
    with pytest.raises(RegistryError, match="not those that were registered"):
        load_version(project, version, checksum=other, cache=cache)
    with pytest.raises(RegistryError, match="not those that were registered"):
        load_version(project, version, checksum=other)
    with pytest.raises(InvalidInputError, match="no checksum of a model"):
        load_version(project, version, checksum="sha256:../../" + "0" * 58, cache=cache)
    assert {path.name for path in (cache.root / "entries").iterdir()} == {checksum.removeprefix("sha256:")}
    assert not list((cache.root / "arriving").iterdir())


@pytest.mark.parametrize("tracking_uri", ["sqlite", "postgresql"], indirect=True)
def test_files_of_unknown_checksum_are_never_stale(
    project: Project, register: Callable[[float], str], cache: ModelCache
) -> None:
    name = register(1.0)
    register(2.0)
    first, second = (Path(place_of_version(project.connection, name, number)) for number in (1, 2))
    version = ModelRegistry(project).get(name, 1)
    assert answer_of(load_version(project, version, cache=cache)) == 1.0
    shutil.copytree(second, first, dirs_exist_ok=True)  # as large as before
    assert answer_of(load_version(project, version, cache=cache)) == 2.0
    shutil.rmtree(first)
    with pytest.raises(ArtifactError, match="There is no"):
        load_version(project, version, cache=cache)


@pytest.mark.parametrize("tracking_uri", ["sqlite"], indirect=True)
def test_a_cache_that_cannot_be_written_keeps_nobody_from_loading(
    project: Project,
    register: Callable[[float], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = register(1.0)
    (tmp_path / "file").write_text("no folder")
    blocked = ModelCache(tmp_path / "file" / "models")
    # MLflow 3.0 switches off every logger that there is, and the root's handlers, when it makes its tables.
    log = logging.getLogger("holdfast.registry.serving.loading")
    monkeypatch.setattr(log, "disabled", False)
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    assert answer_of(load_model(name, version=1, project=project, cache=blocked)) == 1.0
    assert "the model cache cannot be used" in caplog.text


@pytest.mark.parametrize("tracking_uri", ["sqlite"], indirect=True)
def test_a_target_that_is_full_is_named(project: Project, register: Callable[[float], str], tmp_path: Path) -> None:
    name = register(1.0)
    cache, target = ModelCache(tmp_path / "models"), tmp_path / "served"
    version, checksum = project.models.get_version(name, 1), resolve(project, name, 1).checksum
    download_version(project, version, tmp_path / "before", checksum=checksum, cache=cache)
    full = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, full[1]))
    try:
        with pytest.raises(ArtifactError, match=rf"Cannot put {name} version 1 into {target}: File too large"):
            download_version(project, version, target, checksum=checksum, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, full)


def test_versions_that_cannot_be_served(project: Project, register: Callable[[float], str], tracking_uri: str) -> None:
    from mlflow import MlflowClient

    name = register(1.0)
    register(2.0)
    MlflowClient(tracking_uri=tracking_uri).delete_model_version(name, "1")
    with pytest.raises(NotFoundError):
        load_model(name, version=1, project=project)
    with pytest.raises(NotFoundError):
        load_model(f"{name}-unknown", project=project)
    if not tracking_uri.startswith("http"):
        set_status(tracking_uri, name, "PENDING_REGISTRATION")
        with pytest.raises(RegistryError, match="version 2 is PENDING_REGISTRATION, not READY"):
            load_model(name, version=2, project=project)
        set_status(tracking_uri, name, "FAILED_REGISTRATION")
        with pytest.raises(RegistryError, match="FAILED_REGISTRATION") as failed:
            load_model(name, version="latest", project=project)
        assert failed.value.hint == "register it again"


def set_status(tracking_uri: str, name: str, status: str) -> None:
    """Write what MLflow's stores write on backends that copy files (Unity Catalog), and no API of these can set."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(tracking_uri.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE model_versions SET status = :status WHERE name = :name"),
            {"status": status, "name": name},
        )
    engine.dispose()


def test_a_model_that_cannot_be_loaded_says_why(
    tracker: MLflowTracker, project: Project, unique: str, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: a_package_that_is_not_there\nmodel_uuid: x\n"
    )
    with tracker.run() as run_id:
        tracker.log_artifacts_dir(folder, "model")
    ModelRegistry(project).register(f"{unique}-model", f"runs:/{run_id}/model")
    with pytest.raises(ImportError, match="needs a_package_that_is_not_there"):
        load_model(f"{unique}-model", version=1, project=project, cache=False)


def test_what_is_asked_for_has_one_form() -> None:
    assert wanted_of(None, None, None) == wanted_of("production", None, None) == "Production"
    assert (wanted_of(None, "@champion", None), wanted_of(None, None, " 3 ")) == ("@champion", 3)
    for bad in ((None, "latest", None), (None, "v3", None), ("Best", None, None), (None, None, "two")):
        with pytest.raises(InvalidInputError):
            wanted_of(*bad)
