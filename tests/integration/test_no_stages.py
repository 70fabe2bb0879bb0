"""A registry that refuses stages, as Unity Catalog does: alias and tag say them, for plain MLflow's users too."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from relaying import Answer, relaying

from holdfast import MLflowTracker, ModelRegistry, open_project
from holdfast.core.policy import PromotionPolicy
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import NotFoundError
from holdfast.testing.fixtures import RunningMlflow

# What mlflow.store._unity_catalog.registry.rest_store says, and under which code a server passes such an error on.
UNSUPPORTED = {
    "transition-stage": "Method 'transition_model_version_stage' is unsupported for models in the Unity Catalog. "
    "We recommend using aliases instead of stages for more flexible model deployment management.",
    "get-latest-versions": "Method 'get_latest_versions' is unsupported for models in the Unity Catalog. "
    "Detected attempt to load latest model version in stages ['Production'].",
}


def refuse(_: str, path: str) -> Answer | None:
    for call, said in UNSUPPORTED.items():
        if path.partition("?")[0].endswith(f"/{call}"):
            return 400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": said})
    return None


def gone(_: str, path: str) -> Answer | None:
    """A server of a later MLflow, which does not know the calls any more."""
    return (404, "<h1>Not Found</h1>") if refuse("", path) else None


def without_stage(body: bytes) -> bytes:
    return re.sub(rb'\s*"current_stage": "[^"]*",', b"", body)


@pytest.fixture(params=["says None", "says nothing", "is of a later MLflow"])
def server(request: pytest.FixtureRequest, mlflow_server: RunningMlflow) -> Iterator[str]:
    """The address of a server without stages."""
    rewrite = bytes if request.param == "says None" else without_stage
    answers = gone if request.param.startswith("is") else refuse
    with relaying(mlflow_server.url, answers, rewrite=rewrite) as url:
        yield url


@pytest.fixture
def registry(server: str, unique: str) -> ModelRegistry:
    return ModelRegistry(open_project(tracking_uri=server, experiment_name=unique), PromotionPolicy())


@pytest.fixture
def name(registry: ModelRegistry, server: str, unique: str) -> str:
    """A model with three versions that predict their numbers."""
    import mlflow.sklearn
    from sklearn.dummy import DummyRegressor

    tracker = MLflowTracker(tracking_uri=server, experiment_name=unique)
    for answer in (1.0, 2.0, 3.0):
        with tracker.run() as run_id:
            model = DummyRegressor(strategy="constant", constant=answer).fit([[0.0]], [answer])
            mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
        registry.register(unique, f"runs:/{run_id}/model")
    return unique


def predict(uri: str) -> float:
    import mlflow.pyfunc

    return float(mlflow.pyfunc.load_model(uri).predict([[1.0]])[0])


def test_all_that_knows_stages_works(
    request: pytest.FixtureRequest, registry: ModelRegistry, server: str, name: str
) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(server)
    mlflow.set_registry_uri(server)
    with pytest.raises(MlflowException):
        predict(f"models:/{name}/Production")
    for number in (1, 2):
        done = registry.promote(name, number, "Production")
        assert (done.version.stage, done.elsewhere) == (Stage.PRODUCTION, ())
        assert predict(f"models:/{name}/Production") == predict(f"models:/{name}@production") == number
    assert registry.promote(name, 3, "Staging").archived == ()
    assert predict(f"models:/{name}/staging") == predict(f"models:/{name}/latest") == 3.0
    assert predict(f"models:/{name}/Archived") == 1.0
    assert {item.version: item.stage for item in registry.versions(name)} == {
        1: Stage.ARCHIVED,
        2: Stage.PRODUCTION,
        3: Stage.STAGING,
    }
    assert registry.get(name, "Production").version == 2
    assert not registry.repair(name, dry_run=True).is_needed

    if "says None" in request.node.name:  # it loads the model in a process of its own, which takes long
        assert registry.rollback(name, reason="worse on Sundays").version.version == 1
    else:
        registry.promote(name, 1, "Production")
    assert predict(f"models:/{name}/Production") == 1.0

    models = registry._project.models
    models.set_alias(name, "production", 3)
    models.set_version_tags(name, 2, {STAGE_TAG: "Staging"})
    assert {item.place for item in registry.repair(name).findings} == {"alias production", f"tag {STAGE_TAG}"}
    assert registry.get(name, "@production").version == 1
    models.set_alias(name, "production", 3)
    registry.repair(name, accept=True)
    assert predict(f"models:/{name}/Production") == 3.0
    assert registry.promote(name, 3, "None").version.stage is Stage.NONE
    with pytest.raises(NotFoundError):
        registry.get(name, "Production")


def test_a_server_with_stages_is_believed(mlflow_server: RunningMlflow, unique: str) -> None:
    """An alias of the user's own is not taken for a stage where the server knows stages."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_server.url, registry_uri=mlflow_server.url)
    client.create_registered_model(unique)
    client.create_model_version(unique, "s3://bucket/model")
    client.set_registered_model_alias(unique, "production", "1")
    with pytest.warns(FutureWarning):
        assert client.get_latest_versions(unique, ["Production"]) == []
    client.set_model_version_tag(unique, "1", STAGE_TAG, "Production")
    with pytest.warns(FutureWarning):
        assert [item.version for item in client.get_latest_versions(unique, ["Production"])] == ["1"]
