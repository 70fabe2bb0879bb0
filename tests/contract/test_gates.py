"""What the gates answer of a sound version and of a broken one, wherever it is registered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast import open_project
from holdfast.backend.entities import MetricPoint, ModelVersion
from holdfast.backend.tracking import now_ms
from holdfast.core.gate_rule import GateRule
from holdfast.core.policy import parse_policy
from holdfast.core.stages import Stage
from holdfast.project import Project
from holdfast.registry.gates.artifacts import Artifacts
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.catalog import ask, gates_for

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")

TABLE = {
    "min": {"test/auc": 0.6},
    "not-below-production": {"test/auc": "5%"},
    "tags": {"owner": "", "team": "ml"},
    "description": True,
    "signature": True,
    "input-example": True,
    "artifacts": True,
    "loads": True,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted model as MLflow saves it, with a signature and an input example."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from holdfast.backend.models import save_sklearn_model

    data = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_sklearn_model(LogisticRegression().fit(data, [0, 0, 1, 1]), folder, data[:2])
    return folder


@pytest.fixture
def project(tracking_uri: str, unique: str, tmp_path: Path) -> Project:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return open_project(tracking_uri=tracking_uri, experiment_name=unique, artifact_root=root)


def register(project: Project, saved: Path, name: str, auc: float) -> ModelVersion:
    """Store the model as a run's, with a metric, and register it."""
    run = project.runs.create_run(project.experiment().experiment_id, "training", {})
    project.runs.log(run.run_id, [MetricPoint("test/auc", auc, 0, now_ms())], {})
    project.artifacts.upload_folder(saved, run.artifact_uri, "model")
    project.models.ensure_model(name)
    source = f"{run.artifact_uri}/model"
    return project.models.create_version(
        name, source, run.run_id, None, "made for a test", {"owner": "a", "team": "ml"}
    )


@pytest.fixture
def versions(project: Project, saved: Path, unique: str) -> tuple[ModelVersion, ModelVersion]:
    """A version that is Production, and one that would be."""
    return register(project, saved, unique, 0.7), register(project, saved, unique, 0.69)


@pytest.fixture
def case(project: Project, versions: tuple[ModelVersion, ModelVersion]) -> Iterator[Case]:
    present, candidate = versions
    with Case(project, candidate, Stage.PRODUCTION, present) as case:
        yield case


@pytest.mark.backends("http")
def test_a_sound_version_passes_every_gate(case: Case) -> None:
    answers = ask(gates_for(parse_policy(TABLE).production), case)
    assert [answer.check for answer in answers] == [
        "description",
        "tag owner",
        "tag team = ml",
        "test/auc >= 0.6",
        "test/auc >= Production's - 5%",
        "signature",
        "input-example",
        "artifacts",
        "loads",
    ]
    assert all(answer.passed for answer in answers), answers
    said = {answer.check: answer.reason for answer in answers}
    assert said["test/auc >= Production's - 5%"] == "0.69 against Production's 0.7"
    assert "takes 1 column and gives 1" in said["signature"]
    assert "nobody recorded a checksum" in said["artifacts"]
    assert said["loads"].startswith("loaded and predicted its input example")


def test_every_gate_is_asked_though_the_first_refuse(
    project: Project, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    table = {**TABLE, "min": {"test/auc": 0.9}, "loads": False, "tags": ["nobody", "owner"]}
    bare = replace(versions[1], description=" ", tags={"owner": " "})
    with Case(project, bare, Stage.PRODUCTION, versions[0], "sha256:other") as case:
        answers = ask(gates_for(parse_policy(table).production), case)
    assert [answer.check for answer in answers if not answer.passed] == [
        "description",
        "tag nobody",
        "tag owner",
        "test/auc >= 0.9",
        "artifacts",
    ]
    assert [answer.check for answer in answers if answer.passed][-2:] == ["signature", "input-example"]


def test_what_was_registered_is_recognised(project: Project, versions: tuple[ModelVersion, ModelVersion]) -> None:
    with Case(project, versions[1], Stage.PRODUCTION) as case:
        registered = case.manifest
    with Case(project, versions[1], Stage.PRODUCTION, None, registered.checksum) as case:
        answer = Artifacts().answer(case)
    assert answer.passed
    assert "as when registered" in answer.reason


def test_a_version_whose_files_are_gone(project: Project, versions: tuple[ModelVersion, ModelVersion]) -> None:
    gone = versions[1]
    assert gone.run_id
    project.artifacts.delete(project.runs.get_run(gone.run_id).artifact_uri, "model")
    rule = GateRule(signature=True, input_example=True, artifacts=True, loads_timeout_s=60)
    with Case(project, gone, Stage.PRODUCTION) as case:
        answers = ask(gates_for(rule), case)
    assert [answer.passed for answer in answers] == [False] * 4
    assert all("MLmodel" in answer.reason or "model" in answer.reason for answer in answers)
