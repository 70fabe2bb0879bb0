"""What the registry promises, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from holdfast import MLflowTracker, ModelRegistry, ModelVersioning, open_project
from holdfast.core.promotion import parse_rule
from holdfast.core.stages import STAGE_TAG, Stage
from holdfast.errors import InvalidInputError, NotFoundError, PromotionRefusedError, RegistryError
from holdfast.registry import Promotion

# Behind "http" is PostgreSQL.
pytestmark = pytest.mark.backends("sqlite", "http")


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


@pytest.fixture
def registry(tracker: MLflowTracker) -> ModelRegistry:
    return ModelRegistry(open_project(tracker.settings))


def log_model(tracker: MLflowTracker, answer: float, **metrics: float) -> str:
    """Log a tiny real model that predicts `answer`, and return the run's id."""
    import mlflow.sklearn
    from sklearn.dummy import DummyRegressor

    with tracker.run() as run_id:
        model = DummyRegressor(strategy="constant", constant=answer).fit([[0.0]], [answer])
        # With skops, MLflow's default, each process that loads the model would import PyTorch too.
        mlflow.sklearn.log_model(
            model, name="model", serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
        )
        tracker.log_metrics(metrics)
    return run_id


def predict(uri: str) -> float:
    import mlflow.pyfunc

    return float(mlflow.pyfunc.load_model(uri).predict([[1.0]])[0])


def test_from_run_to_production_and_replaced(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    name = f"{unique}-model"
    first = tracker.register_model(name, f"runs://{log_model(tracker, 1.0)}/model", "the first", {"accuracy": 0.9})
    assert first == 1
    tracker.transition_model_stage(name, first, "Staging")
    assert predict(f"models:/{name}/Staging") == predict(f"models:/{name}@staging") == 1.0
    tracker.transition_model_stage(name, first, "Production")
    assert registry.get(name, "production").aliases == ("production",)

    second = tracker.register_model(name, f"runs:/{log_model(tracker, 2.0)}/model")
    done = registry.promote(name, second, "production")
    assert (done.from_stage, done.archived) == (Stage.NONE, (1,))
    assert predict(f"models:/{name}/Production") == predict(f"models:/{name}@production") == 2.0

    stages = {item.version: (item.stage, item.aliases, item.tags[STAGE_TAG]) for item in registry.versions(name)}
    assert stages == {
        1: (Stage.ARCHIVED, (), "Archived"),
        2: (Stage.PRODUCTION, ("production",), "Production"),
    }
    assert registry.get(name, 1).description == "the first"
    assert registry.get(name, 1).tags["accuracy"] == "0.9"
    assert registry.models()[[model.name for model in registry.models()].index(name)].description == "the first"


def test_every_stage_can_be_reached_and_left(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    name = f"{unique}-model"
    registry.register(name, f"runs:/{log_model(tracker, 1.0)}/model")
    for stage in ("Staging", "Archived", "production", None, "STAGING", "None", "Archived"):
        now = registry.promote(name, "latest", stage).version
        wanted = "None" if stage is None else stage.capitalize()
        alias = {"Staging": ("staging",), "Production": ("production",)}.get(wanted, ())
        assert (now.stage, now.aliases, now.tags[STAGE_TAG]) == (Stage(wanted), alias, wanted)
    with pytest.raises(InvalidInputError, match="'Prod'"):
        registry.promote(name, 1, "Prod")


def test_a_rule_refuses_and_changes_nothing(tracker: MLflowTracker, unique: str) -> None:
    name = f"{unique}-model"
    rule = parse_rule({"min": {"auc": 0.6}, "not-above-production": {"loss": 0.0}})
    registry = ModelRegistry(open_project(tracker.settings), rule)
    for auc, loss in ((0.7, 0.5), (0.8, 0.6), (0.5, 0.4), (0.9, 0.5)):
        registry.register(name, f"runs:/{log_model(tracker, 1.0, auc=auc, loss=loss)}/model")
    registry.promote(name, 1, "Production")
    with pytest.raises(PromotionRefusedError, match=r"loss .*0\.6 against Production's 0\.5"):
        registry.promote(name, 2, "Production")
    with pytest.raises(PromotionRefusedError, match=r"auc >= 0\.6"):
        registry.promote(name, 3, "Production")
    assert registry.get(name, "Production").version == 1
    assert registry.get(name, 3).stage is Stage.NONE
    assert registry.promote(name, 3, "Staging").answers == ()  # the rule is for Production
    assert registry.promote(name, 4, "Production").archived == (1,)


@pytest.mark.backends("sqlite", "postgresql", "http")
def test_promoting_at_the_same_time(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    """Each of them succeeds, one after the other; that others came after makes it no failure."""
    name = f"{unique}-model"
    uri = f"runs:/{log_model(tracker, 1.0)}/model"
    numbers = [registry.register(name, uri).version for _ in range(3)]

    def promote(number: int) -> Promotion:
        return ModelRegistry(open_project(tracker.settings)).promote(name, number, "Production")

    for _ in range(4):
        with ThreadPoolExecutor(3) as pool:
            done = [item for item in pool.map(promote, numbers) if item.event is not None]
        events = sorted((item.event.number, item.version.version) for item in done if item.event is not None)
        inside = events[-1][1]
        first = events[0][0]
        assert [number for number, _ in events] == list(range(first, first + len(events)))  # nobody is left out
        now = {item.version: item for item in registry.versions(name)}
        assert [number for number, item in now.items() if item.stage is Stage.PRODUCTION] == [inside]
        assert registry.get(name, "@production").version == inside
        tags = {number: item.tags.get(STAGE_TAG) for number, item in now.items()}
        assert all(tags[number] in (None, str(item.stage)) for number, item in now.items()), tags


def test_a_stage_set_by_hand_is_taken_over(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    from mlflow import MlflowClient

    name = f"{unique}-model"
    uri = f"runs:/{log_model(tracker, 1.0)}/model"
    for _ in range(2):
        registry.register(name, uri)
    with pytest.warns(FutureWarning):
        MlflowClient(tracking_uri=tracker.settings.tracking_uri).transition_model_version_stage(name, 1, "Production")
    assert registry.promote(name, 2, "Production").archived == (1,)


def test_versions_made_from_versions(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    name, copy = f"{unique}-model", f"{unique}-copy"
    run_id = log_model(tracker, 1.0)
    registry.register(name, f"runs:/{run_id}/model")
    registry.promote(name, 1, "Production")
    forms = (
        "models:/{}/1",
        "models:/{}/Production",
        "models://{}/production",
        "models:/{}@production",
        "models:/{}/latest",
    )
    for number, form in enumerate(forms, 1):
        made = registry.register(copy, form.format(name))
        assert (made.version, made.run_id) == (number, run_id)
        assert predict(f"models:/{copy}/{number}") == 1.0
    with pytest.raises(NotFoundError):
        registry.register(copy, f"models:/{name}/Staging")


def test_where_there_is_no_model(tracker: MLflowTracker, registry: ModelRegistry, unique: str, tmp_path: Path) -> None:
    name = f"{unique}-model"
    with tracker.run() as run_id:
        (tmp_path / "weights.pt").write_text("x")
        tracker.log_artifact(tmp_path / "weights.pt", "model")
    for uri in (f"runs:/{run_id}/model", f"runs:/{run_id}/nowhere"):
        with pytest.raises(InvalidInputError, match="has no model at"):
            registry.register(name, uri)
    with pytest.raises(NotFoundError):
        registry.register(name, "runs:/0123456789abcdef0123456789abcdef/model")
    for uri in ("runs:/abc", "models://", "models:/name/two", "", "nonsense:/x"):
        with pytest.raises(InvalidInputError):
            registry.register(name, uri)
    with pytest.raises(NotFoundError, match="no registered model"):
        registry.versions(name)


def test_names_and_versions_that_cannot_be(registry: ModelRegistry, unique: str) -> None:
    for name in ("", "a/b", "a:b", ".", "..", 3):
        with pytest.raises(InvalidInputError, match="no name for a registered model"):
            registry.get(name, 1)  # type: ignore[arg-type]
    for version in (0, -1, "0", "-1", 3.5, []):
        for call in (registry.get, registry.load_model, registry.rollback, partial(registry.promote, stage="Staging")):
            with pytest.raises(InvalidInputError, match="no model version"):
                call(unique, version)  # type: ignore[operator]
    for uri, problem in ((None, "no text"), (3, "no text"), ("http://x/y", "no address of an MLflow server's files")):
        with pytest.raises(InvalidInputError, match=problem):
            registry.register(unique, uri)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        registry.get(unique, 1)
    with pytest.raises(NotFoundError):
        registry.get(unique, "champion")


def test_model_from_files_saved_by_hand(tracker: MLflowTracker, unique: str, tmp_path: Path) -> None:
    import mlflow.sklearn
    from sklearn.dummy import DummyRegressor

    mlflow.sklearn.save_model(
        DummyRegressor().fit([[0.0]], [3.0]), tmp_path / "saved", pip_requirements=["scikit-learn"]
    )
    with tracker.run() as run_id:
        tracker.log_artifacts_dir(tmp_path / "saved", "by hand")
    assert tracker.register_model(f"{unique}-model", f"runs:/{run_id}/by hand") == 1
    assert predict(f"models:/{unique}-model/1") == 3.0


def test_versioning_by_dictionary(tracking_uri: str, tracker: MLflowTracker, unique: str) -> None:
    name = f"{unique}-model"
    versioning = ModelVersioning(
        {"tracking_uri": tracking_uri, "experiment_name": unique, "default_tags": {"team": "ml"}}
    )
    assert versioning.validate_prerequisites()
    assert versioning.setup()
    assert versioning.experiment_id == tracker.experiment_id
    made = versioning.register_model(name, "model", log_model(tracker, 1.0), "described", {"x": 1})
    assert (made["version"], made["stage"], made["tags"]) == (1, "None", {"team": "ml", "x": "1"})
    for stage in ("Staging", "Production", "Archived", "None", "Production"):
        assert versioning.promote_model(name, version=1, stage=stage)
        assert versioning.get_model_version(name, version=1)["stage"] == stage  # type: ignore[index]
    assert versioning.get_model_version(name, stage="Production")["version"] == 1  # type: ignore[index]
    assert versioning.get_model_version(name, stage="Staging") is None
    assert versioning.get_latest_model(name)["version"] == 1  # type: ignore[index]
    assert versioning.get_model_by_version(name, 7) is None
    assert not versioning.promote_model(name, 7, "Production")
    assert not versioning.promote_model(name, 1, "Best")
    with pytest.raises(InvalidInputError):
        versioning.get_model_version(name, version=0)
    versioning.cleanup()
    assert versioning.experiment_id is None


def test_versioning_demonstration_tells_the_truth(tracking_uri: str, unique: str, tmp_path: Path) -> None:
    root = None if tracking_uri.startswith("http") else str(tmp_path)
    versioning = ModelVersioning({"tracking_uri": tracking_uri, "experiment_name": unique, "artifact_location": root})
    with pytest.raises(InvalidInputError, match="setup"):
        versioning.execute(f"{unique}-demo")
    versioning.setup()
    done = versioning.execute(f"{unique}-demo")
    assert (done["success"], done["final_stage"], done["model_version"]) == (True, "Production", 1)
    assert done["metrics"]["test/auc"] > 0.95
    failed = versioning.execute("not/a/name")
    assert (failed["success"], failed["final_stage"]) == (False, "None")
    assert "no name for a registered model" in failed["error"]


def test_nothing_touches_the_environment(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    import boto3

    run_id = log_model(tracker, 1.0)
    before = dict(os.environ)
    registry.register(f"{unique}-model", f"runs:/{run_id}/model")
    registry.promote(f"{unique}-model", 1, "Production")
    registry.get(f"{unique}-model", "@production")
    assert dict(os.environ) == before
    assert boto3.DEFAULT_SESSION is None


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_change_by_hand_is_left_whole(tracker: MLflowTracker, registry: ModelRegistry, unique: str) -> None:
    from mlflow import MlflowClient

    name = f"{unique}-model"
    uri = f"runs:/{log_model(tracker, 1.0)}/model"
    for _ in range(3):
        registry.register(name, uri)
    registry.promote(name, 3, "Production")
    client = MlflowClient(tracker.settings.tracking_uri, tracker.settings.tracking_uri)
    client.transition_model_version_stage(name, 1, "Production")
    client.transition_model_version_stage(name, 3, "Archived")
    client.set_registered_model_alias(name, "production", "1")

    registry.set_alias(name, "candidate", 2)
    left = registry.promote(name, 2, "Staging").elsewhere
    assert {(item.version, item.place) for item in left} >= {(1, "stage"), (3, "alias production"), (3, "stage")}
    assert predict(f"models:/{name}@production") == predict(f"models:/{name}/Production") == 1.0
    now = {item.version: (item.stage, item.aliases) for item in registry.versions(name)}
    assert now[1] == (Stage.PRODUCTION, ("production",))
    assert now[3] == (Stage.ARCHIVED, ())

    done = registry.promote(name, 2, "Production")
    assert done.event is not None
    assert any("version 1: stage is Production" in text for text in done.event.draft.details["changed_by_hand"])
    now = {item.version: (item.stage, item.aliases) for item in registry.versions(name)}
    assert now[2] == (Stage.PRODUCTION, ("candidate", "production"))
    assert now[1] == now[3] == (Stage.ARCHIVED, ())


def test_going_back_is_only_to_what_was_production(
    tracker: MLflowTracker, registry: ModelRegistry, unique: str, tmp_path: Path
) -> None:
    name, folder = f"{unique}-model", tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: tiny\n    code: code\n")
    (folder / "code" / "tiny.py").write_text("class _load_pyfunc:\n    predict = print\n    __init__ = print\n")
    with tracker.run() as run_id:
        tracker.log_artifacts_dir(folder, "model")
    for _ in range(3):
        registry.register(name, f"runs:/{run_id}/model")
    with pytest.raises(RegistryError, match=r"No version of .* was Production before"):
        registry.rollback(name)
    registry.promote(name, 1, "Production")
    registry.promote(name, 2, "Production")
    with pytest.raises(RegistryError, match="version 3 was never Production"):
        registry.rollback(name, 3)
    assert registry.rollback(name, reason="worse").version.version == 1
    assert registry.rollback(name, 2).archived == (1,)  # and forward again: it was Production
    assert [event.kind.value for event in registry.history(name)][-2:] == ["rolled back", "rolled back"]
