"""Copying versions: on one server, and to another one with keys and a store of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from holdfast import MLflowTracker, ModelRegistry, Project, load_settings, open_project
from holdfast.backend.model_places import place_of_version
from holdfast.cli.models_copy import add_to
from holdfast.core.stages import Stage
from holdfast.errors import ArtifactError, InvalidInputError, NotFoundError, RegistryError, SettingsError
from holdfast.registry.checksums import measure
from holdfast.registry.copies.target import settings_in
from holdfast.registry.copies.versions import copy_version
from holdfast.registry.serving.loading import load_model
from holdfast.registry.serving.resolving import ledger_of
from holdfast.testing import Account, FaultProxy, S3Access

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")

HISTORY = [{"number": 1, "kind": "registered", "why": "a “reason”"}, {"number": 2, "kind": "moved"}]


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


@pytest.fixture
def source(tracker: MLflowTracker) -> Project:
    return open_project(tracker.settings)


@pytest.fixture
def bucket(unique: str) -> str:
    return unique.replace("_", "-").replace("[", "-").replace("]", "")[-40:].strip("-")


@pytest.fixture
def s3(s3_server: S3Access) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint_url) as found:
        yield found


@pytest.fixture
def prod_env(
    sqlite_template: Path, s3_server: S3Access, s3: FaultProxy, unique: str, bucket: str, tmp_path: Path
) -> Path:
    """The settings of a server of its own, with a bucket that nobody else's keys open."""
    account: Account = s3_server.add_account(unique, [bucket])
    (tmp_path / "prod").mkdir()
    shutil.copyfile(sqlite_template, tmp_path / "prod" / "mlflow.db")
    path = tmp_path / "prod" / ".env"
    path.write_text(
        f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/prod/mlflow.db\nMLFLOW_EXPERIMENT_NAME=copied\n"
        f"MLFLOW_AWS_ACCESS_KEY_ID={account.access_key_id}\nMLFLOW_AWS_SECRET_ACCESS_KEY={account.secret_access_key}\n"
        f"MLFLOW_S3_ENDPOINT_URL={s3.url}\nMLFLOW_ARTIFACT_ROOT=s3://{bucket}/prod\n"
    )
    return path


@pytest.fixture
def target(prod_env: Path) -> Project:
    return open_project(settings_in(prod_env))


@pytest.fixture
def register(tracker: MLflowTracker, source: Project, unique: str, tmp_path: Path) -> Callable[[float], int]:
    """Log a tiny real model with all that belongs to a run, and register it; returns the version."""

    def register(answer: float) -> int:
        import mlflow.sklearn
        from sklearn.dummy import DummyRegressor

        model = DummyRegressor(strategy="constant", constant=answer).fit([[0.0]], [answer])
        (tmp_path / "loss.csv").write_text("example,score\n1,0.5\n")
        with tracker.run() as run_id:
            mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
            for step, loss in enumerate((0.9, 0.5)):
                tracker.log_metrics({"loss": loss, "nan": float("nan")}, step=step)
            tracker.log_params({"depth": "3"})
            tracker.log_artifact(tmp_path / "loss.csv", "scores")
        source.runs.log(run_id, tags={"team": "ml", "holdfast.git.commit": "c" * 40, "holdfast.localId": "not to be"})
        made = ModelRegistry(source).register(unique, f"runs:/{run_id}/model", "the best", {"team": "ml"})
        return made.version

    return register


def answer_of(model: Any) -> float:
    return float(model.predict([[1.0]])[0])


def checksum_of(project: Project, name: str, version: int) -> str:
    return measure(project, place_of_version(project.connection, name, version)).checksum


def test_to_another_server(source: Project, target: Project, register: Callable[[float], int], unique: str) -> None:
    register(1.0)
    ModelRegistry(source).promote(unique, register(2.0), "Production")
    checksum = ledger_of(source, unique).version(2).checksum
    done = copy_version(source, unique, "Production", target, "best", checksum=checksum, history=HISTORY)
    assert (done.version.version, done.is_new, done.checksum) == (1, True, checksum)
    assert checksum_of(target, "best", 1) == checksum == ledger_of(target, "best").version(1).checksum
    assert answer_of(load_model("best", version=1, project=target, cache=False)) == 2.0
    made = ModelRegistry(target).get("best", 1)
    assert (made.description, made.tags["team"], made.stage) == ("the best", "ml", Stage.NONE)
    run = target.runs.get_run(made.run_id)
    assert (run.name, run.status) == (f"copied from {unique} version 2", "FINISHED")
    assert (run.params["depth"], run.metrics["loss"], str(run.metrics["nan"])) == ("3", 0.5, "nan")
    assert (run.tags["team"], run.tags["holdfast.git.commit"]) == ("ml", "c" * 40)
    assert "holdfast.localId" not in run.tags
    kept = target.artifacts.download(run.artifact_uri, "lineage/history.json").read_text()
    assert json.loads(kept)["history"] == HISTORY
    assert [item.path for item in target.artifacts.list_files(run.artifact_uri, "scores")] == ["scores/loss.csv"]

    again = copy_version(source, unique, 2, target, "best", history=HISTORY)
    assert (again.version.version, again.is_new) == (1, False)
    assert copy_version(source, unique, 1, target, "best").version.version == 2
    assert len(ModelRegistry(target).versions("best")) == 2


def test_to_another_model_of_the_same_server(source: Project, register: Callable[[float], int], unique: str) -> None:
    register(1.0)
    other = f"{unique}-other"
    done = copy_version(source, unique, 1, source, other)
    assert (done.version.version, done.is_new, done.files) == (1, True, 0)
    assert place_of_version(source.connection, other, 1) == place_of_version(source.connection, unique, 1)
    assert done.version.run_id == ModelRegistry(source).get(unique, 1).run_id
    assert answer_of(load_model(other, version=1, project=source, cache=False)) == 1.0
    assert not copy_version(source, unique, "latest", source, other).is_new
    with pytest.raises(InvalidInputError, match="copied to itself"):
        copy_version(source, unique, 1, source)
    for bad in (9, "Staging"):
        with pytest.raises(NotFoundError):
            copy_version(source, unique, bad, source, other)
    with pytest.raises(InvalidInputError, match="no name for a registered model"):
        copy_version(source, unique, 1, source, "a/b")
    with pytest.raises(RegistryError, match="not those that were registered"):
        copy_version(source, unique, 1, source, f"{other}-2", checksum="sha256:" + "0" * 64)
    assert ModelRegistry(source).models()
    assert f"{other}-2" not in {model.name for model in ModelRegistry(source).models()}


@pytest.mark.parametrize("tracking_uri", ["sqlite"], indirect=True)
def test_an_interrupted_copy_goes_on(
    source: Project, target: Project, s3: FaultProxy, register: Callable[[float], int], unique: str
) -> None:
    register(1.0)
    s3.answer(403, body="<Error><Code>AccessDenied</Code></Error>")
    with pytest.raises(ArtifactError):
        copy_version(source, unique, 1, target)
    assert ModelRegistry(target).models() == []
    s3.pass_on()
    done = copy_version(source, unique, 1, target)
    experiment = target.runs.find_experiment("copied")
    assert experiment is not None
    runs = target.runs.search_runs([experiment.experiment_id])
    assert [(run.run_id, run.status) for run in runs] == [(done.version.run_id, "FINISHED")]


@pytest.mark.parametrize("tracking_uri", ["sqlite"], indirect=True)
def test_on_the_command_line(
    source: Project, prod_env: Path, register: Callable[[float], int], unique: str, tmp_path: Path
) -> None:
    register(1.0)
    ModelRegistry(source).promote(unique, 1, "Staging")
    Path(".env").write_text(f"MLFLOW_TRACKING_URI={source.settings.tracking_uri}\n")
    app = typer.Typer()
    app.callback()(lambda: None)
    add_to(app)

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["copy", unique, *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    where = ("Staging", "--to-env", str(prod_env))
    assert "would be copied" in run(*where, "--dry-run")
    assert ModelRegistry(open_project(settings_in(prod_env))).models() == []
    document = json.loads(run(*where, "--json"))
    assert (document["status"], document["version"], document["name"]) == ("copied", 1, unique)
    assert "there already" in run(*where)
    assert f"is now {unique}-2 version 1" in run("1", "--to-name", f"{unique}-2")
    target = open_project(settings_in(prod_env))
    carried = target.artifacts.download(target.runs.get_run(document["run_id"]).artifact_uri, "lineage/history.json")
    kinds = [event["kind"] for event in json.loads(carried.read_text())["history"]]
    assert kinds[-2:] == ["registered", "moved"]
    with pytest.raises(InvalidInputError, match="Both a file"):
        run(*where, "--to-tracking-uri", "http://127.0.0.1:1")


def test_settings_that_say_too_little(tmp_path: Path, canary: str) -> None:
    path = tmp_path / ".env"
    for text, missing in (
        ("", "MLFLOW_TRACKING_URI is missing"),
        ("MLFLOW_TRACKING_URI=sqlite:///x.db", "MLFLOW_TRACKING_URI has a relative path"),
        ("MLFLOW_TRACKING_URI=sqlite:////tmp/x.db", "MLFLOW_ARTIFACT_ROOT is missing"),
        ("MLFLOW_TRACKING_URI=sqlite:////tmp/x.db\nMLFLOW_ARTIFACT_ROOT=here", "MLFLOW_ARTIFACT_ROOT has a relative"),
        (f"MLFLOW_TRACKING_URI=http://me:{canary}@host:5000", "MLFLOW_EXPERIMENT_NAME is missing"),
        (f"MLFLOW_AWS_SECRET_ACCESS_KEY={canary}\nMLFLOW_TRACKING_URI=http://host", ""),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError) as refused:
            settings_in(path)
        assert missing in refused.value.message
        assert canary not in str(refused.value)
    with pytest.raises(SettingsError, match="There is no file"):
        settings_in(tmp_path / "nowhere.env")
    path.write_text("MLFLOW_TRACKING_URI=http://host:5000\nMLFLOW_EXPERIMENT_NAME=x")
    assert settings_in(path).tracking_uri == load_settings(tracking_uri="http://host:5000").tracking_uri
