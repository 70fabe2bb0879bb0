"""What `ModelVersioning` promises, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

import logging
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import ModelVersioning
from holdfast.errors import BackendUnavailableError, InvalidInputError, SettingsError
from holdfast.testing import FaultProxy
from holdfast.testing.fixtures import RunningMlflow
from holdfast.testing.ports import free_port
from holdfast.testing.s3 import S3Access

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")

STAGES = ("Staging", "Production", "Archived", "None")
S3_TRACKING = "s3://nba-sim-raw-data-lake/mlflow"


@pytest.fixture
def config(tracking_uri: str, unique: str, tmp_path: Path) -> dict[str, Any]:
    """The dictionary of the older interface; a server decides itself where files lie."""
    root = {} if tracking_uri.startswith("http") else {"artifact_location": str(tmp_path / "artifacts")}
    return {"tracking_uri": tracking_uri, "experiment_name": unique, "default_tags": {"team": "ml-engineering"}, **root}


@pytest.fixture
def versioning(config: dict[str, Any]) -> ModelVersioning:
    made = ModelVersioning(config)
    assert made.setup()
    return made


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged as an error meanwhile. MLflow 3.0 sets up logging anew, so that pytest's own handlers are gone."""
    lines: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("holdfast.registry.versioning")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def train(versioning: ModelVersioning, name: str, answer: float) -> dict[str, Any]:
    """Do what a training script does: plain `mlflow.*` inside a run of the experiment, then `register_model`."""
    import mlflow
    import mlflow.sklearn
    from sklearn.dummy import DummyRegressor

    with mlflow.start_run(experiment_id=versioning.experiment_id) as run:
        model = DummyRegressor(strategy="constant", constant=answer).fit([[0.0]], [answer])
        mlflow.log_params({"algorithm": "constant"})
        mlflow.log_metrics({"accuracy": 0.63, "f1_score": 0.64})
        # With skops, MLflow's default, each process that loads the model would import PyTorch too.
        mlflow.sklearn.log_model(
            model, name="model", serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )
        return versioning.register_model(
            model_name=name, model_artifact_path="model", run_id=run.info.run_id, description=f"answers {answer}"
        )


def asked(found: dict[str, Any] | None) -> tuple[int, str] | None:
    return None if found is None else (found["version"], found["stage"])


def test_both_names_are_one_class() -> None:
    assert holdfast.ModelVersioningWithMlflow is ModelVersioning


@pytest.mark.backends("http")
def test_the_training_script_of_the_older_interface(versioning: ModelVersioning, unique: str) -> None:
    import mlflow.pyfunc

    name = f"{unique}-model"
    first = train(versioning, name, 1.0)
    assert (first["model_name"], first["version"], first["stage"], first["status"]) == (name, 1, "None", "READY")
    assert (first["tags"], first["description"]) == ({"team": "ml-engineering"}, "answers 1.0")
    assert versioning.promote_model(name, version=1, stage="Production")
    second = train(versioning, name, 2.0)
    assert second["version"] == 2
    assert versioning.promote_model(name, 2, "Staging")
    assert versioning.promote_model(name, 2, "Production", "better on last season")

    assert asked(versioning.get_model_version(name, version=1)) == (1, "Archived")
    assert asked(versioning.get_model_version(name, stage="Production")) == (2, "Production")
    # Where setup pointed plain MLflow, both addresses are the same version.
    for uri in (f"models:/{name}/Production", f"models:/{name}@production"):
        assert float(mlflow.pyfunc.load_model(uri).predict([[1.0]])[0]) == 2.0
    assert versioning.rollback_model(name, reason="log loss doubled")
    assert asked(versioning.get_model_version(name, stage="Production")) == (1, "Production")
    assert not versioning.rollback_model(name, version=1)  # it is there already
    assert not versioning.rollback_model(name, version=0)
    assert versioning.rollback_model(name, version=2)

    told = [(event["kind"], event.get("version"), event.get("why", "")) for event in versioning.get_model_history(name)]
    assert [item for item in told if item[0] != "adopted"] == [
        ("registered", 1, ""),
        ("moved", 1, ""),
        ("registered", 2, ""),
        ("moved", 2, ""),
        ("moved", 2, "better on last season"),
        ("rolled back", 1, "log loss doubled"),
        ("rolled back", 2, ""),
    ]
    assert versioning.get_model_history(f"{unique}-other") == []


def test_every_method_for_every_stage(versioning: ModelVersioning, unique: str) -> None:
    name = f"{unique}-model"
    train(versioning, name, 1.0)
    train(versioning, name, 2.0)
    for stage in (*STAGES, "production", "ARCHIVED", "none", "Staging"):
        proper = str(stage).capitalize()
        assert versioning.promote_model(name, 1, stage)
        assert asked(versioning.get_model_by_version(name, 1)) == (1, proper)
        assert asked(versioning.get_model_version(name, version="1")) == (1, proper)
        # Version 2 was never moved, and is the newest in None.
        there = (2, "None") if proper == "None" else (1, proper)
        assert asked(versioning.get_model_version(name, stage=proper.lower())) == there
        assert asked(versioning.get_latest_model(name, proper)) == there
        assert float(versioning.load_model(name, proper).predict([[0.0]])[0]) == there[0]
        aliased = proper in ("Staging", "Production")
        found = versioning.get_model_version(name, alias=proper.lower()) if proper != "None" else None
        assert asked(found) == ((1, proper) if aliased else None)
        assert asked(versioning.get_model_version(name, stage=f"@{proper.lower()}x")) is None
    assert not versioning.promote_model(name, 1, None)  # a forgotten variable takes nothing out of its stage
    assert asked(versioning.get_model_version(name, alias="@staging")) == (1, "Staging")
    assert asked(versioning.get_latest_model(name)) == asked(versioning.get_model_version(name)) == (2, "None")
    assert float(versioning.load_model(name, version=2).predict([[0.0]])[0]) == 2.0
    assert float(versioning.load_model(name, alias="staging").predict([[0.0]])[0]) == 1.0


def test_what_is_not_there_and_what_cannot_be(versioning: ModelVersioning, unique: str, logged: list[str]) -> None:
    name = f"{unique}-model"
    assert versioning.get_model_version(name) is None
    assert versioning.get_latest_model(name, "Production") is None
    train(versioning, name, 1.0)
    assert versioning.get_model_by_version(name, 2) is None
    for version in (0, -1, "0", "two", 1.5):
        with pytest.raises(InvalidInputError, match="no model version"):
            versioning.get_model_version(name, stage="None", version=version)  # type: ignore[arg-type]
        assert not versioning.promote_model(name, version, "Production")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        versioning.get_model_version(name, alias="")
    with pytest.raises(InvalidInputError, match="beside"):
        versioning.get_model_version(name, "Production", alias="champion")
    logged.clear()
    for number, stage in ((1, "Best"), (2, "Staging"), (1, 3)):
        assert not versioning.promote_model(name, number, stage)  # type: ignore[arg-type]
    assert not versioning.promote_model(name, version=1, stage=None)  # a variable that was forgotten
    assert [line.startswith("promotion failed") and "hint=" in line for line in logged] == [True] * 4
    assert asked(versioning.get_model_version(name, stage="none", version=1)) == (1, "None")
    for elsewhere in ("Staging", "champion"):
        assert versioning.get_model_version(name, stage=elsewhere, version=1) is None
    assert asked(versioning.get_model_by_version(name, 1)) == (1, "None")
    with pytest.raises(InvalidInputError, match="none is active"):
        versioning.register_model(name)
    with pytest.raises(InvalidInputError, match="has no model"):
        versioning.register_model(name, "elsewhere", versioning.get_latest_model(name)["run_id"])  # type: ignore[index]


def test_the_demonstration(versioning: ModelVersioning, unique: str) -> None:
    done = versioning.execute(f"{unique}-demo")
    assert (done["success"], done["model_version"], done["final_stage"]) == (True, 1, "Production"), done
    assert (done["failed_step"], done["error"]) == (None, None)
    run = versioning.project.runs.get_run(done["run_id"])
    assert (run.status, run.metrics, run.tags["team"]) == ("FINISHED", done["metrics"], "ml-engineering")
    # The registered model is the fitted one: it calls unseen cases as its metrics say.
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    features, labels = load_breast_cancer(return_X_y=True)
    _, unseen, _, answers = train_test_split(features, labels, test_size=0.25, random_state=0)
    called = versioning.load_model(done["model_name"]).predict(unseen)
    assert (called == answers).mean() == pytest.approx(done["metrics"]["test/accuracy"])
    again = versioning.execute(f"{unique}-demo")
    assert (again["model_version"], again["final_stage"]) == (2, "Production")
    versioning.cleanup()
    with pytest.raises(InvalidInputError, match="setup"):
        versioning.execute(f"{unique}-demo")


@pytest.mark.parametrize(
    ("policy", "failed_step", "final_stage"),
    [
        ('min = { "test/auc" = 0.9999 }', "Production", "Staging"),
        ('staging = { min = { "test/auc" = 0.9999 } }', "Staging", "None"),
        ('transitions = { None = ["Production"] }', "Staging", "None"),
        ("approvals = { Production = 1 }", "Production", "Staging"),
    ],
)
def test_a_refused_demonstration_says_so(
    policy: str, failed_step: str, final_stage: str, sqlite_uri: str, unique: str
) -> None:
    Path("pyproject.toml").write_text(f"[tool.holdfast.promotion]\n{policy}\n")
    versioning = ModelVersioning({"tracking_uri": sqlite_uri})
    assert versioning.setup()
    done = versioning.execute(unique)
    assert (done["success"], done["failed_step"], done["final_stage"]) == (False, failed_step, final_stage)
    assert "may not" in done["error"]
    assert done["model_version"] == 1
    assert 0.9 < done["metrics"]["test/auc"] < 0.9999
    assert asked(versioning.get_model_version(unique, version=1)) == (1, final_stage)


def test_a_demonstration_that_does_not_get_that_far(config: dict[str, Any], unique: str, tmp_path: Path) -> None:
    versioning = ModelVersioning(config)
    assert versioning.setup()
    done = versioning.execute("not/a/name")
    assert (done["success"], done["failed_step"], done["final_stage"]) == (False, "register", "None")
    assert (done["model_version"], done["metrics"]["test/auc"] > 0.9) == (None, True)
    assert "no name for a registered model" in done["error"]

    (tmp_path / "a file").write_text("in the way")
    blocked = ModelVersioning(
        config | {"experiment_name": f"{unique}-2", "artifact_location": str(tmp_path / "a file" / "x")}
    )
    assert not blocked.validate_prerequisites()
    assert blocked.setup()
    done = blocked.execute(f"{unique}-demo")
    assert (done["success"], done["failed_step"], done["metrics"]) == (False, "log", {})
    assert "a file" in done["error"]
    assert blocked.project.runs.get_run(done["run_id"]).status == "FAILED"
    assert blocked.get_latest_model(f"{unique}-demo") is None


def test_a_server_that_refuses_from_then_on(
    mlflow_server: RunningMlflow, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(mlflow_server.url) as proxy:
        gate = types.ModuleType("the_moment")
        gate.comes = lambda case: proxy.answer(403) is None  # type: ignore[attr-defined,func-returns-value]
        monkeypatch.setitem(sys.modules, "the_moment", gate)
        Path("pyproject.toml").write_text('[tool.holdfast.promotion]\ncallable = "the_moment:comes"\n')
        versioning = ModelVersioning({"tracking_uri": proxy.url, "experiment_name": unique})
        assert versioning.setup()
        done = versioning.execute(f"{unique}-demo")
    assert (done["success"], done["failed_step"], done["final_stage"]) == (False, "Production", "unknown"), done
    assert done["model_version"] == 1
    after = ModelVersioning({"tracking_uri": mlflow_server.url})
    assert asked(after.get_model_version(f"{unique}-demo", version=1)) == (1, "Staging")


# -- configuration ------------------------------------------------------------------------


def test_defaults_that_work_today() -> None:
    versioning = ModelVersioning()
    settings = versioning.project.settings
    assert settings.tracking_uri == f"sqlite:///{Path.cwd()}/mlflow.db"
    assert settings.artifact_root == f"{Path.cwd()}/mlartifacts"
    assert (settings.experiment_name, versioning.default_tags) == ("nba-simulator-ml", {"project": "nba-simulator-aws"})
    assert not (Path.cwd() / "mlflow.db").exists()
    other = ModelVersioning({"backend_store_uri": "postgresql://me@db.example.com/mlflow", "default_tags": {}})
    assert (other.project.settings.tracking_uri, other.default_tags) == ("postgresql://me@db.example.com/mlflow", {})
    Path("pyproject.toml").write_text('[tool.holdfast]\nexperiment_name = "mine"\ntracking_uri = "http://h:5000"\n')
    mine = ModelVersioning({"backend_store_uri": "postgresql://me@db.example.com/mlflow"}).project.settings
    assert (mine.experiment_name, mine.tracking_uri) == ("mine", "http://h:5000")


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"tracking_uri": "file:./mlruns"}, r"tracking_uri=file:\./mlruns is a folder", "tracking_uri=sqlite:///"),
        ({"tracking_uri": S3_TRACKING}, "names an artifact store", f"artifact_location={S3_TRACKING} for the files"),
        ({"artifact_location": "s3://x"}, "artifact_location=s3://x names no valid bucket", "s3://bucket/prefix"),
        ({"artifact_location": "sqlite:///x.db"}, "is a tracking store", "tracking_uri=sqlite:///x.db"),
    ],
)
def test_uris_of_the_older_interface(config: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        ModelVersioning(config)
    assert hint in caught.value.hint
    assert "MLFLOW_" not in str(caught.value)  # the words of the dictionary


def test_all_problems_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        ModelVersioning({"tracking_ur": 1, "default_tags": ["x"], "tracking_uri": "ftp://x"})
    assert all(part in caught.value.message for part in ("keys tracking_ur;", "default_tags is a list", "ftp://x"))
    with pytest.raises(InvalidInputError, match="no configuration"):
        ModelVersioning("sqlite:///x.db")  # type: ignore[arg-type]


# -- prerequisites ------------------------------------------------------------------------


def test_prerequisites_that_are_there(config: dict[str, Any], tmp_path: Path) -> None:
    before = dict(os.environ)
    versioning = ModelVersioning(config)
    assert versioning.validate_prerequisites()
    assert versioning.project.runs.find_experiment(config["experiment_name"]) is None
    assert not (tmp_path / "artifacts").exists()
    assert versioning.setup()
    assert versioning.validate_prerequisites()
    assert dict(os.environ) == before


@pytest.fixture
def in_bucket(
    s3_server: S3Access, sqlite_uri: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ModelVersioning]:
    """Configure a project on a bucket of its own, with these keys in its environment."""
    bucket = f"b-{unique.rpartition('-')[2]}"

    def make(key: str | None = None, secret: str | None = None, bucket: str = bucket) -> ModelVersioning:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3_server.endpoint_url)
        for name, value in (("ACCESS_KEY_ID", key), ("SECRET_ACCESS_KEY", secret)):
            monkeypatch.delenv(f"MLFLOW_AWS_{name}", raising=False)
            if value is not None:
                monkeypatch.setenv(f"MLFLOW_AWS_{name}", value)
        return ModelVersioning({"tracking_uri": sqlite_uri, "artifact_location": f"s3://{bucket}/mlflow"})

    s3_server.client().create_bucket(Bucket=bucket)
    return make


def test_keys_that_are_missing_or_refused(
    in_bucket: Callable[..., ModelVersioning],
    s3_server: S3Access,
    unique: str,
    canary: str,
    logged: list[str],
) -> None:
    bucket = f"b-{unique.rpartition('-')[2]}"
    account = s3_server.add_account(unique, [bucket])
    reader = s3_server.add_account(f"{unique}-r", [bucket], ["s3:PutObject"])
    key, secret = account.access_key_id, account.secret_access_key
    cases = {
        "credentials": in_bucket(),
        "SignatureDoesNotMatch": in_bucket(key, canary),
        "InvalidAccessKeyId": in_bucket("AKIAIOSFODNN7EXAMPLE", canary),
        "AccessDenied": in_bucket(reader.access_key_id, reader.secret_access_key),
    }
    for said, versioning in cases.items():
        logged.clear()
        began = time.monotonic()
        assert versioning.validate_prerequisites() is False
        assert time.monotonic() - began < 60  # MLflow and boto3 would try for minutes
        [line] = logged
        assert line.startswith("prerequisites are missing")
        assert said.lower() in line.lower()
        assert "hint=" in line
        assert canary not in line
    versioning = in_bucket(key, secret)
    assert versioning.validate_prerequisites()
    assert s3_server.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert versioning.setup()
    assert versioning.execute("demo")["success"]
    assert versioning.validate_prerequisites()


def test_a_server_that_is_not_there(unique: str, logged: list[str]) -> None:
    versioning = ModelVersioning({"tracking_uri": f"http://127.0.0.1:{free_port()}", "experiment_name": unique})
    began = time.monotonic()
    assert not versioning.validate_prerequisites()
    assert not versioning.setup()
    assert versioning.experiment_id is None
    assert time.monotonic() - began < 60
    assert ["hint=" in line for line in logged] == [True, True]
    with pytest.raises(InvalidInputError, match="setup"):
        versioning.execute(unique)
    with pytest.raises(BackendUnavailableError):
        versioning.get_model_version(unique)
